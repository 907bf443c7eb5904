package pop3

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

// maildrops is where drop-boxes come from.
type maildrops interface {
	// open takes the snapshot that a session works on.
	open(ctx context.Context, account uint64) (*maildrop, error)
	// body opens a message's text; it may have been expunged since.
	body(ctx context.Context, m mailbox.Entry) (body, error)
	// remove takes messages out of the drop-box; what it did is durable when
	// it returns. Those that are gone already are no error. After an error,
	// some may be gone.
	remove(ctx context.Context, d *maildrop, uids []mailbox.UID) error
}

// body is a stored message's text; every byte that ReadAt gives was verified.
type body interface {
	io.ReaderAt
	Size() int64
	Close() error
}

// maildrop is a drop-box as it was at login (RFC 1939 §4), immutable.
type maildrop struct {
	mailbox     mailbox.ID
	uidValidity uint32
	messages    []mailbox.Entry // by UID; message number n is messages[n-1]
}

// storedMaildrops takes an account's INBOX as its drop-box.
type storedMaildrops struct{ store *mailbox.Store }

const inbox = "INBOX"

func (s storedMaildrops) open(ctx context.Context, acct uint64) (*maildrop, error) {
	info, err := s.store.Lookup(ctx, account.ID(acct), inbox)
	if err != nil {
		return nil, fmt.Errorf("look up the drop-box: %w", err)
	}
	box, err := s.store.OpenMailbox(ctx, info.ID)
	if err != nil {
		return nil, fmt.Errorf("open the drop-box: %w", err)
	}
	defer box.Close()
	entries, _, err := box.Entries(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the drop-box: %w", err)
	}
	return &maildrop{mailbox: info.ID, uidValidity: info.UIDValidity, messages: entries}, nil
}

func (s storedMaildrops) body(ctx context.Context, m mailbox.Entry) (body, error) {
	return s.store.OpenMessage(ctx, m.Message)
}

// remove flags and expunges. Should the host die between the two, the
// messages are in the drop-box still, as the client that got no +OK expects.
func (s storedMaildrops) remove(ctx context.Context, d *maildrop, uids []mailbox.UID) error {
	for some := range slices.Chunk(uids, removeMax) {
		mark := mailbox.SetFlags{UIDs: some, Mode: mailbox.Add, Flags: []string{`\Deleted`}}
		if _, err := s.store.SetFlags(ctx, d.mailbox, mark); err != nil {
			return fmt.Errorf("flag %d messages as deleted: %w", len(some), err)
		}
		if _, _, err := s.store.Expunge(ctx, d.mailbox, some); err != nil {
			return fmt.Errorf("expunge %d messages: %w", len(some), err)
		}
	}
	return nil
}
