package imap

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xdg-go/scram"
)

// largeMessage is a message of n octets and some, of which no two stretches
// are the same.
func largeMessage(n int) []byte {
	rng := rand.New(rand.NewPCG(1, 2))
	b := []byte("Subject: large\r\n\r\n")
	for len(b) < n {
		b = fmt.Appendf(b, "%016x %016x %016x\r\n", rng.Uint64(), rng.Uint64(), rng.Uint64())
	}
	return b
}

// literal sends a command and gives the first literal of the answer.
func (c *client) literal(command string) []byte {
	c.tb.Helper()
	c.n++
	c.write(fmt.Sprintf("t%d %s\r\n", c.n, command))
	line := c.line()
	var n int
	if _, err := fmt.Sscanf(line[strings.LastIndexByte(line, '{'):], "{%d}", &n); err != nil {
		c.tb.Fatalf("%s: %s", command, line)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(c.r, b); err != nil {
		c.tb.Fatal(err)
	}
	c.line()
	if last := c.line(); !strings.Contains(last, " OK ") {
		c.tb.Fatalf("%s: %s", command, last)
	}
	return b
}

func TestFetch_LargeBodyByteForByte(t *testing.T) {
	h := newHouse(t, Options{})
	defer h.close()
	c := h.login("one")
	defer c.c.Close()
	want := largeMessage(3 << 20)
	c.write(fmt.Sprintf("a APPEND INBOX {%d}\r\n", len(want)))
	c.line()
	c.write(string(want) + "\r\n")
	if line := c.line(); !strings.HasPrefix(line, "a OK [APPENDUID") {
		t.Fatal(line)
	}
	c.do("SELECT INBOX")
	if got := c.literal("FETCH 1 (BODY.PEEK[])"); !bytes.Equal(got, want) {
		t.Errorf("%d octets came back of %d, or others", len(got), len(want))
	}
	if got := c.literal("FETCH 1 (BODY.PEEK[]<1000000.70001>)"); !bytes.Equal(got, want[1000000:1070001]) {
		t.Errorf("%d octets of a range of 70001, or others", len(got))
	}
	if got := c.literal("FETCH 1 (BINARY.PEEK[1]<2000000.70001>)"); !bytes.Equal(got, want[2000018:2070019]) {
		t.Errorf("%d octets of a decoded range of 70001, or others", len(got))
	}

	// Damage behind the first pieces must be found before any is sent.
	h.must(h.damage(string(want[2<<20 : 2<<20+40])))
	lines, last := c.try("FETCH 1 (BODY.PEEK[])")
	if len(lines) > 0 || !strings.HasPrefix(last, "NO [CORRUPTION]") {
		t.Errorf("%.60q, %s", lines, last)
	}
	if got := c.literal("FETCH 1 (BODY.PEEK[]<0.70001>)"); !bytes.Equal(got, want[:70001]) {
		t.Errorf("%d octets of an undamaged range of 70001, or others", len(got))
	}
}

func TestSession_ClientThatTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, Options{})
		defer h.close()
		h.append(1, "INBOX", string(largeMessage(2<<20)), time.Time{})
		c := h.login("one")
		c.do("SELECT INBOX")
		c.write("a FETCH 1 BODY.PEEK[]\r\n")
		time.Sleep(writeWait + time.Second)
		synctest.Wait()
		if n := h.open.Load(); n != 0 {
			t.Errorf("%d sessions wait for a client that takes nothing", n)
		}
	})
}

func TestAuthenticate_Scram(t *testing.T) {
	h := newHouse(t, Options{})
	defer h.close()
	for _, tt := range []struct {
		user, password string
		ok             bool
	}{{"one", "secret", true}, {"broken", "secret", false}} {
		c := newClient(t, h.dial(true))
		c.line()
		sc, err := scram.SHA256.NewClient(tt.user, tt.password, "")
		h.must(err)
		conv := sc.NewConversation()
		c.write("a AUTHENTICATE SCRAM-SHA-256\r\n")
		line := c.line()
		for strings.HasPrefix(line, "+ ") {
			raw, err := base64.StdEncoding.DecodeString(line[2:])
			h.must(err)
			response, err := conv.Step(string(raw))
			h.must(err)
			c.write(base64.StdEncoding.EncodeToString([]byte(response)) + "\r\n")
			line = c.line()
		}
		want := "a OK [CAPABILITY"
		if !tt.ok {
			want = "a NO [UNAVAILABLE]"
		}
		if !strings.HasPrefix(line, want) || tt.ok && !conv.Valid() {
			t.Errorf("%s: %s", tt.user, line)
		}
		c.c.Close()
	}
}
