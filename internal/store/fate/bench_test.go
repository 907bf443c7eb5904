package fate_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
	"github.com/breakwater-mail/breakwater/internal/store/index"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

// disk is a store on the real disk.
type disk struct {
	dir string
	j   *journal.Journal
	x   *index.Index
	m   *mailbox.Store
	s   *fate.Store
}

func openDisk(b *testing.B) *disk {
	b.Helper()
	d := &disk{dir: b.TempDir(), s: fate.New(fate.Options{})}
	var err error
	d.j, err = journal.Open(journal.Options{Dir: filepath.Join(d.dir, "journal"), ReserveBytes: -1})
	must(b, err)
	d.m = mailbox.New(mailbox.Options{Others: []mailbox.Other{d.s}}, d.j)
	d.x, err = index.Open(background, index.Options{Path: filepath.Join(d.dir, "index.db")}, d.j, d.m, d.s)
	must(b, err)
	must(b, errors.Join(d.m.Attach(d.x), d.s.Attach(d.x)))
	b.Cleanup(func() { must(b, errors.Join(d.x.Close(), d.j.Close())) })
	return d
}

// sample is a message as intake makes it; local, or for another host.
func sample(n int, local bool) *fate.Message {
	m := &fate.Message{ID: fmt.Sprintf("01JD%022d", n), Source: fate.Inbound, Received: time.Unix(1.7e9, int64(n)*1e6), Size: 4096,
		MessageID: fmt.Sprintf("<%d.12345@mail.example.org>", n), Session: fmt.Sprintf("01JC%022d", n/3), Protocol: "ESMTPS", TLS: "TLS 1.3",
		From: message.Address{Local: fmt.Sprint("sender", n%5000), Domain: "example.org"}}
	r := fate.Recipient{Address: message.Address{Local: fmt.Sprint("user", n%999), Domain: "demo.test"}, Account: 1}
	if local {
		r.State, r.Last = fate.Delivered, fate.Event{At: m.Received, State: fate.Delivered, Via: "INBOX of " + r.Address.String()}
	} else {
		m.Source, m.Account = fate.Submitted, 7
		r.State, r.Account, r.Address.Domain = fate.Queued, 0, message.Domain(fmt.Sprintf("d%d.example.net", n%2000))
	}
	m.Recipients = []fate.Recipient{r}
	return m
}

// BenchmarkAccept delivers to one mailbox, with facts and without, until the
// index has them too: what the books cost.
func BenchmarkAccept(b *testing.B) {
	for _, facts := range []bool{false, true} {
		b.Run(fmt.Sprintf("facts=%v", facts), func(b *testing.B) {
			d := openDisk(b)
			must(b, d.m.Provision(background, 1))
			inbox, err := d.m.Lookup(background, 1, "INBOX")
			must(b, err)
			body := []byte(text("A letter"))
			var n atomic.Int64
			b.SetParallelism(100)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					m := sample(int(n.Add(1)), true)
					l := mailbox.Delivery{ID: m.ID, From: m.From, Received: m.Received,
						Filings: []mailbox.Filing{{Account: 1, Mailbox: inbox.ID, Rcpt: m.Recipients[0].Address}}}
					if facts {
						l.Also = fate.AppendAccepted(nil, m)
					}
					if err := d.deliver(body, l); err != nil {
						b.Error(err)
					}
				}
			})
			must(b, d.x.Wait(background, d.j.Durable()))
			b.StopTimer()
			b.ReportMetric(d.indexSize(b)/float64(b.N), "index-B/op")
		})
	}
}

func (d *disk) deliver(text []byte, l mailbox.Delivery) error {
	body, err := d.m.NewBody(background, nil)
	if err != nil {
		return err
	}
	defer body.Abort()
	if _, err := body.Write(text); err != nil {
		return err
	}
	_, _, err = d.m.Deliver(background, body, l)
	return err
}

func (d *disk) indexSize(b *testing.B) float64 {
	b.Helper()
	var size int64
	must(b, d.x.Read(background, func(conn *sqlite.Conn) error {
		st, _, err := conn.PrepareTransient("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
		if err != nil {
			return err
		}
		defer st.Finalize()
		_, err = st.Step()
		size = st.ColumnInt64(0)
		return err
	}))
	return float64(size)
}

// fill applies records as the index's writer would.
func (d *disk) fill(b *testing.B, n int, record func(i int) journal.Record) {
	b.Helper()
	const batch = 5_000
	for at := 0; at < n; at += batch {
		must(b, d.x.Update(background, false, func(conn *sqlite.Conn) error {
			for i := at; i < min(at+batch, n); i++ {
				if _, err := d.s.Apply(conn, record(i)); err != nil {
					return err
				}
			}
			return d.s.Flush(conn)
		}))
	}
}

// records make messages and what becomes of them.
func accepted(local bool) func(int) journal.Record {
	return func(i int) journal.Record {
		return journal.Record{LSN: journal.LSN(i + 1), Type: journal.TypeMessage, Envelope: fate.AppendAccepted(nil, sample(i, local))}
	}
}

func changed(state fate.State, after int) func(int) journal.Record {
	return func(i int) journal.Record {
		c := fate.Change{LSN: journal.LSN(i + 1), Rcpt: []int{0}, Attempt: true, Due: time.Unix(1.7e9, 0),
			Event: fate.Event{At: time.Unix(1.7e9, 0), State: state, Via: "mx.example.net [192.0.2.1]:25", TLS: "none offered", Reply: "250 2.0.0 Ok: queued as 4FzYkX1z2Bz9sTg"}}
		b, err := fate.AppendChange(nil, &c)
		if err != nil {
			panic(err)
		}
		return journal.Record{LSN: journal.LSN(after + i + 1), Type: journal.TypeBatch, Envelope: b}
	}
}

// BenchmarkApply is what the index's writer spends on one record.
func BenchmarkApply(b *testing.B) {
	b.Run("local", func(b *testing.B) { openDisk(b).fill(b, b.N, accepted(true)) })
	b.Run("remote", func(b *testing.B) { openDisk(b).fill(b, b.N, accepted(false)) })
	for _, s := range []fate.State{fate.Deferred, fate.Relayed} {
		b.Run(s.String(), func(b *testing.B) {
			d := openDisk(b)
			d.fill(b, b.N, accepted(false))
			b.ResetTimer()
			d.fill(b, b.N, changed(s, b.N))
		})
	}
}

// BenchmarkClosed closes the books over a million messages that have ended, of
// two weeks and one account, whole days and parts of two, and counts one of
// them anew (ROWS sets another number).
func BenchmarkClosed(b *testing.B) {
	rows := 1_000_000
	if n, err := fmt.Sscan(os.Getenv("ROWS"), &rows); n == 1 && err != nil {
		b.Fatal(err)
	}
	d := openDisk(b)
	begin := time.Unix(1.7e9, 0)
	span := 14 * 24 * time.Hour
	d.fill(b, rows, func(i int) journal.Record {
		m := sample(i, true)
		m.Received = begin.Add(span / time.Duration(rows) * time.Duration(i))
		return journal.Record{LSN: journal.LSN(i + 1), Type: journal.TypeMessage, Envelope: fate.AppendAccepted(nil, m)}
	})
	sums := func(p fate.Period) func(b *testing.B) {
		return func(b *testing.B) {
			for b.Loop() {
				_, err := d.s.Sums(background, p)
				must(b, err)
			}
		}
	}
	b.Run("all", sums(fate.Period{}))
	b.Run("parts", sums(fate.Period{Since: begin.Add(time.Hour), Until: begin.Add(span - time.Hour)}))
	b.Run("recount", func(b *testing.B) {
		for b.Loop() {
			_, err := d.s.Recount(background, begin.Add(48*time.Hour))
			must(b, err)
		}
	})
}

// BenchmarkMillion asks a store with a million messages, of which each has one
// recipient that is open (ROWS sets another number).
func BenchmarkMillion(b *testing.B) {
	rows := 1_000_000
	if n, err := fmt.Sscan(os.Getenv("ROWS"), &rows); n == 1 && err != nil {
		b.Fatal(err)
	}
	d := openDisk(b)
	d.fill(b, rows, accepted(false))
	ask := func(name string, fn func() error) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				must(b, fn())
			}
			b.ReportMetric(d.indexSize(b)/float64(rows), "index-B/message")
		})
	}
	ask("open", func() error {
		n := 0
		err := d.s.Open(background, func(fate.Open) error { n++; return nil })
		if n != rows {
			return fmt.Errorf("%d are open, %w", n, err)
		}
		return err
	})
	ask("sums", func() error { _, err := d.s.Sums(background, fate.Period{}); return err })
	ask("load", func() error { _, err := d.s.Load(background, journal.LSN(rows/2)); return err })
	ask("id", func() error { _, err := d.s.ByID(background, sample(rows/2, false).ID); return err })
	ask("address", func() error {
		return d.s.Trace(background, fate.Find{Address: sample(77, false).Recipients[0].Address.String(), Limit: 10}, func(*fate.Message) error { return nil })
	})
	ask("nothing", func() error {
		return d.s.Trace(background, fate.Find{MessageID: "<nobody@example.org>"}, func(*fate.Message) error { return nil })
	})
}

// BenchmarkLoad reads a hundred recipients of a thousand, of which half have
// ended, as an attempt does, and all of them.
func BenchmarkLoad(b *testing.B) {
	d := openDisk(b)
	d.fill(b, 2, func(i int) journal.Record {
		if i == 0 {
			m := sample(0, false)
			for len(m.Recipients) < 1_000 {
				m.Recipients = append(m.Recipients, m.Recipients[0])
			}
			return journal.Record{LSN: 1, Type: journal.TypeMessage, Envelope: fate.AppendAccepted(nil, m)}
		}
		c := fate.Change{LSN: 1, Event: fate.Event{At: time.Unix(1.7e9, 0), State: fate.Relayed, Reply: "250 2.0.0 Ok"}}
		for n := 0; n < 1_000; n += 2 {
			c.Rcpt = append(c.Rcpt, n)
		}
		env, err := fate.AppendChange(nil, &c)
		must(b, err)
		return journal.Record{LSN: 2, Type: journal.TypeBatch, Envelope: env}
	})
	var hundred []int
	for n := range 100 {
		hundred = append(hundred, 450+n)
	}
	for _, asked := range [][]int{hundred, nil} {
		b.Run(fmt.Sprintf("asked=%d", len(asked)), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, err := d.s.Load(background, 1, asked...)
				must(b, err)
			}
		})
	}
}
