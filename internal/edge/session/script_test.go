package session

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sim"
	"github.com/breakwater-mail/breakwater/internal/edge/listen"
)

var update = flag.Bool("update", false, "rewrite the server's lines in testdata/script")

// TestScripts plays the dialogues of testdata/script. The file config has
// words: submission, no-tls, users. The dialogues' own words: "tls" does a
// client's handshake, "shutdown" ends the server's context, "bodies" says what
// became of bodies, "users" of those of users who logged in at an MX.
func TestScripts(t *testing.T) {
	names, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatalf("no dialogues: %v", err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			d, err := sim.LoadDialogue(name)
			if err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) { playScript(t, d) })
		})
	}
}

func playScript(t *testing.T, d *sim.Dialogue) {
	config, _ := d.File("config")
	o := Options{Hostname: "mx.demo.test", MessageSize: 100_000}
	if strings.Contains(config, "submission") {
		o.Kind = Submission
	}
	serverTLS, clientTLS := certificate(t)
	facts := listen.Facts{ID: "conn1", Remote: netip.MustParseAddrPort("192.0.2.1:4000"), TLS: serverTLS}
	if strings.Contains(config, "no-tls") {
		facts.TLS = nil
	}
	r, users := &room{}, &room{}
	if strings.Contains(config, "users") {
		o.Users = users
	}
	s := New(o, r, accounts{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	handshake := func(p *sim.Player, _ string) error {
		return p.Wrap(0, func(c net.Conn) (net.Conn, error) {
			tc := tls.Client(c, clientTLS)
			return tc, tc.Handshake()
		})
	}
	err := d.Play(sim.Play{
		Dial: func(int) (net.Conn, error) {
			near, far := net.Pipe()
			go func() {
				defer far.Close()
				s.ServeConn(ctx, listen.NewConn(far, facts))
			}()
			return near, nil
		},
		Settle:  synctest.Wait,
		Advance: time.Sleep,
		Do: map[string]func(*sim.Player, string) error{
			"tls":      handshake,
			"shutdown": func(*sim.Player, string) error { cancel(); return nil },
			"bodies":   bodies(r),
			"users":    bodies(users),
		},
		Update: *update,
	})
	if err != nil {
		t.Error(err)
	}
}

func bodies(r *room) func(*sim.Player, string) error {
	return func(_ *sim.Player, arg string) error {
		if got := r.counts(); got != arg {
			return fmt.Errorf("%s", got)
		}
		return nil
	}
}
