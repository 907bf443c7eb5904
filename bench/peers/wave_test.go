//go:build interop

package peers

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/ops/load"
)

// TestWalls_RefuseStrangersAndTakeGoodMail plays a ripple against the real
// servers: everybody who is listed is refused at RCPT, all good mail arrives.
func TestWalls_RefuseStrangersAndTakeGoodMail(t *testing.T) {
	dir, err := os.MkdirTemp("", "walls-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	folder := func(name string) string {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(path, 0o755), os.Chmod(dir, 0o755)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	dns, err := StartDNSBL(ctx, folder("dns"))
	if errors.Is(err, ErrMissing) {
		t.Skipf("PEER NOT RUN: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := dns.Stop(); err != nil {
			t.Error(err)
		}
	}()
	w := Wall{Domain: "demo.test", Zone: dns.Zone, Processes: 200}
	for name, start := range map[string]func() (*Server, error){
		"postscreen": func() (*Server, error) { return StartPostscreen(ctx, folder("postscreen"), w) },
		"courier":    func() (*Server, error) { return StartCourier(ctx, folder("courier"), w) },
		"breakwater": func() (*Server, error) {
			bin, err := Build(ctx, folder("bin"))
			if err != nil {
				return nil, err
			}
			return StartDemo(ctx, bin, folder("breakwater"), dns)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := start()
			if errors.Is(err, ErrMissing) {
				t.Skipf("PEER NOT RUN: %v", err)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := s.Stop(); err != nil {
					t.Error(err)
				}
			}()
			r, err := load.Wave(ctx, load.Options{To: s.SMTP, Rcpt: s.User(0), PIDs: s.Pids(), Factor: 0.2, Speed: 50})
			if err != nil {
				t.Fatal(err)
			}
			if r.RefusedAtRcpt != r.Attempted || r.Good.OK != r.Good.Sent || r.Good.Sent == 0 || r.Server.PSSMax == 0 {
				t.Errorf("got\n%s\nwant everybody refused and all good mail taken", r.Text())
			}
		})
	}
}
