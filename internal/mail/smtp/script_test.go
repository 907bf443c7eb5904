package smtp

import (
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

var update = flag.Bool("update", false, "rewrite the server's lines in testdata/script")

// TestScripts plays the dialogues of testdata/script. The file config has
// Options, a word a line; want/1 and so on are the bodies that "want 1"
// expects.
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
			o := scriptOptions(t, d)
			synctest.Test(t, func(t *testing.T) { playScript(t, d, o) })
		})
	}
}

func scriptOptions(t *testing.T, d *sim.Dialogue) Options {
	o := Options{Hostname: "mx.demo.test", SizeMax: 100_000, TLS: true}
	config, _ := d.File("config")
	for line := range strings.Lines(config) {
		word, arg, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, _ := strconv.Atoi(arg)
		switch word {
		case "submission":
			o.Submission = true
			o.Mechanisms = []string{"TWO", "PLAIN"}
		case "mechanisms":
			o.Mechanisms = strings.Fields(arg)
		case "implicit":
		case "no-tls":
			o.TLS = false
		case "tls-later":
			o.TLSLater = true
		case "ask-sender":
			o.AskSender = true
		case "seven-bit":
			o.Without8Bit, o.WithoutUTF8 = true, true
		case "close-on-fault":
			o.CloseOnFault = true
		case "without-dsn":
			o.WithoutDSN = true
		case "require-tls":
			o.RequireTLS = true
		case "recipients":
			o.RecipientsMax = n
		case "size":
			o.SizeMax = int64(n)
		case "rate":
			o.Times.RateMin = int64(n)
		case "text-line":
			o.TextLineMax = n
		default:
			t.Fatalf("config: %q", line)
		}
	}
	return o
}

func playScript(t *testing.T, d *sim.Dialogue, o Options) {
	open := EventOpen
	if config, _ := d.File("config"); strings.Contains(config, "implicit") {
		open = EventOpenTLS
	}
	shells := map[int]*shell{}
	m := NewMachine(o)
	err := d.Play(sim.Play{
		Dial: func(conn int) (net.Conn, error) {
			client, server := net.Pipe()
			s := newShell(t, m)
			s.now = time.Now()
			s.handOver = true
			shells[conn] = s
			go s.serve(server, open)
			return client, nil
		},
		Settle:  synctest.Wait,
		Advance: time.Sleep,
		Do: map[string]func(*sim.Player, string) error{
			"want": func(_ *sim.Player, arg string) error {
				n, err := strconv.Atoi(arg)
				if err != nil {
					return err
				}
				want, ok := d.File("want/" + arg)
				if got := shells[0].bodies; !ok || len(got) < n || got[n-1] != strings.ReplaceAll(want, "\n", "\r\n") {
					return fmt.Errorf("bodies are %q", got)
				}
				return nil
			},
			"bodies": func(_ *sim.Player, arg string) error {
				s := shells[0]
				if got := fmt.Sprintf("%d taken, %d aborted", len(s.bodies), s.aborted); got != arg {
					return fmt.Errorf("%s", got)
				}
				return nil
			},
		},
		Update: *update,
	})
	if err != nil {
		t.Error(err)
	}
}
