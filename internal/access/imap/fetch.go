package imap

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/breakwater-mail/breakwater/internal/access/imap/command"
	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

// fetchBatch is how many summaries are read at a time: enough to make the cost
// of a query small, few enough that two batches are no memory to speak of.
const fetchBatch = 128

// encodedBatch is fetchBatch where the summaries stay encoded: a row then has
// some 500 octets instead of 1,500, and less work to hide the cost of a query.
const encodedBatch = 512

// namedMax bounds the UIDs that an answer about damage names.
const namedMax = 10

var errUnknownEncoding = errors.New("unknown content transfer encoding")

// fetcher executes one FETCH.
type fetcher struct {
	s     *session
	items []fetchItem
	// summaries, trees and bodies say what the items need. Without trees the
	// summaries stay encoded, and envelope reads them.
	summaries, trees, bodies bool
	envelope                 message.EnvelopeDecoder

	seen       []mailbox.UID // got \Seen by this command, ascending
	seenModSeq mailbox.ModSeq

	missing  int
	damaged  []mailbox.UID
	unknown  bool   // a BINARY item met an encoding that is not known
	header   []byte // scratch for HEADER.FIELDS
	contents []content
}

// fetchItem is an item with its name as the response has it.
type fetchItem struct {
	command.FetchItem
	label string
}

// fetchRow is one message of the response.
type fetchRow struct {
	seq     uint32
	entry   mailbox.Entry
	summary *message.Message // nil unless needed
	encoded string           // the summary as it is stored, "" unless needed
	// envelope is set while the row is written, if it is needed.
	envelope *message.Envelope
	broken   bool // there is no summary: the message was damaged when it was to be made
}

// fetch answers FETCH and UID FETCH (RFC 9051 §6.4.5, RFC 7162 §3.1.4, §3.2.6).
func (s *session) fetch(ctx context.Context, v command.Fetch) answer {
	if v.Vanished && !s.qresync {
		return bad("ENABLE QRESYNC first")
	}
	spans, err := s.box.view.spans(v.Set, v.UID, s.box.saved)
	if err != nil {
		return bad(err.Error())
	}
	s.tellKeywords()
	f := newFetcher(s, v)
	entries, err := f.chosen(ctx, v, spans)
	if err != nil {
		return s.failed(v.Name(), err)
	}
	if err := f.markSeen(ctx, spans, entries); err != nil {
		// RFC 9051 gives \Seen no promise; what was asked for is served.
		s.log.Warn("messages are not marked as seen", telemetry.Cmd, v.Name(), telemetry.Err, err)
	}
	switch {
	case f.summaries && length(spans) > fetchBatch:
		err = f.writeAhead(ctx, spans, entries)
	case f.summaries || f.bodies:
		err = f.batches(ctx, spans, entries, func(rows []fetchRow) error { return f.writeRows(ctx, rows) })
	default:
		f.missing, err = s.box.each(spans, entries, func(seq uint32, e *mailbox.Entry) error {
			return f.write(&fetchRow{seq: seq, entry: *e})
		})
	}
	if v.ChangedSince > 0 {
		f.missing = 0 // those that were left out on purpose
	}
	return f.answer(v, err)
}

// chosen gives the entries to be served: of all messages, or of those that
// have changed, in which case it tells what has vanished too.
func (f *fetcher) chosen(ctx context.Context, v command.Fetch, spans []span) ([]mailbox.Entry, error) {
	s := f.s
	sctx, cancel := changeCtx(ctx)
	defer cancel()
	if v.ChangedSince == 0 {
		return s.box.entries(sctx, spans)
	}
	ch, err := s.box.mb.Changes(sctx, mailbox.ModSeq(v.ChangedSince))
	if err != nil {
		return nil, fmt.Errorf("read changes: %w", err)
	}
	if v.Vanished {
		// "*" here is the last UID that was given, be it gone or not.
		last := max(uint32(ch.UIDNext), 1) - 1
		s.writeVanished(ch.Vanished, v.Set.Resolve(last))
	}
	return ch.Changed, nil
}

func newFetcher(s *session, v command.Fetch) *fetcher {
	f := &fetcher{s: s}
	add := func(it command.FetchItem) {
		f.items = append(f.items, fetchItem{it, label(it)})
	}
	uid := v.UID
	modseq := v.ChangedSince > 0
	if uid {
		add(command.FetchItem{Kind: command.FetchUID})
	}
	for _, it := range v.Items {
		switch it.Kind {
		case command.FetchUID:
			if uid {
				continue
			}
		case command.FetchModSeq:
			modseq = true
			continue
		}
		add(it)
		f.needs(it)
	}
	if modseq {
		s.enableCondStore()
		add(command.FetchItem{Kind: command.FetchModSeq})
	}
	return f
}

// needs notes what an item cannot be served without.
func (f *fetcher) needs(it command.FetchItem) {
	switch it.Kind {
	case command.FetchEnvelope:
		f.summaries = true
	case command.FetchBody, command.FetchBodyStructure:
		f.summaries, f.trees = true, true
	case command.FetchSection, command.FetchBinary, command.FetchBinarySize:
		f.bodies = true
		if len(it.Section.Part) > 0 || it.Section.Text != command.TextAll {
			f.summaries, f.trees = true, true
		}
	case command.FetchRFC822:
		f.bodies = true
	case command.FetchRFC822Header, command.FetchRFC822Text:
		f.bodies, f.summaries, f.trees = true, true, true
	}
}

// label is an item's name in responses, with a space behind it.
func label(it command.FetchItem) string {
	peek := it
	peek.Peek, peek.Partial = false, false
	b := peek.Append(nil)
	if it.Partial {
		b = append(b, '<')
		b = strconv.AppendUint(b, it.Offset, 10)
		b = append(b, '>')
	}
	return string(append(b, ' '))
}

// setsSeen says whether serving an item marks the message as read.
func setsSeen(it command.FetchItem) bool {
	switch it.Kind {
	case command.FetchSection, command.FetchBinary:
		return !it.Peek
	case command.FetchRFC822, command.FetchRFC822Text:
		return true
	}
	return false
}

// markSeen sets \Seen on all messages that are about to be read, in one
// change.
func (f *fetcher) markSeen(ctx context.Context, spans []span, entries []mailbox.Entry) error {
	s := f.s
	if s.box.readOnly || !slices.ContainsFunc(f.items, func(it fetchItem) bool { return setsSeen(it.FetchItem) }) {
		return nil
	}
	var uids []mailbox.UID
	s.box.each(spans, entries, func(_ uint32, e *mailbox.Entry) error {
		if e.Flags&mailbox.FlagSeen == 0 {
			uids = append(uids, e.UID)
		}
		return nil
	})
	if len(uids) == 0 {
		return nil
	}
	if err := s.take(ctx); err != nil { // so that others' changes are told from ours
		return err
	}
	sctx, cancel := changeCtx(ctx)
	defer cancel()
	res, err := s.srv.boxes.SetFlags(sctx, s.box.id, mailbox.SetFlags{
		UIDs: uids, Mode: mailbox.Add, Flags: []string{`\Seen`},
	})
	if err != nil {
		return fmt.Errorf("set flags: %w", err)
	}
	f.seen, f.seenModSeq = uids, res.ModSeq
	if res.Written {
		s.box.view.disown(res.ModSeq) // the rows say it
	}
	return nil
}

// writeAhead writes the rows while the next summaries are read.
func (f *fetcher) writeAhead(ctx context.Context, spans []span, entries []mailbox.Entry) error {
	rctx, cancel := context.WithCancel(ctx)
	batches := make(chan []fetchRow, 1)
	failed := make(chan error, 1)
	go func() {
		defer close(batches)
		failed <- guard(func() error {
			return f.batches(rctx, spans, entries, func(rows []fetchRow) error {
				select {
				case batches <- slices.Clone(rows):
					return nil
				case <-rctx.Done():
					return rctx.Err()
				}
			})
		})
	}()
	var err error
	for rows := range batches {
		if err == nil {
			if err = f.writeRows(ctx, rows); err != nil {
				cancel()
			}
		}
	}
	cancel()
	if rerr := <-failed; err == nil {
		err = rerr
	}
	return err
}

// guard turns a panic of a goroutine that is not the session's into an error:
// only the session's own are recovered by who started it.
func guard(fn func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return fn()
}

// batches gives the messages at spans to fn in batches, with their summaries
// if they are needed. The rows are lent to fn.
func (f *fetcher) batches(ctx context.Context, spans []span, entries []mailbox.Entry, fn func([]fetchRow) error) error {
	most, read := encodedBatch, f.s.encoded
	if f.trees || f.bodies {
		most, read = fetchBatch, f.s.summaries
	}
	rows := make([]fetchRow, 0, most)
	uids := make([]mailbox.UID, 0, most)
	batch := func() error {
		if len(rows) == 0 {
			return nil
		}
		if f.summaries {
			if err := read(ctx, rows, uids); err != nil {
				return err
			}
		}
		err := fn(rows)
		rows, uids = rows[:0], uids[:0]
		return err
	}
	missing, err := f.s.box.each(spans, entries, func(seq uint32, e *mailbox.Entry) error {
		rows = append(rows, fetchRow{seq: seq, entry: *e})
		uids = append(uids, e.UID)
		if len(rows) < most {
			return nil
		}
		return batch()
	})
	f.missing = missing
	if err != nil {
		return err
	}
	return batch()
}

// summaries reads the summaries of rows, whose UIDs uids are, ascending. Those
// that are gone meanwhile have none.
func (s *session) summaries(ctx context.Context, rows []fetchRow, uids []mailbox.UID) error {
	sctx, cancel := context.WithTimeout(ctx, commandWait)
	defer cancel()
	at := rowFinder(rows)
	err := s.srv.boxes.Summaries(sctx, s.box.id, uids, func(uid mailbox.UID, m *message.Message) error {
		if row := at(uid); row != nil {
			row.summary, row.broken = m, m == nil
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read summaries: %w", err)
	}
	return nil
}

// encoded is summaries without decoding them.
func (s *session) encoded(ctx context.Context, rows []fetchRow, uids []mailbox.UID) error {
	sctx, cancel := context.WithTimeout(ctx, commandWait)
	defer cancel()
	at := rowFinder(rows)
	err := s.srv.boxes.EncodedSummaries(sctx, s.box.id, uids, func(uid mailbox.UID, text string) error {
		if row := at(uid); row != nil {
			row.encoded, row.broken = text, text == ""
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read summaries: %w", err)
	}
	return nil
}

// rowFinder finds the rows of UIDs that come in ascending order, nil for one
// that has none.
func rowFinder(rows []fetchRow) func(mailbox.UID) *fetchRow {
	i := 0
	return func(uid mailbox.UID) *fetchRow {
		for i < len(rows) && rows[i].entry.UID < uid {
			i++
		}
		if i < len(rows) && rows[i].entry.UID == uid {
			return &rows[i]
		}
		return nil
	}
}

func (f *fetcher) writeRows(ctx context.Context, rows []fetchRow) error {
	if f.summaries {
		rows = f.withSummary(rows)
	}
	if f.bodies {
		return f.s.openAll(ctx, rows, func(row *fetchRow, body *journal.Body, err error) error {
			return f.writeBody(row, body, err)
		})
	}
	for i := range rows {
		if err := f.write(&rows[i]); err != nil {
			return err
		}
	}
	return nil
}

// withSummary keeps the rows that have a summary and counts the others.
func (f *fetcher) withSummary(rows []fetchRow) []fetchRow {
	kept := rows[:0]
	for _, row := range rows {
		switch {
		case row.broken:
			f.damaged = append(f.damaged, row.entry.UID)
		case row.summary == nil && row.encoded == "":
			f.missing++
		default:
			kept = append(kept, row)
		}
	}
	return kept
}

// openAll opens the bodies of rows one after the other; fn has each, or why it
// cannot be had, for the time of its call.
func (s *session) openAll(ctx context.Context, rows []fetchRow, fn func(*fetchRow, *journal.Body, error) error) error {
	octx, cancel := context.WithTimeout(ctx, commandWait)
	defer cancel()
	lsns := make([]journal.LSN, len(rows))
	for i := range rows {
		lsns[i] = rows[i].entry.Message
	}
	err := s.srv.boxes.OpenMessages(octx, lsns, func(i int, body *journal.Body, err error) error {
		if err == nil {
			defer body.Close()
		}
		return fn(&rows[i], body, err)
	})
	if err != nil {
		return fmt.Errorf("open messages: %w", err)
	}
	return nil
}

// answer is the tagged response. What could be served was.
func (f *fetcher) answer(v command.Fetch, err error) answer {
	switch {
	case err != nil:
		return f.s.failed(v.Name(), err)
	case len(f.damaged) > 0:
		named := make([]string, 0, namedMax)
		for _, uid := range f.damaged[:min(len(f.damaged), namedMax)] {
			named = append(named, strconv.FormatUint(uint64(uid), 10))
		}
		text := "Stored message is damaged, all else was served; UID " + strings.Join(named, ", ")
		if more := len(f.damaged) - len(named); more > 0 {
			text += fmt.Sprintf(" and %d more", more)
		}
		return no("CORRUPTION", text)
	case f.unknown:
		return no("UNKNOWN-CTE", "Content transfer encoding is not known")
	case f.missing > 0 && !v.UID:
		return no("EXPUNGEISSUED", "Some messages are gone")
	}
	return ok(v.Name() + " completed")
}

// write writes one row without bodies. One whose envelope cannot be read is
// noted and left out.
func (f *fetcher) write(row *fetchRow) error {
	if !f.open(row) {
		return nil
	}
	return f.s.link.put(f.appendRow(f.s.link.buf(), row))
}

// open makes the envelope of an encoded row ready to be served.
func (f *fetcher) open(row *fetchRow) bool {
	row.envelope = nil
	switch {
	case row.summary != nil:
		row.envelope = &row.summary.Envelope
	case row.encoded != "":
		e, err := f.envelope.Decode(row.encoded)
		if err != nil {
			f.damaged = append(f.damaged, row.entry.UID)
			return false
		}
		row.envelope = e
	}
	return true
}

// writeBody writes one row with bodies; err is why its message could not be
// opened. A damaged message is noted and left out; other errors end the
// command.
func (f *fetcher) writeBody(row *fetchRow, body *journal.Body, err error) error {
	switch {
	case f.s.link.err != nil:
		return f.s.link.err
	case f.s.wake.stopping():
		return errStopping
	case err == nil:
		if !f.open(row) {
			return nil
		}
		err = f.writeBodies(row, body)
	}
	var damage *journal.DamageError
	switch {
	case errors.As(err, &damage):
		f.damaged = append(f.damaged, row.entry.UID)
		f.s.srv.o.Metrics.damaged.Inc()
		f.s.log.Error("message is damaged", telemetry.Mailbox, uint64(f.s.box.id),
			telemetry.Msg, uint64(row.entry.UID), telemetry.LSN, uint64(row.entry.Message), telemetry.Err, err)
		return f.s.link.err
	case errors.Is(err, errUnknownEncoding):
		f.unknown = true
		return nil
	}
	return err
}

// appendRow appends a row without bodies.
func (f *fetcher) appendRow(b []byte, row *fetchRow) []byte {
	b = f.beginRow(b, row)
	for i := range f.items {
		if i > 0 {
			b = append(b, ' ')
		}
		b = append(b, f.items[i].label...)
		b = f.appendItem(b, row, f.items[i].Kind)
	}
	return f.endRow(b, row)
}

// beginRow appends what stands before the first item; \Seen may have been set
// since the row's entry was read.
func (f *fetcher) beginRow(b []byte, row *fetchRow) []byte {
	if f.newlySeen(row.entry.UID) {
		row.entry.Flags |= mailbox.FlagSeen
		row.entry.ModSeq = max(row.entry.ModSeq, f.seenModSeq)
	}
	b = append(b, "* "...)
	b = strconv.AppendUint(b, uint64(row.seq), 10)
	return append(b, " FETCH ("...)
}

func (f *fetcher) newlySeen(uid mailbox.UID) bool {
	if len(f.seen) == 0 {
		return false
	}
	_, found := slices.BinarySearch(f.seen, uid)
	return found
}

// endRow tells the new flags of a message that has got \Seen (RFC 9051
// §6.4.5).
func (f *fetcher) endRow(b []byte, row *fetchRow) []byte {
	if f.newlySeen(row.entry.UID) {
		if !f.has(command.FetchFlags) {
			b = append(b, " FLAGS "...)
			b = f.s.box.appendFlags(b, row.entry.Flags)
		}
		if f.s.condStore && !f.has(command.FetchModSeq) {
			b = append(b, " MODSEQ ("...)
			b = strconv.AppendUint(b, uint64(row.entry.ModSeq), 10)
			b = append(b, ')')
		}
	}
	return append(b, ")\r\n"...)
}

func (f *fetcher) has(k command.FetchKind) bool {
	return slices.ContainsFunc(f.items, func(it fetchItem) bool { return it.Kind == k })
}

// appendItem appends the value of an item that needs no body.
func (f *fetcher) appendItem(b []byte, row *fetchRow, k command.FetchKind) []byte {
	e := &row.entry
	switch k {
	case command.FetchUID:
		return strconv.AppendUint(b, uint64(e.UID), 10)
	case command.FetchFlags:
		return f.s.box.appendFlags(b, e.Flags)
	case command.FetchSize:
		return strconv.AppendUint(b, uint64(e.Size), 10)
	case command.FetchInternalDate:
		return appendInternalDate(b, e.Date)
	case command.FetchModSeq:
		b = append(b, '(')
		b = strconv.AppendUint(b, uint64(e.ModSeq), 10)
		return append(b, ')')
	case command.FetchEnvelope:
		return appendEnvelope(b, row.envelope, f.s.utf8)
	case command.FetchBody:
		return appendStructure(b, row.summary.Root, false, f.s.utf8)
	case command.FetchBodyStructure:
		return appendStructure(b, row.summary.Root, true, f.s.utf8)
	}
	return b
}
