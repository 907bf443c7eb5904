package account

import (
	"errors"

	"zombiezen.com/go/sqlite"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// What an account may have besides its row is in account_extra: the operation
// that says it, under a key of its kind. Keys sort so that a password comes
// before its use.
const (
	keyApp     = "app:"
	keyForward = "forward"
	keyGrant   = "grant:"
	keyHold    = "hold"
	keyUsed    = "used:"
)

// applyExtra brings a change of account_extra into the table. What is about an
// account or a password that is not there (its record is damaged) is left out.
func applyExtra(conn *sqlite.Conn, c change) error {
	id := int64(c.id)
	switch c.op {
	case opHold:
		return putExtra(conn, c, keyHold)
	case opHoldEnded:
		return dropExtra(conn, id, keyHold)
	case opForward:
		if len(c.targets) == 0 {
			return dropExtra(conn, id, keyForward)
		}
		return putExtra(conn, c, keyForward)
	case opGrant:
		return putExtra(conn, c, keyGrant+keyOf(c.name()))
	case opGrantRevoked:
		return dropExtra(conn, id, keyGrant+keyOf(c.name()))
	case opAppPassword:
		if err := dropExtra(conn, id, keyUsed+c.label); err != nil {
			return err
		}
		return putExtra(conn, c, keyApp+c.label)
	case opAppRemoved:
		if c.label == "" { // ";" comes after ":"
			return exec(conn, "DELETE FROM account_extra WHERE id = ? AND (key >= 'app:' AND key < 'app;' OR key >= 'used:' AND key < 'used;')", id)
		}
		if err := dropExtra(conn, id, keyUsed+c.label); err != nil {
			return err
		}
		return dropExtra(conn, id, keyApp+c.label)
	case opAppUsed:
		return exec(conn, `INSERT OR REPLACE INTO account_extra (id, key, operation)
			SELECT ?1, ?2, ?3 WHERE EXISTS (SELECT 1 FROM account_extra WHERE id = ?1 AND key = ?4)`,
			id, keyUsed+c.label, appendChange(nil, c), keyApp+c.label)
	}
	return errors.New("unknown operation")
}

func putExtra(conn *sqlite.Conn, c change, key string) error {
	return exec(conn, `INSERT OR REPLACE INTO account_extra (id, key, operation)
		SELECT ?1, ?2, ?3 WHERE EXISTS (SELECT 1 FROM account WHERE id = ?1)`,
		int64(c.id), key, appendChange(nil, c))
}

func dropExtra(conn *sqlite.Conn, id int64, key string) error {
	return exec(conn, "DELETE FROM account_extra WHERE id = ? AND key = ?", id, key)
}

// contactText is how a contact stands in the table.
func contactText(o Settings) string {
	if o.Contact.IsZero() {
		return ""
	}
	return o.Contact.String()
}

// hasForm tells whether an address is in its canonical form.
func hasForm(a message.Address) bool {
	canonical, err := message.ParseAddress(a.String())
	return err == nil && canonical == a
}
