//go:build interop

package peers

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/bench/proc"
	"github.com/breakwater-mail/breakwater/bench/wire"
)

func TestMain(m *testing.M) {
	status, ran, err := proc.Isolate()
	if !ran {
		if err != nil {
			println("not in namespaces of its own:", err.Error())
		}
		status = m.Run()
	}
	os.Exit(status)
}

// TestStartPostfix_TakesAndShowsMail runs the real peers where they are.
func TestStartPostfix_TakesAndShowsMail(t *testing.T) {
	for _, format := range []Format{Maildir, Mdbox} {
		t.Run(string(format), func(t *testing.T) {
			dir, err := os.MkdirTemp("", "peers-")
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(dir)
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			s, err := StartPostfix(ctx, dir, format)
			if errors.Is(err, ErrMissing) {
				t.Skipf("PEER NOT RUN: %v", err)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := s.Stop(); err != nil {
					t.Errorf("stop: %v", err)
				}
			}()
			deliver(ctx, t, s)
		})
	}
}

func deliver(ctx context.Context, t *testing.T, s *Server) {
	t.Helper()
	c, err := wire.DialSMTP(s.SMTP, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Quit()
	if err := c.Send("a@example.org", []string{s.User(0), s.User(1)}, wire.Stuff([]byte("Subject: x\r\n\r\n.dot\r\n"))); err != nil {
		t.Fatal(err)
	}
	i, err := s.IMAP(1)
	if err != nil {
		t.Fatal(err)
	}
	defer i.Logout()
	for {
		n, err := i.Messages("INBOX")
		if err != nil {
			t.Fatal(err)
		}
		if n == 1 {
			return
		}
		if n > 1 || ctx.Err() != nil {
			t.Fatalf("%d messages for one sent (%v)", n, ctx.Err())
		}
	}
}
