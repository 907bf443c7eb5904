package sim

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// echo greets, answers each line with "250 line" and says 421 after half a
// minute of silence.
func echo(c net.Conn) {
	defer c.Close()
	fmt.Fprint(c, "220 ready\r\n")
	r := bufio.NewReader(c)
	for {
		_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
		line, err := r.ReadString('\n')
		if err != nil {
			fmt.Fprint(c, "421 late\r\n")
			return
		}
		fmt.Fprintf(c, "250 %s", line)
	}
}

func play(t *testing.T, d *Dialogue, update bool) (err error) {
	synctest.Test(t, func(t *testing.T) {
		err = d.Play(Play{
			Dial: func(int) (net.Conn, error) {
				a, b := net.Pipe()
				go echo(b)
				return a, nil
			},
			Settle:  synctest.Wait,
			Advance: time.Sleep,
			Do:      map[string]func(*Player, string) error{"pause": func(*Player, string) error { return nil }},
			Update:  update,
		})
	})
	return err
}

func TestDialogue_playsInABubble(t *testing.T) {
	d, err := LoadDialogue("testdata/script/echo_basic.txtar")
	if err != nil {
		t.Fatal(err)
	}
	if note, ok := d.File("note"); !ok || note != "a file\n" {
		t.Fatalf("file note: %q", note)
	}
	if err := play(t, d, false); err != nil {
		t.Fatal(err)
	}
}

func TestDialogue_failures(t *testing.T) {
	for _, c := range []struct{ script, want string }{
		{"S: 221 bye\n", `:1: S: 221 bye: server said "220 ready\r\n"`},
		{"C: one\n", `nobody expected it: "220 ready\r\n"`},
		{"S: 220 ready\nC: one\nS: 250 one\nS: 250 two\n", ":4: S: 250 two: server said nothing more"},
		{"S: 220 ready\nS.\n", "connection is still open"},
		{"S: 220 ready\nC: one\n", "after the last line"},
		{"S: 220 ready\nfly away\n", `unknown word "fly"`},
	} {
		d, err := ParseDialogue([]byte(c.script))
		if err != nil {
			t.Fatal(err)
		}
		if err := play(t, d, false); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("script %q: error %v, want %q", c.script, err, c.want)
		}
	}
}

func TestParseDialogue_refuses(t *testing.T) {
	for _, s := range []string{"advance soon\n", "C! nonsense\n", "S~ (\n", "C~ x\n"} {
		if _, err := ParseDialogue([]byte(s)); err == nil || !strings.HasPrefix(err.Error(), "1: ") {
			t.Errorf("%q: error %v, want one of line 1", s, err)
		}
	}
}

func TestDialogue_update(t *testing.T) {
	name := filepath.Join(t.TempDir(), "d.txtar")
	before := "# remark\nS: 999 wrong\nC: one\nC: a\\b\nS~ 250 a.b\nS: too much\n-- f --\nx\n"
	if err := os.WriteFile(name, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := LoadDialogue(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := play(t, d, true); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	want := "# remark\nS: 220 ready\nC: one\nS: 250 one\nC: a\\b\nS~ 250 a.b\n-- f --\nx\n"
	if string(b) != want {
		t.Fatalf("got\n%s\nwant\n%s", b, want)
	}
	if d, err = LoadDialogue(name); err != nil {
		t.Fatal(err)
	}
	if err := play(t, d, false); err != nil {
		t.Fatalf("the updated dialogue fails: %v", err)
	}
}

func TestDialogue_wrapAndTwoConnections(t *testing.T) {
	d, err := ParseDialogue([]byte("S: 220 ready\nS2: 220 ready\nupper\nC: one\nS: 250 ONE\nC2: one\nS2: 250 one\n"))
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		err = d.Play(Play{
			Dial: func(int) (net.Conn, error) {
				a, b := net.Pipe()
				go echo(b)
				return a, nil
			},
			Settle: synctest.Wait,
			Do: map[string]func(*Player, string) error{"upper": func(p *Player, _ string) error {
				return p.Wrap(0, func(c net.Conn) (net.Conn, error) { return upper{c}, nil })
			}},
		})
	})
	if err != nil {
		t.Fatal(err)
	}
}

// upper writes in capital letters.
type upper struct{ net.Conn }

func (u upper) Write(b []byte) (int, error) {
	return u.Conn.Write([]byte(strings.ToUpper(string(b))))
}

func TestPlayLines(t *testing.T) {
	answer := func(line string) []string {
		if line == "" {
			return []string{"+OK"}
		}
		return []string{"+OK " + line, "."}
	}
	d, err := ParseDialogue([]byte("S: +OK\nC: LIST\nS: +OK LIST\nS: .\n"))
	if err != nil {
		t.Fatal(err)
	}
	if err := d.PlayLines(answer, false); err != nil {
		t.Fatal(err)
	}
	d, err = ParseDialogue([]byte("S: +OK\nC: LIST\nS: +OK LIST\n"))
	if err != nil {
		t.Fatal(err)
	}
	if err := d.PlayLines(answer, false); err == nil || !strings.Contains(err.Error(), `".\r\n"`) {
		t.Fatalf("the unexpected last line was not noticed: %v", err)
	}
}

func FuzzParseDialogue(f *testing.F) {
	f.Add([]byte("S: 220\nC! \"x\"\nadvance 1s\n-- f --\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := ParseDialogue(b)
		if err == nil && len(d.steps) == 0 {
			t.Fatal("a dialogue without any step")
		}
	})
}
