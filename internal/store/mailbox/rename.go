package mailbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// Rename gives a mailbox and its inferiors another name, and makes superiors of
// the new name where they do not exist (RFC 9051 §6.3.6). Subscriptions stay
// with the names. Renaming INBOX moves its messages into a new mailbox and
// leaves INBOX and its inferiors where they are. Errors: ErrNoSuchMailbox,
// ErrExists, ErrName, ErrLimit.
func (s *Store) Rename(ctx context.Context, acct account.ID, from, to string) error {
	from, err := CleanName(from)
	if err != nil {
		return err
	}
	to, err = CleanName(strings.TrimSuffix(to, Separator))
	if err != nil {
		return err
	}
	if from == Inbox {
		err = s.renameInbox(ctx, acct, to)
	} else {
		err = s.batch(ctx, func(lsn journal.LSN, u *undoing) ([]any, error) {
			return s.stampRename(acct, from, to, lsn, u)
		})
	}
	if err != nil {
		return fmt.Errorf("rename mailbox: %w", err)
	}
	return nil
}

// stampRename renames all that moves with from.
func (s *Store) stampRename(acct account.ID, from, to string, lsn journal.LSN, u *undoing) ([]any, error) {
	a := s.q.account(acct)
	if inferior(to, from) {
		return nil, fmt.Errorf("%w: it is below the mailbox's own", ErrName)
	}
	var moving []string
	for name := range a.names {
		if name == from || inferior(name, from) {
			moving = append(moving, name)
		}
	}
	if len(moving) == 0 {
		return nil, fmt.Errorf("%s: %w", from, ErrNoSuchMailbox)
	}
	slices.Sort(moving)
	for _, name := range moving {
		n := to + name[len(from):]
		if a.names[n] != nil {
			return nil, fmt.Errorf("%s: %w", n, ErrExists)
		}
		if _, err := CleanName(n); err != nil { // it may be too long or too deep
			return nil, err
		}
	}
	ops, err := s.stampSuperiors(acct, to, lsn, s.o.Clock.Now().Unix(), u)
	if err != nil {
		return nil, err
	}
	for _, name := range moving {
		ops = append(ops, s.q.rename(a.names[name], to+name[len(from):], lsn, u))
	}
	return ops, nil
}

// renameInbox makes the new mailbox, then moves the messages. A crash in
// between leaves both mailboxes, and every message in one of them.
func (s *Store) renameInbox(ctx context.Context, acct account.ID, to string) error {
	inbox, err := s.Lookup(ctx, acct, Inbox)
	if err != nil {
		return err
	}
	dst, err := s.Create(ctx, acct, to, "")
	if err != nil {
		return err
	}
	m, err := s.OpenMailbox(ctx, inbox.ID)
	if err != nil {
		return err
	}
	defer m.Close()
	es, _, err := m.Entries(ctx)
	if err != nil {
		return err
	}
	uids := make([]UID, len(es))
	for i, e := range es {
		uids[i] = e.UID
	}
	for part := range slices.Chunk(uids, opMessagesMax) {
		if _, err := s.Move(ctx, inbox.ID, part, dst.ID); err != nil && !errors.Is(err, ErrNoSuchMessage) {
			return err
		}
	}
	return nil
}
