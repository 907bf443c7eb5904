package imap

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/flate"
	"golang.org/x/tools/txtar"

	"github.com/breakwater-mail/breakwater/internal/base/sim"
	"github.com/breakwater-mail/breakwater/internal/store/account"
)

// TestScripts plays the dialogues of testdata/script: each against a store of
// its own, in a bubble whose clock stands still while anybody works.
//
// Files of an archive are messages, by "mailbox/n" in the order of n; a first
// line "Flags: …" is none of the message. A file "config" has words: "plain"
// (no TLS at the start), "stranger" (no login; otherwise each connection is
// logged in as "one", an odd one beyond 4 as "two").
func TestScripts(t *testing.T) {
	names, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { playScript(t, name) })
		})
	}
}

var update = flag.Bool("update", false, "rewrite the S: lines of the dialogues")

func playScript(t *testing.T, name string) {
	d, err := sim.LoadDialogue(name)
	if err != nil {
		t.Fatal(err)
	}
	config, _ := d.File("config")
	has := func(word string) bool { return strings.Contains(" "+strings.TrimSpace(config)+" ", " "+word+" ") }
	h := newHouse(t, Options{Hostname: "imap.demo.test", Version: "1", AppendLimit: 5000, SessionsPerUser: 3, Quota: quota})
	defer h.close()
	h.fill(t, name)
	err = d.Play(sim.Play{
		Dial: func(n int) (net.Conn, error) {
			c := h.dial(!has("plain"))
			if has("stranger") || has("plain") {
				return c, nil
			}
			user := "one"
			if n >= 5 {
				user = "two"
			}
			return c, logIn(c, user)
		},
		Settle:  synctest.Wait,
		Advance: time.Sleep,
		Update:  *update,
		Do: map[string]func(*sim.Player, string) error{
			"stop": func(*sim.Player, string) error { h.stop(); return nil },
			"damage": func(_ *sim.Player, what string) error {
				return h.damage(what)
			},
			"compress": func(p *sim.Player, _ string) error {
				return p.Wrap(0, func(c net.Conn) (net.Conn, error) { return newDeflated(c), nil })
			},
			"deliver": func(_ *sim.Player, subject string) error {
				h.append(1, "INBOX", "Subject: "+subject+"\r\n\r\nhello\r\n", time.Time{})
				return nil
			},
		},
	})
	if err != nil {
		t.Error(err)
	}
}

// quota gives account 2 a small one.
func quota(_ context.Context, id account.ID) (int64, error) {
	if id == 2 {
		return 100, nil
	}
	return 0, nil
}

// logIn reads the greeting and logs in, so that scripts begin with what they
// are about.
func logIn(c net.Conn, user string) error {
	r := bufio.NewReader(c)
	if _, err := r.ReadString('\n'); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(c, "login LOGIN %s secret\r\n", user); err != nil {
		return err
	}
	line, err := r.ReadString('\n')
	if err == nil && !strings.HasPrefix(line, "login OK") {
		err = fmt.Errorf("login: %s", line)
	}
	return err
}

// fill files the messages of an archive.
func (h *house) fill(t *testing.T, path string) {
	t.Helper()
	a, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	files := a.Files
	sort.SliceStable(files, func(i, j int) bool { return files[i].Name < files[j].Name })
	at := time.Date(2026, 2, 1, 12, 0, 0, 0, time.UTC)
	for _, f := range files {
		if f.Name == "config" {
			continue
		}
		text := strings.ReplaceAll(string(f.Data), "\n", "\r\n")
		var flags []string
		if rest, ok := strings.CutPrefix(text, "Flags: "); ok {
			line, body, _ := strings.Cut(rest, "\r\n")
			flags, text = strings.Fields(line), body
		}
		h.append(account.ID(1), filepath.Dir(f.Name), text, at, flags...)
		at = at.Add(24 * time.Hour)
	}
}

// damage flips a bit of the first place of the journal where what stands.
func (h *house) damage(what string) error {
	names, err := h.disk.ReadDir("journal")
	if err != nil {
		return err
	}
	for _, name := range names {
		name = "journal/" + name
		size, err := h.disk.Stat(name)
		if err != nil {
			return err
		}
		f, err := h.disk.Open(name, os.O_RDONLY, 0)
		if err != nil {
			return err
		}
		b := make([]byte, size)
		if _, err := f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
		if at := bytes.Index(b, []byte(what)); at >= 0 {
			return h.disk.FlipBit(name, int64(at))
		}
	}
	return fmt.Errorf("%q is nowhere in the journal", what)
}

// deflated is a client's connection with COMPRESS=DEFLATE.
type deflated struct {
	net.Conn
	r   io.Reader
	w   *flate.Writer
	buf bytes.Buffer // what w gave: it goes out in one write
}

func newDeflated(c net.Conn) *deflated {
	d := &deflated{Conn: c, r: flate.NewReader(c)}
	var err error
	if d.w, err = flate.NewWriter(&d.buf, flate.BestSpeed); err != nil {
		panic(err)
	}
	return d
}

func (d *deflated) Read(p []byte) (int, error) { return d.r.Read(p) }

func (d *deflated) Write(p []byte) (int, error) {
	d.buf.Reset()
	if n, err := d.w.Write(p); err != nil {
		return n, err
	}
	if err := d.w.Flush(); err != nil {
		return 0, err
	}
	if _, err := d.Conn.Write(d.buf.Bytes()); err != nil {
		return 0, err
	}
	return len(p), nil
}
