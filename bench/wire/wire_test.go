package wire

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
)

// served gives a client whose server has said all of text.
func served(text string) *IMAP {
	here, there := net.Pipe()
	go func() {
		fmt.Fprint(there, text)
		there.Close()
	}()
	return newIMAP(here)
}

func TestRead_LinesLiteralsAndLongLines(t *testing.T) {
	long := "* SEARCH" + strings.Repeat(" 1234567", 40000)
	c := served("* 1 FETCH (UID 7 BODY[] {5}\r\na\r\nb} FLAGS () X {3+} {3}\r\nxyz)\r\n" + long + "\r\n* 2 EXISTS\r\n")
	want := []struct {
		text     string
		literals []string
	}{
		{"* 1 FETCH (UID 7 BODY[] {5} FLAGS () X {3+} {3})", []string{"a\r\nb}", "xyz"}},
		{long, nil},
		{"* 2 EXISTS", nil},
	}
	for _, w := range want {
		r, err := c.Read()
		if err != nil {
			t.Fatal(err)
		}
		if string(r.Text) != w.text || len(r.Literals) != len(w.literals) {
			t.Fatalf("read %.80q with %q, want %.80q with %q", r.Text, r.Literals, w.text, w.literals)
		}
		for i := range w.literals {
			if string(r.Literals[i]) != w.literals[i] {
				t.Errorf("literal %q, want %q", r.Literals[i], w.literals[i])
			}
		}
	}
}

func TestDo_GivesAnythingButOKAsReply(t *testing.T) {
	c := served("* 1 EXISTS\r\nt1 NO [LIMIT] no\r\n")
	go func() {
		buf := make([]byte, 100)
		c.Conn.Read(buf)
	}()
	seen := 0
	_, err := c.Finish("t1", "X", func(Response) { seen++ })
	var reply *ReplyError
	if !errors.As(err, &reply) || reply.Text != "NO [LIMIT] no" || seen != 1 {
		t.Errorf("%v after %d responses", err, seen)
	}
}

func TestStuff(t *testing.T) {
	for in, want := range map[string]string{
		"":                  "\r\n",
		"a":                 "a\r\n",
		".":                 "..\r\n",
		"a\r\n.\r\n..b\r\n": "a\r\n..\r\n...b\r\n",
	} {
		if got := Stuff([]byte(in)); !bytes.Equal(got, []byte(want)) {
			t.Errorf("Stuff(%q) = %q, want %q", in, got, want)
		}
	}
}
