package smtp

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// said is a connection on which a server has said all that it will ever say,
// cut into reads of at most some octets.
type said struct {
	net.Conn
	text string
	cut  int
}

func (s *said) Read(p []byte) (int, error) {
	if s.text == "" {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), s.cut)], s.text)
	s.text = s.text[n:]
	return n, nil
}

func (*said) Write(p []byte) (int, error)     { return len(p), nil }
func (*said) Close() error                    { return nil }
func (*said) SetDeadline(time.Time) error     { return nil }
func (*said) SetReadDeadline(time.Time) error { return nil }

// FuzzClient lets a server say anything: a client ends, counts no more replies
// than it has sent commands, and believes no acceptance that was not said.
func FuzzClient(f *testing.F) {
	for _, s := range []string{
		"220 x\r\n250-x\r\n250-PIPELINING\r\n250 CHUNKING\r\n250 ok\r\n250 ok\r\n550 no\r\n250 taken\r\n",
		"220 x\r\n250-x\r\n250 PIPELINING\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n250 taken\r\n",
		"220 x\r\n502 what\r\n250 x\r\n550 no\r\n250 reset\r\n",
		"220-x\r\n220 x\r\n250 x\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n250 one\r\n452 two\r\n",
		"220 x\r\n421 bye\r\n",
	} {
		f.Add(s, uint8(3), false, true)
		f.Add(s, uint8(200), true, false)
	}
	f.Fuzz(func(t *testing.T, text string, cut uint8, lmtp, chunking bool) {
		c := NewClient(&said{text: text, cut: int(cut) + 1}, ClientOptions{LMTP: lmtp, Chunking: chunking})
		if c.Hello(t.Context()) != nil {
			return
		}
		for range 2 {
			rc, err := c.Send(t.Context(), envelopeTo("one", "two"), strings.NewReader("x\r\n"))
			if len(rc.Recipients) > 2 || rc.Each != nil && len(rc.Each) != len(rc.Recipients) {
				t.Fatalf("%+v", rc)
			}
			taken := 0
			for i := range 2 {
				if v := rc.Verdict(i); v != nil && v.Code/100 == 2 {
					taken++
					if !rc.Ended {
						t.Errorf("recipient %d is taken, and nothing was sent: %+v", i, rc)
					}
				} else if v != nil && v.Code/100 == 3 {
					t.Errorf("recipient %d: %+v", i, v)
				}
			}
			var r *Reply
			if err == nil && taken == 0 || taken > 0 && errors.As(err, &r) && r.Code != 421 {
				t.Errorf("%d taken, error %v, %+v", taken, err, rc)
			}
		}
	})
}
