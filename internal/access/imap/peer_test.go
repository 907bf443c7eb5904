package imap

import (
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// peer is go-imap's client over a real socket under TLS.
func (h *house) peer(o *imapclient.Options) *imapclient.Client {
	h.tb.Helper()
	addr, config := h.listen(true)
	if o == nil {
		o = &imapclient.Options{}
	}
	o.TLSConfig = config
	c, err := imapclient.DialTLS(addr, o)
	h.must(err)
	h.tb.Cleanup(func() { c.Close() })
	h.must(c.Login("one", "secret").Wait())
	return c
}

const peerMessage = "From: \"A. B.\" <a@b.test>\r\nTo: one@demo.test\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMessage-ID: <1@b.test>\r\n" +
	"Date: Mon, 2 Feb 2026 10:00:00 +0100\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n" +
	"--x\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\nR3LDvMOfZQ==\r\n" +
	"--x\r\nContent-Type: application/pdf; name=a.pdf\r\nContent-Disposition: attachment; filename=a.pdf\r\n\r\npdf\r\n--x--\r\n"

func TestPeer_ReadsAndChanges(t *testing.T) {
	h := newHouse(t, Options{})
	t.Cleanup(h.close)
	c := h.peer(nil)

	app := c.Append("INBOX", int64(len(peerMessage)), &imap.AppendOptions{Flags: []imap.Flag{imap.FlagFlagged}})
	_, err := io.WriteString(app, peerMessage)
	h.must(err)
	h.must(app.Close())
	data, err := app.Wait()
	h.must(err)
	if data.UID != 1 || data.UIDValidity == 0 {
		t.Errorf("APPENDUID %+v", data)
	}
	sel, err := c.Select("INBOX", &imap.SelectOptions{CondStore: true}).Wait()
	h.must(err)
	if sel.NumMessages != 1 || sel.UIDNext != 2 || sel.HighestModSeq == 0 {
		t.Errorf("SELECT %+v", sel)
	}
	h.peerFetches(t, c)
	h.peerSearches(t, c)

	moved, err := c.Move(imap.UIDSetNum(1), "Trash").Wait()
	h.must(err)
	if fmt.Sprint(moved.SourceUIDs) != "1" || fmt.Sprint(moved.DestUIDs) != "1" {
		t.Errorf("COPYUID %+v", moved)
	}
	st, err := c.Status("Trash", &imap.StatusOptions{NumMessages: true, Size: true, HighestModSeq: true}).Wait()
	h.must(err)
	if *st.NumMessages != 1 || *st.Size != int64(len(peerMessage)) {
		t.Errorf("STATUS %+v", st)
	}
	boxes, err := c.List("", "*", &imap.ListOptions{ReturnSpecialUse: true, ReturnStatus: &imap.StatusOptions{NumMessages: true}}).Collect()
	h.must(err)
	if len(boxes) != 6 || boxes[5].Mailbox != "Trash" || *boxes[5].Status.NumMessages != 1 {
		t.Errorf("LIST %+v", boxes)
	}
	h.must(c.Logout().Wait())
}

func (h *house) peerFetches(t *testing.T, c *imapclient.Client) {
	whole := &imap.FetchItemBodySection{Peek: true}
	part := &imap.FetchItemBinarySection{Part: []int{1}, Peek: true}
	msgs, err := c.Fetch(imap.SeqSetNum(1), &imap.FetchOptions{
		UID: true, Flags: true, Envelope: true, InternalDate: true, RFC822Size: true, ModSeq: true,
		BodyStructure: &imap.FetchItemBodyStructure{Extended: true},
		BodySection:   []*imap.FetchItemBodySection{whole}, BinarySection: []*imap.FetchItemBinarySection{part},
	}).Collect()
	h.must(err)
	m := msgs[0]
	if m.Envelope.Subject != "Grüße" || m.Envelope.From[0].Addr() != "a@b.test" || m.Envelope.From[0].Name != "A. B." {
		t.Errorf("ENVELOPE %+v", m.Envelope)
	}
	if got := m.FindBodySection(whole); string(got) != peerMessage {
		t.Errorf("BODY[] %q", got)
	}
	if got := m.FindBinarySection(part); string(got) != "Grüße" {
		t.Errorf("BINARY[1] %q", got)
	}
	parts := 0
	m.BodyStructure.Walk(func([]int, imap.BodyStructure) bool { parts++; return true })
	if parts != 3 || m.RFC822Size != int64(len(peerMessage)) || m.ModSeq == 0 {
		t.Errorf("%d parts, size %d, modseq %d", parts, m.RFC822Size, m.ModSeq)
	}
	stored, err := c.Store(imap.SeqSetNum(1), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagSeen}},
		&imap.StoreOptions{UnchangedSince: m.ModSeq}).Collect()
	h.must(err)
	if len(stored) == 0 || stored[0].ModSeq <= m.ModSeq {
		t.Errorf("STORE %+v", stored)
	}
	changed, err := c.Fetch(imap.UIDSet{imap.UIDRange{Start: 1}}, &imap.FetchOptions{Flags: true, ChangedSince: m.ModSeq}).Collect()
	h.must(err)
	if len(changed) != 1 {
		t.Errorf("CHANGEDSINCE %+v", changed)
	}
}

func (h *house) peerSearches(t *testing.T, c *imapclient.Client) {
	for _, tt := range []struct {
		criteria imap.SearchCriteria
		want     uint32
	}{
		{imap.SearchCriteria{Body: []string{"grüße"}}, 1},
		{imap.SearchCriteria{Body: []string{"GRÜSSE"}}, 0},
		{imap.SearchCriteria{Flag: []imap.Flag{imap.FlagSeen, imap.FlagFlagged}}, 1},
		{imap.SearchCriteria{Header: []imap.SearchCriteriaHeaderField{{Key: "Subject", Value: "GRÜSSE"}}}, 0},
		{imap.SearchCriteria{Header: []imap.SearchCriteriaHeaderField{{Key: "Subject", Value: "grüße"}}}, 1},
		{imap.SearchCriteria{SentSince: time.Date(2026, 2, 2, 0, 0, 0, 0, time.UTC)}, 1},
		{imap.SearchCriteria{Larger: 10_000}, 0},
	} {
		got, err := c.UIDSearch(&tt.criteria, &imap.SearchOptions{ReturnCount: true, ReturnAll: true}).Wait()
		h.must(err)
		if got.Count != tt.want {
			t.Errorf("search %+v: %d, want %d", tt.criteria, got.Count, tt.want)
		}
	}
}

func TestPeer_IsToldWhileIdle(t *testing.T) {
	h := newHouse(t, Options{})
	t.Cleanup(h.close)
	told := make(chan uint32, 10)
	c := h.peer(&imapclient.Options{UnilateralDataHandler: &imapclient.UnilateralDataHandler{
		Mailbox: func(d *imapclient.UnilateralDataMailbox) {
			if d.NumMessages != nil {
				told <- *d.NumMessages
			}
		},
	}})
	_, err := c.Select("INBOX", nil).Wait()
	h.must(err)
	idle, err := c.Idle()
	h.must(err)
	for n := uint32(1); n <= 3; n++ {
		h.append(1, "INBOX", "Subject: x\r\n\r\n", time.Time{})
		if got := <-told; got != n {
			t.Errorf("told of %d messages, there are %d", got, n)
		}
	}
	h.must(idle.Close())
	h.must(idle.Wait())
	h.must(c.Noop().Wait())
}

func TestPeer_StartTLS(t *testing.T) {
	h := newHouse(t, Options{})
	t.Cleanup(h.close)
	addr, config := h.listen(false)
	c, err := imapclient.DialStartTLS(addr, &imapclient.Options{TLSConfig: config})
	h.must(err)
	t.Cleanup(func() { c.Close() })
	h.must(c.Login("one", "secret").Wait())
	_, err = c.Enable(imap.CapIMAP4rev2).Wait()
	h.must(err)
	h.must(c.Create("Übung", nil).Wait())
	sel, err := c.Select("Übung", nil).Wait()
	h.must(err)
	if sel.List == nil || sel.List.Mailbox != "Übung" {
		t.Errorf("SELECT %+v", sel)
	}
	h.must(c.Logout().Wait())
}
