package imap

import (
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
)

// hasty is a clock on which nothing takes time: logins that fail are answered
// at once.
type hasty struct{ sys.Clock }

func (hasty) After(time.Duration) <-chan time.Time {
	c := make(chan time.Time, 1)
	c <- time.Time{}
	return c
}

// fuzzAllocation bounds what a session may allocate for an input, beside a
// multiple of the input's length: buffers, the parse of what it appends,
// answers.
const (
	fuzzAllocation       = 64 << 20
	fuzzAllocationFactor = 4 << 10
)

// fuzzSession gives inputs to sessions that have been told prefix: they must
// neither panic nor hang nor use memory out of proportion.
func fuzzSession(f *testing.F, prefix string, seeds ...string) {
	for _, seed := range seeds {
		f.Add([]byte(seed))
	}
	h := newHouse(f, Options{Clock: hasty{sys.RealClock()}, AppendLimit: 10_000, SessionsPerUser: 1000})
	f.Cleanup(h.close)
	h.append(1, "INBOX", "Subject: one\r\n\r\ntext\r\n", time.Unix(1770000000, 0))
	h.append(1, "INBOX", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\na\r\n--b--\r\n", time.Unix(1770000000, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		c := h.dial(true)
		go func() {
			for _, part := range [][]byte{[]byte(prefix), b, []byte("\r\nDONE\r\nzz LOGOUT\r\n")} {
				if _, err := c.Write(part); err != nil {
					return // the server may well hang up
				}
			}
			// What is left waits for more of a literal.
			hangUp(c)
		}()
		io.Copy(io.Discard, c)
		c.Close()
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > fuzzAllocation+fuzzAllocationFactor*uint64(len(b)) {
			t.Errorf("%d bytes of memory for an input of %d", used, len(b))
		}
	})
}

// hangUp lets the server say what it has to say, and closes.
func hangUp(c net.Conn) {
	c.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	c.Write([]byte("\r\n"))
	c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
}

func FuzzSession_Stranger(f *testing.F) {
	fuzzSession(f, "", "a LOGIN one secret", "a AUTHENTICATE PLAIN AG9uZQBzZWNyZXQ=", "a AUTHENTICATE SCRAM-SHA-256\r\nbiwsbj1vbmUscj1h",
		"a LOGIN {3+}\r\none {6+}\r\nsecret", "a STARTTLS", "a ID NIL", "a CAPABILITY", "a LOGIN {99999+}\r\n")
}

func FuzzSession_LoggedIn(f *testing.F) {
	fuzzSession(f, "p LOGIN one secret\r\n", "a SELECT INBOX", "a LIST (SUBSCRIBED) \"\" (% *) RETURN (STATUS (SIZE))", "a CREATE x/y",
		"a RENAME x z", "a APPEND INBOX (\\Seen) {3+}\r\nabc {2+}\r\nde", "a ENABLE QRESYNC\r\nb SELECT INBOX (QRESYNC (946684800 1 1:9 (1 1)))",
		"a STATUS INBOX (MESSAGES)", "a LSUB \"\" *", "a COMPRESS DEFLATE\r\n\x00\x00", "a IDLE")
}

func FuzzSession_Selected(f *testing.F) {
	fuzzSession(f, "p LOGIN one secret\r\nq SELECT INBOX\r\n", "a FETCH 1:* (ENVELOPE BODYSTRUCTURE BODY.PEEK[1.MIME]<0.9>)",
		"a UID SEARCH RETURN (SAVE) OR TEXT a NOT BODY b\r\nb FETCH $ ALL", "a STORE 1 +FLAGS (\\Seen x)", "a COPY 1 Sent", "a UID EXPUNGE 9",
		"a UID FETCH 1:* FLAGS (CHANGEDSINCE 1)", "a FETCH 2 (BINARY.PEEK[1] BINARY.SIZE[1] BODY.PEEK[HEADER.FIELDS (a)])", "a IDLE", "a CLOSE",
		"a SEARCH HEADER content-type multi SENTSINCE 1-Jan-2020")
}
