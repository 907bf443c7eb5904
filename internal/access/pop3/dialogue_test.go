package pop3

import (
	"context"
	"flag"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sim"
)

var update = flag.Bool("update", false, "rewrite the dialogues of testdata/script")

// TestDialogues plays testdata/script: each on a host with one account, whose
// drop-box holds the files box/1, box/2 … of the archive. Words of its own:
//
//	fault login|open|body|remove   from now on that fails
//	damage N                       bodies are damaged from their N-th octet
//	stop                           the host goes down
//	removed UID,UID …              what was removed so far, a word a change
//
// Connections 0 to 4 begin in the clear, 5 to 9 under TLS.
func TestDialogues(t *testing.T) {
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
			synctest.Test(t, func(t *testing.T) {
				if err := play(d); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func play(d *sim.Dialogue) error {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	host := &fakeHost{}
	for i := 1; ; i++ {
		text, ok := d.File(fmt.Sprintf("box/%d", i))
		if !ok {
			break
		}
		host.texts = append(host.texts, []byte(strings.ReplaceAll(text, "\n", "\r\n")))
	}
	srv := newServer(Options{Hostname: "mail.example.org"}, host, host)
	return d.Play(sim.Play{
		Dial: func(conn int) (net.Conn, error) {
			client, server := net.Pipe()
			go srv.ServeConn(ctx, &fakeConn{Conn: server, tls: conn >= 5})
			return client, nil
		},
		Settle:  synctest.Wait,
		Advance: time.Sleep,
		Update:  *update,
		Do: map[string]func(*sim.Player, string) error{
			"fault": func(_ *sim.Player, what string) error {
				host.faultLogin, host.faultOpen = what == "login", what == "open"
				host.faultBody, host.faultRemove = what == "body", what == "remove"
				return nil
			},
			"damage": func(_ *sim.Player, at string) (err error) {
				host.damaged, err = strconv.ParseInt(at, 10, 64)
				return err
			},
			"stop": func(*sim.Player, string) error { stop(); return nil },
			"removed": func(_ *sim.Player, want string) error {
				var got []string
				for _, uids := range host.removals {
					got = append(got, strings.ReplaceAll(strings.Trim(fmt.Sprint(uids), "[]"), " ", ","))
				}
				if s := strings.Join(got, " "); s != want {
					return fmt.Errorf("removed %q", s)
				}
				return nil
			},
		},
	})
}
