package delivery

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/breakwater-mail/breakwater/internal/spool/queue"
	"github.com/breakwater-mail/breakwater/internal/spool/tlspolicy"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// sink takes all mail and forgets it, with as little work as it can.
func sink(b *testing.B, offers string) netip.AddrPort {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go drain(c, offers)
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String())
}

func drain(c net.Conn, offers string) {
	defer c.Close()
	r, w := bufio.NewReaderSize(c, 64<<10), bufio.NewWriter(c)
	say := func(s string) bool {
		_, _ = w.WriteString(s)
		if r.Buffered() > 0 {
			return true
		}
		return w.Flush() == nil
	}
	for ok := say("220 sink\r\n"); ok; {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return
		}
		switch {
		case bytes.HasPrefix(line, []byte("EHLO")):
			ok = say(offers)
		case bytes.HasPrefix(line, []byte("DATA")):
			if ok = say("354 go\r\n"); ok {
				for {
					if line, err = r.ReadSlice('\n'); err != nil || string(line) == ".\r\n" {
						break
					}
				}
				ok = say("250 2.0.0 taken\r\n")
			}
		case bytes.HasPrefix(line, []byte("BDAT ")):
			n, _ := strconv.ParseInt(string(bytes.Fields(line)[1]), 10, 64)
			if _, err := io.CopyN(io.Discard, r, n); err != nil {
				return
			}
			ok = say("250 2.0.0 taken\r\n")
		default:
			ok = say("250 2.0.0 ok\r\n")
		}
	}
}

func BenchmarkCarry(b *testing.B) {
	for name, offers := range map[string]string{
		"bdat":    "250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SIZE\r\n250 CHUNKING\r\n",
		"data":    "250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE\r\n",
		"in turn": "250-sink\r\n250-8BITMIME\r\n250 SIZE\r\n",
	} {
		b.Run(name, func(b *testing.B) {
			to := sink(b, offers)
			w := newWorld()
			policies, err := tlspolicy.New(tlspolicy.Options{NoSTS: true}, w)
			if err != nil {
				b.Fatal(err)
			}
			text := []byte("Subject: x\r\n\r\n" + strings.Repeat("a line of a message of common length, more or less\r\n", 80))
			d := New(Options{Default: &Hop{Host: to.Addr().String(), Port: to.Port()}, MaxMessages: 1 << 30}, w, policies,
				func(context.Context, journal.LSN) (Body, error) { return &whole{bytes.NewReader(text)}, nil })
			b.Cleanup(d.pool.closeIdle)
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				m := messageTo("one@example.org")
				for pb.Next() {
					r := d.Carry(context.Background(), queue.Job{Message: m, Rcpt: []int{0}})
					r.Done()
					if r.Outcomes[0].State != fate.Relayed {
						b.Errorf("%+v", r)
						return
					}
				}
			})
		})
	}
}

type whole struct{ *bytes.Reader }

func (*whole) Close() error { return nil }
