package mailbox

import (
	"fmt"

	"zombiezen.com/go/sqlite"
)

// mailboxState applies what a State record says of a mailbox as a whole. Its
// messages stay: the records that filed them, or entriesState, are about them.
func (a *applier) mailboxState(conn *sqlite.Conn, o *mailboxState) error {
	if o.gone {
		return a.remove(conn, o.mailbox, o.at)
	}
	r, err := a.mailbox(conn, o.mailbox, o.account)
	if err != nil {
		return err
	}
	if o.modSeq < r.modSeq || o.uidNext < r.uidNext && o.uidNext != 0 {
		return fmt.Errorf("mailbox %d: state has UIDNEXT %d, MODSEQ %d, below %d, %d",
			o.mailbox, o.uidNext, o.modSeq, r.uidNext, r.modSeq)
	}
	r.account, r.name, r.use, r.uidValidity, r.present = o.account, o.name, o.use, o.uidValidity, true
	r.uidNext, r.modSeq = o.uidNext, o.modSeq
	r.keywords = keywordNames(nil).learn(o.keywords)
	// Expunges up to here may have been dropped: their history is not known.
	r.historyFloor, r.historyBytes = o.modSeq, 0
	a.raise(floorsState{nextID: o.mailbox + 1, uidValidity: o.uidValidity})
	return exec(conn, "DELETE FROM expunged WHERE mailbox = ?", int64(o.mailbox))
}

// entriesState applies what a State record says of some messages of a mailbox.
func (a *applier) entriesState(conn *sqlite.Conn, o *entriesState) error {
	r, err := a.mailbox(conn, o.mailbox, o.account)
	if err != nil {
		return err
	}
	for _, u := range o.gone {
		if err := a.removeFilings(conn, r, u, o.at); err != nil {
			return err
		}
	}
	for _, e := range o.entries {
		// First the new reference, so that a message is not dead in between.
		if err := addRef(conn, e.Message); err != nil {
			return err
		}
		if err := a.removeFilings(conn, r, uidRange{e.UID, e.UID}, o.at); err != nil {
			return err
		}
		r.count(1, e.Flags, int64(e.Size))
		r.uidNext = max(r.uidNext, e.UID+1)
		r.modSeq = max(r.modSeq, e.ModSeq)
		if err := writeFiling(conn, o.mailbox, e); err != nil {
			return err
		}
	}
	return nil
}
