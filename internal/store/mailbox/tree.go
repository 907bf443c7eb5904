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

// List returns an account's mailboxes and those subscribed names that have
// none, by name, INBOX first.
func (s *Store) List(ctx context.Context, acct account.ID) ([]Info, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	t := s.accounts[acct]
	if t == nil {
		return nil, nil
	}
	all := make([]Info, 0, len(t.names))
	for _, b := range t.names {
		all = append(all, t.infoOf(b))
	}
	for name := range t.subscriptions {
		if t.names[name] == nil {
			all = append(all, Info{Account: acct, Name: name, Subscribed: true})
		}
	}
	slices.SortFunc(all, func(a, b Info) int {
		if a.Name == Inbox || b.Name == Inbox {
			return compareBool(b.Name == Inbox, a.Name == Inbox)
		}
		return strings.Compare(a.Name, b.Name)
	})
	return all, nil
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// infoOf describes a mailbox of the tree. Store.mu is held.
func (t *tree) infoOf(b *box) Info {
	b.mu.Lock()
	info := b.info
	b.mu.Unlock()
	_, info.Subscribed = t.subscriptions[info.Name]
	return info
}

// Lookup finds a mailbox by name. Its errors are ErrNoSuchMailbox and ErrName.
// It needs no barrier: changes of names are applied before they are
// acknowledged.
func (s *Store) Lookup(ctx context.Context, acct account.ID, name string) (Info, error) {
	name, err := CleanName(name)
	if err != nil {
		return Info{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if t := s.accounts[acct]; t != nil {
		if b := t.names[name]; b != nil {
			return t.infoOf(b), nil
		}
	}
	return Info{}, fmt.Errorf("%s: %w", name, ErrNoSuchMailbox)
}

// GetStatus returns a mailbox's numbers, with all that had been acknowledged.
func (s *Store) GetStatus(ctx context.Context, id ID) (Status, error) {
	b, err := s.box(id)
	if err != nil {
		return Status{}, err
	}
	if err := s.wait(ctx, b); err != nil {
		return Status{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.gone {
		return Status{}, ErrNoSuchMailbox
	}
	return b.status, nil
}

// Usage returns what an account keeps, as of the last applied record: bytes
// and messages, counted once in each mailbox that they are in.
func (s *Store) Usage(ctx context.Context, acct account.ID) (bytes, messages int64, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if t := s.accounts[acct]; t != nil {
		return t.bytes, t.messages, nil
	}
	return 0, 0, nil
}

// batch commits a Batch record whose operations stamp gives. No operations
// means that there is nothing to do, and no record is written.
func (s *Store) batch(ctx context.Context, stamp func(lsn journal.LSN, u *undoing) ([]any, error)) error {
	_, err := s.x.Commit(ctx, s.q.entry(journal.TypeBatch, func(lsn journal.LSN, u *undoing) ([]byte, error) {
		ops, err := stamp(lsn, u)
		if err == nil && len(ops) == 0 {
			err = errNothing
		}
		if err != nil {
			return nil, err
		}
		var b []byte
		for _, op := range ops {
			b = appendOp(b, op)
		}
		return b, nil
	}))
	if errors.Is(err, errNothing) {
		return nil
	}
	return err
}

// errNothing refuses an entry that would say nothing.
var errNothing = errors.New("nothing to do")

// Create makes a mailbox, and its superiors where they do not exist (RFC 9051
// §6.3.4). specialUse is an attribute of RFC 6154 or "". Errors: ErrExists,
// ErrName, ErrSpecialUse, ErrLimit.
func (s *Store) Create(ctx context.Context, acct account.ID, name, specialUse string) (Info, error) {
	name, err := CleanName(strings.TrimSuffix(name, Separator))
	if err != nil {
		return Info{}, err
	}
	use, err := cleanUse(specialUse)
	if err != nil {
		return Info{}, err
	}
	err = s.batch(ctx, func(lsn journal.LSN, u *undoing) ([]any, error) {
		if b := s.q.takenUse(acct, use); b != nil {
			return nil, fmt.Errorf("%w: %s has %s", ErrSpecialUse, b.name, use)
		}
		return s.stampCreate(acct, name, use, lsn, u)
	})
	if err != nil {
		return Info{}, fmt.Errorf("create mailbox: %w", err)
	}
	return s.Lookup(ctx, acct, name)
}

// stampCreate makes a mailbox and its missing superiors.
func (s *Store) stampCreate(acct account.ID, name, use string, lsn journal.LSN, u *undoing) ([]any, error) {
	now := s.o.Clock.Now().Unix()
	ops, err := s.stampSuperiors(acct, name, lsn, now, u)
	if err != nil {
		return nil, err
	}
	op, err := s.q.create(acct, name, use, lsn, now, u)
	if err != nil {
		return nil, err
	}
	return append(ops, op), nil
}

func (s *Store) stampSuperiors(acct account.ID, name string, lsn journal.LSN, now int64, u *undoing) ([]any, error) {
	var ops []any
	for _, up := range superiors(name) {
		if s.q.account(acct).names[up] != nil {
			continue
		}
		op, err := s.q.create(acct, up, "", lsn, now, u)
		if err != nil {
			return nil, err
		}
		ops = append(ops, op)
	}
	return ops, nil
}

// Delete removes a mailbox and its messages; its inferiors stay (RFC 9051
// §6.3.5), and so does a subscription. Errors: ErrNoSuchMailbox,
// ErrInboxForever.
func (s *Store) Delete(ctx context.Context, acct account.ID, name string) error {
	name, err := CleanName(name)
	if err != nil {
		return err
	}
	if name == Inbox {
		return ErrInboxForever
	}
	err = s.batch(ctx, func(lsn journal.LSN, u *undoing) ([]any, error) {
		b := s.q.account(acct).names[name]
		if b == nil {
			return nil, fmt.Errorf("%s: %w", name, ErrNoSuchMailbox)
		}
		return []any{s.q.remove(b, lsn, s.o.Clock.Now().Unix(), u)}, nil
	})
	if err != nil {
		return fmt.Errorf("delete mailbox: %w", err)
	}
	return nil
}

// Subscribe notes that an account is subscribed to a name, or is not any more.
// There need not be such a mailbox (RFC 9051 §6.3.7).
func (s *Store) Subscribe(ctx context.Context, acct account.ID, name string, on bool) error {
	name, err := CleanName(name)
	if err != nil {
		return err
	}
	err = s.batch(ctx, func(lsn journal.LSN, u *undoing) ([]any, error) {
		op, err := s.q.subscribe(acct, name, on, u)
		if err != nil || op == nil {
			return nil, err
		}
		return []any{op}, nil
	})
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	return nil
}

// provided are the mailboxes that every account begins with.
func provided() []Info {
	return []Info{{Name: Inbox}, {Name: "Drafts", SpecialUse: `\Drafts`}, {Name: "Sent", SpecialUse: `\Sent`},
		{Name: "Junk", SpecialUse: `\Junk`}, {Name: "Trash", SpecialUse: `\Trash`}, {Name: "Archive", SpecialUse: `\Archive`}}
}

// Provision gives an account the mailboxes that it should begin with, and
// subscribes it to them. It may be called again: what is there stays, and a
// special use that another mailbox has is not given twice.
func (s *Store) Provision(ctx context.Context, acct account.ID) error {
	err := s.batch(ctx, func(lsn journal.LSN, u *undoing) ([]any, error) {
		var ops []any
		for _, p := range provided() {
			if s.q.account(acct).names[p.Name] != nil || s.q.takenUse(acct, p.SpecialUse) != nil {
				continue
			}
			op, err := s.q.create(acct, p.Name, p.SpecialUse, lsn, s.o.Clock.Now().Unix(), u)
			if err != nil {
				return nil, err
			}
			ops = append(ops, op)
			sub, err := s.q.subscribe(acct, p.Name, true, u)
			if err != nil {
				return nil, err
			}
			if sub != nil {
				ops = append(ops, sub)
			}
		}
		return ops, nil
	})
	if err != nil {
		return fmt.Errorf("provision account %d: %w", acct, err)
	}
	return nil
}

// RemoveAccount removes all mailboxes and subscriptions of an account. The
// bodies stay for the retention. It is no error if there are none.
func (s *Store) RemoveAccount(ctx context.Context, acct account.ID) error {
	err := s.batch(ctx, func(lsn journal.LSN, u *undoing) ([]any, error) {
		a := s.q.account(acct)
		var ops []any
		for _, b := range a.names {
			ops = append(ops, s.q.remove(b, lsn, s.o.Clock.Now().Unix(), u))
		}
		for name := range a.subscriptions {
			op, err := s.q.subscribe(acct, name, false, u)
			if err != nil {
				return nil, err
			}
			ops = append(ops, op)
		}
		return ops, nil
	})
	if err != nil {
		return fmt.Errorf("remove mailboxes of account %d: %w", acct, err)
	}
	return nil
}
