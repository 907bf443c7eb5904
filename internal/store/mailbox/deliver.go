package mailbox

import (
	"context"
	"fmt"

	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// Deliver stores an accepted message and files it for its local recipients, in
// one record with one body, however many they are, together with the facts of
// other views in d.Also. When it returns without an
// error the message is durable (I1) and the filings have their UIDs; it is in
// the index a moment later, and readers wait for that. Filings for one mailbox
// are one message in it. With an error nothing has happened, and the Body can
// be used again: ErrNoSuchMailbox if one of the mailboxes is gone, ErrLimit,
// journal.ErrFull, index.ErrBehind, or a fault.
func (s *Store) Deliver(ctx context.Context, b *Body, d Delivery) (journal.LSN, []Filing, error) {
	if err := b.Finish(); err != nil {
		return 0, nil, err
	}
	if len(d.Filings) == 0 && len(d.Also) == 0 || len(d.Filings) > filingsMax {
		return 0, nil, fmt.Errorf("%d filings: %w", len(d.Filings), ErrLimit)
	}
	facts := messageFacts{id: d.ID, from: d.From.String(), received: d.Received.UnixMicro(), prefix: b.prefix}
	at, err := facts.gather(d.Filings)
	if err != nil {
		return 0, nil, err
	}
	wanted := make([]flagsWanted, len(facts.filings))
	for i, f := range d.Filings {
		w := &wanted[at[i]]
		if len(f.Flags) == 0 {
			continue
		}
		system, keywords, err := splitFlags(f.Flags)
		if err != nil {
			return 0, nil, err
		}
		w.system, w.keywords = w.system|system, append(w.keywords, keywords...)
	}
	facts.also = d.Also
	rec, err := s.x.Accept(ctx, b.entry(s.q.entry(journal.TypeMessage, func(lsn journal.LSN, u *undoing) ([]byte, error) {
		return s.stampFilings(&facts, wanted, lsn, u)
	})))
	if err != nil {
		return 0, nil, fmt.Errorf("deliver: %w", err)
	}
	b.taken()
	out := make([]Filing, len(d.Filings))
	for i, f := range d.Filings {
		f.UID = facts.filings[at[i]].uid
		out[i] = f
	}
	s.o.Metrics.messages.WithLabelValues("deliver").Add(float64(len(facts.filings)))
	s.o.Metrics.bodyBytes.Add(float64(b.size))
	return rec.LSN, out, nil
}

// flagsWanted are the flags that a new message is to have.
type flagsWanted struct {
	system   Flags
	keywords []string
}

// gather makes one fact for each mailbox, and tells for each filing which.
func (m *messageFacts) gather(fs []Filing) (at []int, err error) {
	at = make([]int, len(fs))
	m.filings = make([]filingFact, 0, len(fs))
	var seen map[ID]int
	if len(fs) > 1 {
		seen = make(map[ID]int, len(fs))
	}
	for i, f := range fs {
		k, again := seen[f.Mailbox]
		if !again {
			k = len(m.filings)
			m.filings = append(m.filings, filingFact{account: f.Account, mailbox: f.Mailbox, rcpt: f.Rcpt.String()})
			if seen != nil {
				seen[f.Mailbox] = k
			}
		}
		at[i] = k
	}
	return at, nil
}

// stampFilings gives each filing its UID and MODSEQ.
func (s *Store) stampFilings(facts *messageFacts, wanted []flagsWanted, lsn journal.LSN, u *undoing) ([]byte, error) {
	for i := range facts.filings {
		f := &facts.filings[i]
		b, err := s.q.box(f.mailbox)
		if err != nil {
			return nil, err
		}
		u.add(b.snapshot())
		if f.uid, err = b.takeUIDs(1); err != nil {
			return nil, err
		}
		if f.flags, f.keywords, err = b.takeFlags(wanted[i].system, wanted[i].keywords); err != nil {
			return nil, err
		}
		f.account, f.modSeq = b.account, b.touch(lsn)
	}
	return facts.append(make([]byte, 0, 192+len(facts.also))), nil
}

// Append stores messages in a mailbox: all of them or none (RFC 3502). They are
// visible to everybody when it returns, with their UIDs and the mailbox's
// UIDVALIDITY. With an error none of them is, and the bodies can only be
// aborted. Errors as those of Deliver, and ErrFlag.
func (s *Store) Append(ctx context.Context, id ID, msgs []AppendMessage) ([]UID, uint32, error) {
	b, err := s.box(id)
	if err != nil {
		return nil, 0, err
	}
	if len(msgs) == 0 || len(msgs) > appendMax {
		return nil, 0, fmt.Errorf("%d messages: %w", len(msgs), ErrLimit)
	}
	wanted := make([]flagsWanted, len(msgs))
	for i := range msgs {
		if err := msgs[i].Body.Finish(); err != nil {
			return nil, 0, err
		}
		if wanted[i].system, wanted[i].keywords, err = splitFlags(msgs[i].Flags); err != nil {
			return nil, 0, err
		}
		if msgs[i].Date.IsZero() {
			msgs[i].Date = s.o.Clock.Now()
		}
	}
	var uids []UID
	if len(msgs) == 1 {
		uids, err = s.appendOne(ctx, b, msgs[0], wanted[0])
	} else {
		uids, err = s.appendMany(ctx, b, msgs, wanted)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("append: %w", err)
	}
	s.o.Metrics.messages.WithLabelValues("append").Add(float64(len(msgs)))
	b.mu.Lock()
	defer b.mu.Unlock()
	return uids, b.info.UIDValidity, nil
}

// appendOne stores a message and its filing in one record.
func (s *Store) appendOne(ctx context.Context, b *box, m AppendMessage, w flagsWanted) ([]UID, error) {
	facts := messageFacts{received: m.Date.UnixMicro(), prefix: m.Body.prefix,
		filings: []filingFact{{account: b.account, mailbox: b.id}}}
	_, err := s.x.Commit(ctx, m.Body.entry(s.q.entry(journal.TypeMessage, func(lsn journal.LSN, u *undoing) ([]byte, error) {
		return s.stampFilings(&facts, []flagsWanted{w}, lsn, u)
	})))
	if err != nil {
		return nil, err
	}
	m.Body.taken()
	s.o.Metrics.bodyBytes.Add(float64(m.Body.size))
	return []UID{facts.filings[0].uid}, nil
}

// appendMany stores each message in a record without filings, and then files
// them all with one record: a crash in between leaves none of them visible.
func (s *Store) appendMany(ctx context.Context, b *box, msgs []AppendMessage, wanted []flagsWanted) ([]UID, error) {
	entries := make([]Entry, len(msgs))
	defer func() {
		for _, e := range entries {
			s.unfiled.remove(e.Message)
		}
	}()
	for i, m := range msgs {
		facts := messageFacts{received: m.Date.UnixMicro(), prefix: m.Body.prefix}
		var lsn journal.LSN
		rec, err := s.x.Accept(ctx, m.Body.entry(s.q.entry(journal.TypeMessage, func(l journal.LSN, u *undoing) ([]byte, error) {
			s.unfiled.remove(lsn) // of an attempt that was undone
			lsn = l
			s.unfiled.add(lsn) // compaction leaves it alone
			return facts.append(nil), nil
		})))
		if err != nil {
			s.unfiled.remove(lsn)
			return nil, err
		}
		entries[i] = Entry{Message: rec.LSN, Size: sizeOf(m.Body.size), Date: m.Date.Unix()}
	}
	uids := make([]UID, len(msgs))
	err := s.settled(ctx, func(lsn journal.LSN, u *undoing) ([]any, error) {
		q, err := s.q.box(b.id)
		if err != nil {
			return nil, err
		}
		u.add(q.snapshot())
		op := &fileOp{account: q.account, mailbox: q.id, entries: entries}
		first, err := q.takeUIDs(len(msgs))
		if err != nil {
			return nil, err
		}
		for i := range entries {
			uids[i] = first + UID(i)
			f, defs, err := q.takeFlags(wanted[i].system, wanted[i].keywords)
			if err != nil {
				return nil, err
			}
			entries[i].UID, entries[i].Flags = uids[i], f
			op.keywords = append(op.keywords, defs...)
		}
		op.modSeq = q.touch(lsn)
		return []any{op}, nil
	})
	if err != nil {
		return nil, err
	}
	for _, m := range msgs {
		m.Body.taken()
		s.o.Metrics.bodyBytes.Add(float64(m.Body.size))
	}
	return uids, nil
}
