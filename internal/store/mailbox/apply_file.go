package mailbox

import (
	"fmt"

	"zombiezen.com/go/sqlite"

	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// file applies the filing of messages that are in the journal already.
func (a *applier) file(conn *sqlite.Conn, o *fileOp) error {
	r, err := a.mailbox(conn, o.mailbox, o.account)
	if err != nil {
		return err
	}
	if !r.news(o.modSeq) {
		return nil
	}
	r.keywords = r.keywords.learn(o.keywords)
	for _, e := range o.entries {
		if err := a.insertFiling(conn, r, e); err != nil {
			return err
		}
		if err := addRef(conn, e.Message); err != nil {
			return err
		}
	}
	return nil
}

// addRef gives a message one reference more. No row means one.
func addRef(conn *sqlite.Conn, m journal.LSN) error {
	s, err := conn.Prepare("INSERT INTO refs (lsn, refs, dead) VALUES (?, 2, 0) ON CONFLICT (lsn) DO UPDATE SET refs = refs + 1, dead = 0")
	if err != nil {
		return err
	}
	s.BindInt64(1, int64(m))
	if err := step(s); err != nil {
		return fmt.Errorf("add reference to LSN %s: %w", m, err)
	}
	return nil
}
