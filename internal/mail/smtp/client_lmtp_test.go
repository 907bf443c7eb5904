package smtp

import (
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestClient_lmtpEachItsTime: a server that files a message for one recipient
// after the other may take its time for each.
func TestClient_lmtpEachItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer near.Close()
		go func() {
			defer far.Close()
			buf := make([]byte, 4096)
			for _, say := range []string{"220 x\r\n", offerPipe, "250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n"} {
				if _, err := io.WriteString(far, say); err != nil {
					return
				}
				if _, err := far.Read(buf); err != nil {
					return
				}
			}
			for range 3 {
				time.Sleep(9 * time.Minute)
				if _, err := io.WriteString(far, "250 filed\r\n"); err != nil {
					return
				}
			}
		}()
		c := NewClient(near, ClientOptions{LMTP: true, Now: time.Now})
		if err := c.Hello(t.Context()); err != nil {
			t.Fatal(err)
		}
		rc, err := c.Send(t.Context(), envelopeTo("one", "two", "three"), strings.NewReader("x\r\n"))
		if err != nil || rc.Verdict(2) == nil || rc.Verdict(2).Code != 250 {
			t.Errorf("%v, %+v", err, rc)
		}
	})
}
