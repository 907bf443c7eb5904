package mailbox_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/index"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

// disk is a store on the real disk.
type disk struct {
	dir string
	j   *journal.Journal
	x   *index.Index
	s   *mailbox.Store
}

func openDisk(b *testing.B) *disk {
	b.Helper()
	d := &disk{dir: b.TempDir()}
	var err error
	d.j, err = journal.Open(journal.Options{Dir: filepath.Join(d.dir, "journal"), ReserveBytes: -1})
	must(b, err)
	d.s = mailbox.New(mailbox.Options{}, d.j)
	d.x, err = index.Open(background, index.Options{Path: filepath.Join(d.dir, "index.db")}, d.j, d.s)
	must(b, err)
	must(b, d.s.Attach(d.x))
	b.Cleanup(func() { must(b, errors.Join(d.x.Close(), d.j.Close())) })
	return d
}

func (d *disk) inbox(b *testing.B, acct account.ID) mailbox.Info {
	b.Helper()
	must(b, d.s.Provision(background, acct))
	info, err := d.s.Lookup(background, acct, "INBOX")
	must(b, err)
	return info
}

const letterHead = "Return-Path: <from@example.org>\r\nReceived: from client.example.org (client.example.org [192.0.2.1])\r\n" +
	"\tby mx.example.net with ESMTPS id 123; Mon, 23 Nov 2026 10:00:00 +0000\r\n" +
	"From: Somebody <from@example.org>\r\nTo: One <one@example.net>\r\nSubject: A letter of four kilobytes\r\n" +
	"Date: Mon, 23 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@example.org>\r\nMIME-Version: 1.0\r\n" +
	"Content-Type: text/plain; charset=utf-8\r\n\r\n"

func letter(size int) []byte {
	return []byte((letterHead + strings.Repeat("Lorem ipsum dolor sit amet, consectetur adipisici elit.\r\n", size/57+1))[:size])
}

func (d *disk) deliver(text []byte, to mailbox.Info) error {
	body, err := d.s.NewBody(background, nil)
	if err != nil {
		return err
	}
	defer body.Abort()
	if _, err := body.Write(text); err != nil {
		return err
	}
	_, _, err = d.s.Deliver(background, body, mailbox.Delivery{ID: "1", From: message.Address{Local: "from", Domain: "example.org"},
		Received: time.Now(), Filings: []mailbox.Filing{{Account: to.Account, Mailbox: to.ID, Rcpt: message.Address{Local: "one", Domain: "example.net"}}}})
	return err
}

// probe measures what the disk allows: 4 KB appends with an fdatasync each.
func probe(b *testing.B, dir string) float64 {
	b.Helper()
	f, err := sys.OSFS().Open(filepath.Join(dir, "probe"), os.O_CREATE|os.O_RDWR, 0o600)
	must(b, err)
	defer f.Close()
	block := make([]byte, 4096)
	start := time.Now()
	n := 0
	for ; time.Since(start) < 500*time.Millisecond; n++ {
		_, err := f.WriteAt(block, int64(n)*4096)
		must(b, errors.Join(err, f.Sync()))
	}
	return float64(n) / time.Since(start).Seconds()
}

// BenchmarkDeliver_4KB reports the accept rate, and that with the index caught
// up, as ratios to the probe F, and the bytes written a message byte.
func BenchmarkDeliver_4KB(b *testing.B) {
	for _, writers := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			d := openDisk(b)
			var boxes []mailbox.Info
			for i := range 64 {
				boxes = append(boxes, d.inbox(b, account.ID(i+1)))
			}
			f := probe(b, d.dir)
			text := letter(4096)
			before := written()
			var left atomic.Int64
			left.Store(int64(b.N))
			b.ResetTimer()
			var wg sync.WaitGroup
			for w := range writers {
				wg.Go(func() {
					for i := 0; left.Add(-1) >= 0; i++ {
						if err := d.deliver(text, boxes[(w+i)%len(boxes)]); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			accepted := b.Elapsed()
			must(b, d.x.Wait(background, d.j.Durable()))
			settled := b.Elapsed()
			b.StopTimer()
			must(b, d.x.Close()) // checkpoints
			b.ReportMetric(float64(b.N)/accepted.Seconds()/f, "accept/F")
			b.ReportMetric(float64(b.N)/settled.Seconds()/f, "settled/F")
			b.ReportMetric(float64(b.N)/settled.Seconds(), "msg/s")
			if n := written() - before; n > 0 {
				b.ReportMetric(float64(n)/float64(b.N*len(text)), "written/byte")
			}
		})
	}
}

// written is what this process has had written to the disk, 0 if unknown.
func written() int64 {
	b, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return 0
	}
	var n int64
	for line := range strings.Lines(string(b)) {
		if _, err := fmt.Sscanf(line, "write_bytes: %d", &n); err == nil {
			return n
		}
	}
	return 0
}

// filled returns a store with n messages in one INBOX.
func filled(b *testing.B, n int) (*disk, mailbox.Info) {
	b.Helper()
	d := openDisk(b)
	inbox := d.inbox(b, 1)
	text := letter(1024)
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for range n / 64 {
				if err := d.deliver(text, inbox); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	must(b, d.x.Wait(background, d.j.Durable()))
	return d, inbox
}

func BenchmarkMailbox_100k(b *testing.B) {
	d, inbox := filled(b, 100_000)
	mb, err := d.s.OpenMailbox(background, inbox.ID)
	must(b, err)
	es, _, err := mb.Entries(background)
	must(b, err)
	mb.Close()
	uids := make([]mailbox.UID, len(es))
	for i, e := range es {
		uids[i] = e.UID
	}
	b.Run("open cold", func(b *testing.B) {
		for range b.N {
			b.StopTimer()
			d.s.DropCaches()
			b.StartTimer()
			mb, err := d.s.OpenMailbox(background, inbox.ID)
			must(b, err)
			mb.Close()
		}
	})
	b.Run("open warm and list", func(b *testing.B) {
		for range b.N {
			mb, err := d.s.OpenMailbox(background, inbox.ID)
			must(b, err)
			_, _, err = mb.Entries(background)
			must(b, err)
			mb.Close()
		}
	})
	b.Run("summaries", func(b *testing.B) {
		for range b.N {
			must(b, d.s.Summaries(background, inbox.ID, uids, func(mailbox.UID, *message.Message) error { return nil }))
		}
	})
	benchmarkChanges(b, d, inbox, uids)
}

// benchmarkChanges measures what owners do to many messages, with the mailbox
// open.
func benchmarkChanges(b *testing.B, d *disk, inbox mailbox.Info, uids []mailbox.UID) {
	mb, err := d.s.OpenMailbox(background, inbox.ID)
	must(b, err)
	defer mb.Close()
	archive, err := d.s.Lookup(background, 1, "Archive")
	must(b, err)
	set := func(id mailbox.ID, uids []mailbox.UID, on bool, flag string) {
		mode := mailbox.Remove
		if on {
			mode = mailbox.Add
		}
		_, err := d.s.SetFlags(background, id, mailbox.SetFlags{UIDs: uids, Mode: mode, Flags: []string{flag}})
		must(b, err)
	}
	at := 0
	b.Run("store one", func(b *testing.B) {
		f := probe(b, d.dir)
		b.ResetTimer()
		for range b.N {
			set(inbox.ID, uids[at%len(uids):][:1], at/len(uids)%2 == 0, `\Seen`)
			at++
			_, err = mb.Changes(background, mb.Status().HighestModSeq-1)
			must(b, err)
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/f, "stores/F")
	})
	b.Run("store 1000", func(b *testing.B) {
		for i := range b.N {
			set(inbox.ID, uids[:1000], i%2 == 0, `\Flagged`)
		}
	})
	b.Run("copy 1000", func(b *testing.B) {
		for range b.N {
			_, err := d.s.Copy(background, inbox.ID, uids[:1000], archive.ID)
			must(b, err)
		}
	})
	b.Run("move and expunge 1000", func(b *testing.B) {
		for range b.N {
			if len(uids) < 1000 {
				b.Skip("no messages left")
			}
			part := uids[len(uids)-1000:]
			uids = uids[:len(uids)-1000]
			res, err := d.s.Move(background, inbox.ID, part, archive.ID)
			must(b, err)
			set(archive.ID, res.Dst, true, `\Deleted`)
			_, _, err = d.s.Expunge(background, archive.ID, res.Dst)
			must(b, err)
		}
	})
}
