package mailbox

import (
	"fmt"

	"zombiezen.com/go/sqlite"
)

// create applies the making of a mailbox. One that stands in for it already
// gets its facts.
func (a *applier) create(conn *sqlite.Conn, o *createOp) error {
	r, err := a.mailbox(conn, o.mailbox, o.account)
	if err != nil {
		return err
	}
	a.raise(floorsState{nextID: o.mailbox + 1, uidValidity: o.uidValidity})
	if r.present { // seen before
		return nil
	}
	r.account, r.name, r.use, r.uidValidity, r.present = o.account, o.name, o.use, o.uidValidity, true
	r.modSeq, r.uidNext = max(r.modSeq, 1), max(r.uidNext, 1)
	r.historyFloor = r.modSeq
	return nil
}

// rename applies a mailbox's new name.
func (a *applier) rename(conn *sqlite.Conn, o *renameOp) error {
	r, err := a.find(conn, o.mailbox)
	if err != nil || r == nil {
		return err
	}
	a.touch(r)
	r.name = o.name
	return nil
}

// subscribe applies a subscription or its end.
func (a *applier) subscribe(conn *sqlite.Conn, o *subscribeOp) error {
	query := "DELETE FROM subscriptions WHERE account = ? AND name = ?"
	if o.on {
		query = "INSERT OR IGNORE INTO subscriptions (account, name) VALUES (?, ?)"
	}
	return exec(conn, query, int64(o.account), o.name)
}

// remove applies the end of a mailbox: its messages lose a reference each.
func (a *applier) remove(conn *sqlite.Conn, id ID, at int64) error {
	r, err := a.find(conn, id)
	if err != nil {
		return err
	}
	if r == nil || r.gone {
		return nil
	}
	a.touch(r)
	r.gone = true
	if err := dropRefs(conn, id, uidRange{1, uidMax}, at); err != nil {
		return err
	}
	for _, q := range []string{"DELETE FROM filings WHERE mailbox = ?", "DELETE FROM expunged WHERE mailbox = ?"} {
		if err := exec(conn, q, int64(id)); err != nil {
			return fmt.Errorf("remove mailbox %d: %w", id, err)
		}
	}
	return nil
}

// dropRefs takes one reference from each message that is filed in a mailbox
// under a range of UIDs, before these filings go.
func dropRefs(conn *sqlite.Conn, id ID, u uidRange, at int64) error {
	s, err := conn.Prepare("INSERT INTO refs (lsn, refs, dead) " +
		"SELECT message, 0, ?1 FROM filings WHERE mailbox = ?2 AND uid BETWEEN ?3 AND ?4 " +
		"ON CONFLICT (lsn) DO UPDATE SET refs = refs - 1, dead = CASE refs WHEN 1 THEN excluded.dead ELSE 0 END")
	if err != nil {
		return err
	}
	s.BindInt64(1, at)
	s.BindInt64(2, int64(id))
	s.BindInt64(3, int64(u.lo))
	s.BindInt64(4, int64(u.hi))
	if err := step(s); err != nil {
		return fmt.Errorf("drop references of mailbox %d: %w", id, err)
	}
	return nil
}
