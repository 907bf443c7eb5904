package mailbox

import (
	"fmt"

	"zombiezen.com/go/sqlite"
)

// flags applies a change of flags. UIDs that are gone are passed over.
func (a *applier) flags(conn *sqlite.Conn, o *flagsOp) error {
	r, err := a.mailbox(conn, o.mailbox, 0)
	if err != nil {
		return err
	}
	if !r.news(o.modSeq) {
		return nil
	}
	r.keywords = r.keywords.learn(o.keywords)
	counted := (o.clear|o.set)&(FlagSeen|FlagDeleted) != 0
	for _, u := range o.uids {
		if counted {
			if err := a.recount(conn, r, u, o.clear, o.set); err != nil {
				return err
			}
		}
		s, err := conn.Prepare("UPDATE filings SET flags = flags & ~?1 | ?2, modseq = ?3 WHERE mailbox = ?4 AND uid BETWEEN ?5 AND ?6")
		if err != nil {
			return err
		}
		s.BindInt64(1, int64(o.clear))
		s.BindInt64(2, int64(o.set))
		s.BindInt64(3, int64(o.modSeq))
		s.BindInt64(4, int64(o.mailbox))
		s.BindInt64(5, int64(u.lo))
		s.BindInt64(6, int64(u.hi))
		if err := step(s); err != nil {
			return fmt.Errorf("change flags in mailbox %d: %w", o.mailbox, err)
		}
	}
	return nil
}

// recount corrects the unseen and deleted numbers for a change to come.
func (a *applier) recount(conn *sqlite.Conn, r *row, u uidRange, off, on Flags) error {
	s, err := conn.Prepare("SELECT flags FROM filings WHERE mailbox = ? AND uid BETWEEN ? AND ?")
	if err != nil {
		return err
	}
	defer s.Reset()
	s.BindInt64(1, int64(r.id))
	s.BindInt64(2, int64(u.lo))
	s.BindInt64(3, int64(u.hi))
	for {
		ok, err := s.Step()
		if err != nil || !ok {
			return err
		}
		old := Flags(s.ColumnInt64(0))
		r.count(-1, old, 0)
		r.count(1, old&^off|on, 0)
	}
}

// expunge applies the removal of messages and remembers it for QRESYNC.
func (a *applier) expunge(conn *sqlite.Conn, o *expungeOp) error {
	r, err := a.mailbox(conn, o.mailbox, 0)
	if err != nil {
		return err
	}
	if !r.news(o.modSeq) {
		return nil
	}
	for _, u := range o.uids {
		if err := a.removeFilings(conn, r, u, o.at); err != nil {
			return err
		}
	}
	return a.remember(conn, r, o)
}

// removeFilings takes a range of UIDs out of a mailbox.
func (a *applier) removeFilings(conn *sqlite.Conn, r *row, u uidRange, at int64) error {
	if err := a.discount(conn, r, u); err != nil {
		return fmt.Errorf("count mailbox %d: %w", r.id, err)
	}
	if err := dropRefs(conn, r.id, u, at); err != nil {
		return err
	}
	s, err := conn.Prepare("DELETE FROM filings WHERE mailbox = ? AND uid BETWEEN ? AND ?")
	if err != nil {
		return err
	}
	s.BindInt64(1, int64(r.id))
	s.BindInt64(2, int64(u.lo))
	s.BindInt64(3, int64(u.hi))
	if err := step(s); err != nil {
		return fmt.Errorf("expunge from mailbox %d: %w", r.id, err)
	}
	return nil
}

// discount takes the messages of a range from the mailbox's numbers.
func (a *applier) discount(conn *sqlite.Conn, r *row, u uidRange) error {
	s, err := conn.Prepare("SELECT count(*), coalesce(sum(size), 0), coalesce(sum(flags & 8 = 0), 0), coalesce(sum(flags & 4 <> 0), 0) " +
		"FROM filings WHERE mailbox = ? AND uid BETWEEN ? AND ?")
	if err != nil {
		return err
	}
	defer s.Reset()
	s.BindInt64(1, int64(r.id))
	s.BindInt64(2, int64(u.lo))
	s.BindInt64(3, int64(u.hi))
	if _, err := s.Step(); err != nil {
		return err
	}
	r.messages -= s.ColumnInt64(0)
	r.size -= s.ColumnInt64(1)
	r.unseen -= s.ColumnInt64(2)
	r.deleted -= s.ColumnInt64(3)
	return nil
}

// remember keeps an expunge in the mailbox's history, and the history bounded.
func (a *applier) remember(conn *sqlite.Conn, r *row, o *expungeOp) error {
	packed := o.uids.pack(nil)
	if err := exec(conn, "INSERT OR REPLACE INTO expunged (mailbox, modseq, uids) VALUES (?, ?, ?)",
		int64(r.id), int64(o.modSeq), packed); err != nil {
		return fmt.Errorf("remember expunge: %w", err)
	}
	r.historyBytes += historyCost(packed)
	if r.historyBytes <= historyBytesMax {
		return nil
	}
	return a.forget(conn, r)
}

// historyCost is what a remembered expunge counts: its UIDs, and its row.
func historyCost(packed []byte) int64 { return int64(len(packed)) + 16 }

// forget drops the older part of a mailbox's history, to half of the limit.
func (a *applier) forget(conn *sqlite.Conn, r *row) error {
	s, err := conn.Prepare("SELECT modseq, length(uids) + 16 FROM expunged WHERE mailbox = ? ORDER BY modseq")
	if err != nil {
		return err
	}
	s.BindInt64(1, int64(r.id))
	for r.historyBytes > historyBytesMax/2 {
		ok, err := s.Step()
		if err != nil {
			s.Reset()
			return err
		}
		if !ok {
			break
		}
		r.historyFloor = ModSeq(s.ColumnInt64(0))
		r.historyBytes -= s.ColumnInt64(1)
	}
	if err := s.Reset(); err != nil {
		return err
	}
	return exec(conn, "DELETE FROM expunged WHERE mailbox = ? AND modseq <= ?", int64(r.id), int64(r.historyFloor))
}
