package imap

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/breakwater-mail/breakwater/internal/access/imap/command"
	"github.com/breakwater-mail/breakwater/internal/access/imap/wire"
	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

// hit is a message that a search has found.
type hit struct {
	seq    uint32
	uid    uint32
	modseq mailbox.ModSeq
}

// search answers SEARCH and UID SEARCH (RFC 9051 §6.4.4).
func (s *session) search(ctx context.Context, tag string, v command.Search) answer {
	save := v.Return&command.ReturnSave != 0
	switch v.Charset {
	case "", "UTF-8", "US-ASCII":
	default:
		if save {
			s.box.saved = nil // RFC 5182 §2.1: a NO leaves nothing
		}
		return no("BADCHARSET (US-ASCII UTF-8)", "Charset is not known")
	}
	q, err := s.compile(v.Key)
	if err != nil {
		if save {
			s.box.saved = nil
		}
		if errors.Is(err, errText) {
			return no("BADCHARSET (UTF-8)", "Search string is no UTF-8")
		}
		return bad(err.Error())
	}
	if q.modseq {
		s.enableCondStore()
	}
	hits, err := s.find(ctx, q)
	if err != nil {
		if save {
			s.box.saved = nil
		}
		return s.failed(v.Name(), err)
	}
	if save {
		s.box.saved = savedOf(hits, v.Return)
	}
	if v.Extended || s.rev2 {
		s.writeESearch(tag, v, hits, q.modseq)
	} else {
		s.writeSearch(v, hits, q.modseq)
	}
	if q.damaged > 0 {
		return no("CORRUPTION", fmt.Sprintf("%d damaged messages could not be searched, all else was", q.damaged))
	}
	return ok(v.Name() + " completed")
}

// savedOf gives what "$" stands for after a search (RFC 5182 §2.4).
func savedOf(hits []hit, ret command.SearchReturn) []uint32 {
	if len(hits) == 0 {
		return nil
	}
	first, last := hits[0].uid, hits[len(hits)-1].uid
	switch ret &^ command.ReturnSave {
	case command.ReturnMin:
		return []uint32{first}
	case command.ReturnMax:
		return []uint32{last}
	case command.ReturnMin | command.ReturnMax:
		return slices.Compact([]uint32{first, last})
	}
	uids := make([]uint32, len(hits))
	for i, h := range hits {
		uids[i] = h.uid
	}
	return uids
}

// number is how a hit is named: by UID or by sequence number.
func (h hit) number(uid bool) uint32 {
	if uid {
		return h.uid
	}
	return h.seq
}

// writeSearch writes the SEARCH response of RFC 3501 §7.2.5.
func (s *session) writeSearch(v command.Search, hits []hit, modseq bool) {
	b := append(s.link.buf(), "* SEARCH"...)
	for _, h := range hits {
		b = append(b, ' ')
		b = strconv.AppendUint(b, uint64(h.number(v.UID)), 10)
	}
	if modseq && len(hits) > 0 {
		b = append(b, " (MODSEQ "...)
		b = strconv.AppendUint(b, uint64(highest(hits)), 10)
		b = append(b, ')')
	}
	s.link.put(append(b, '\r', '\n'))
}

func highest(hits []hit) mailbox.ModSeq {
	var most mailbox.ModSeq
	for _, h := range hits {
		most = max(most, h.modseq)
	}
	return most
}

// writeESearch writes an ESEARCH response (RFC 9051 §7.3.4).
func (s *session) writeESearch(tag string, v command.Search, hits []hit, modseq bool) {
	ret := v.Return
	if ret == 0 {
		ret = command.ReturnAll
	}
	if ret == command.ReturnSave {
		return // RFC 5182 §2.1: SAVE alone returns nothing
	}
	b := append(s.link.buf(), "* ESEARCH (TAG "...)
	b = wire.AppendString(b, tag, false)
	b = append(b, ')')
	if v.UID {
		b = append(b, " UID"...)
	}
	item := func(name string, n uint64) {
		b = append(b, name...)
		b = strconv.AppendUint(b, n, 10)
	}
	if n := len(hits); n > 0 {
		if ret&command.ReturnMin != 0 {
			item(" MIN ", uint64(hits[0].number(v.UID)))
		}
		if ret&command.ReturnMax != 0 {
			item(" MAX ", uint64(hits[n-1].number(v.UID)))
		}
		if ret&command.ReturnAll != 0 {
			ns := make([]uint32, n)
			for i, h := range hits {
				ns[i] = h.number(v.UID)
			}
			b = wire.AppendNumbers(append(b, " ALL "...), ns)
		}
	}
	if ret&command.ReturnCount != 0 {
		item(" COUNT ", uint64(len(hits)))
	}
	if modseq && len(hits) > 0 {
		item(" MODSEQ ", uint64(highest(returned(hits, ret))))
	}
	s.link.put(append(b, '\r', '\n'))
}

// returned gives the hits whose mod-sequences count (RFC 7162 §3.1.10).
func returned(hits []hit, ret command.SearchReturn) []hit {
	if ret&(command.ReturnAll|command.ReturnCount) != 0 {
		return hits
	}
	var out []hit
	if ret&command.ReturnMin != 0 {
		out = append(out, hits[0])
	}
	if ret&command.ReturnMax != 0 {
		out = append(out, hits[len(hits)-1])
	}
	return out
}

// find evaluates a query over the messages that the client knows, cheap
// knowledge first: the hot list, then the text index for those that it leaves
// open, then their summaries, then the bodies of the rest.
func (s *session) find(ctx context.Context, q *query) ([]hit, error) {
	all := []span{{0, s.box.view.told}}
	if s.box.view.told == 0 {
		return nil, nil
	}
	ectx, cancel := changeCtx(ctx)
	defer cancel()
	entries, _, err := s.box.mb.Entries(ectx)
	if err != nil {
		return nil, fmt.Errorf("read entries: %w", err)
	}
	var hits []hit
	var open []fetchRow // not decided yet
	batch := encodedBatch
	if s.srv.o.Text != nil && len(q.leaves) > 0 {
		batch = narrowBatch
	}
	deeper := func() error {
		more, rest, err := s.narrow(ctx, q, open)
		hits = append(hits, more...)
		for part := range slices.Chunk(rest, encodedBatch) {
			if err == nil {
				more, err = s.findDeeper(ctx, q, part)
				hits = append(hits, more...)
			}
			clear(part) // their summaries
		}
		open = open[:0]
		q.widen()
		return err
	}
	_, err = s.box.each(all, entries, func(seq uint32, e *mailbox.Entry) error {
		switch q.eval(&candidate{seq: seq, entry: e}) {
		case yes:
			hits = append(hits, hit{seq, uint32(e.UID), e.ModSeq})
		case unknown:
			open = append(open, fetchRow{seq: seq, entry: *e})
		}
		if len(open) == batch {
			return deeper()
		}
		return nil
	})
	if err == nil {
		err = deeper()
	}
	if err != nil {
		return nil, err
	}
	slices.SortFunc(hits, func(a, b hit) int { return int(int64(a.seq) - int64(b.seq)) })
	return hits, nil
}

// findDeeper evaluates a query over messages that the hot list left open, at
// most encodedBatch of them, by their summaries and then their bodies.
func (s *session) findDeeper(ctx context.Context, q *query, rows []fetchRow) ([]hit, error) {
	if len(rows) == 0 {
		return nil, nil
	}
	if s.wake.stopping() {
		return nil, errStopping
	}
	uids := make([]mailbox.UID, len(rows))
	for i := range rows {
		uids[i] = rows[i].entry.UID
	}
	if err := s.encoded(ctx, rows, uids); err != nil {
		return nil, err
	}
	var hits []hit
	deep := rows[:0]
	c := candidate{}
	for i := range rows {
		row := &rows[i]
		if row.encoded == "" && !row.broken {
			continue // gone meanwhile
		}
		envelope, err := q.readEnvelope(row.encoded)
		if err != nil {
			q.damaged++
			continue
		}
		c = candidate{seq: row.seq, entry: &row.entry, envelope: envelope}
		switch q.eval(&c) {
		case yes:
			hits = append(hits, hit{row.seq, uint32(row.entry.UID), row.entry.ModSeq})
		case unknown:
			deep = append(deep, *row)
		}
	}
	more, err := s.scan(ctx, q, deep)
	if err == nil {
		s.want(q, deep)
	}
	return append(hits, more...), err
}

// scanners is how many goroutines of one search read bodies.
const scanners = 2

// scan evaluates a query over messages whose bodies decide.
func (s *session) scan(ctx context.Context, q *query, rows []fetchRow) ([]hit, error) {
	if len(rows) == 0 {
		return nil, nil
	}
	sctx, cancel := context.WithCancel(ctx)
	defer cancel()
	found := make([]bool, len(rows))
	damaged := make([]bool, len(rows))
	failed := make(chan error, scanners)
	for w := range scanners {
		go func() {
			err := guard(func() error {
				mine := make([]fetchRow, 0, len(rows)/scanners+1)
				for i := w; i < len(rows); i += scanners {
					mine = append(mine, rows[i])
				}
				buf, at := s.srv.pools.fold.Get().(*folder), w
				defer s.srv.pools.fold.Put(buf)
				return s.openAll(sctx, mine, func(row *fetchRow, body *journal.Body, err error) error {
					if cerr := sctx.Err(); cerr != nil {
						return cerr
					}
					if err == nil {
						found[at], err = scanOne(q, row, body, buf)
					}
					var damage *journal.DamageError
					if errors.As(err, &damage) || errors.Is(err, message.ErrFormat) {
						s.log.Error("message is damaged", telemetry.Msg, uint64(row.entry.UID), telemetry.Err, err)
						damaged[at], err = true, nil
					}
					at += scanners
					return err
				})
			})
			if err != nil {
				cancel()
			}
			failed <- err
		}()
	}
	var first error
	for range scanners {
		if err := <-failed; err != nil && (first == nil || errors.Is(first, context.Canceled)) {
			first = err
		}
	}
	if first != nil {
		return nil, first
	}
	var hits []hit
	for i := range rows {
		if found[i] {
			hits = append(hits, hit{rows[i].seq, uint32(rows[i].entry.UID), rows[i].entry.ModSeq})
		}
		if damaged[i] {
			q.damaged++
			s.srv.o.Metrics.damaged.Inc()
		}
	}
	return hits, nil
}

// scanOne evaluates a query over a message with its body.
func scanOne(q *query, row *fetchRow, body *journal.Body, buf *folder) (bool, error) {
	m, err := message.DecodeMessage([]byte(row.encoded))
	if err != nil {
		return false, err
	}
	c := candidate{seq: row.seq, entry: &row.entry, envelope: &m.Envelope, root: m.Root, body: body, fold: buf}
	found := q.eval(&c) == yes
	return found, c.err
}
