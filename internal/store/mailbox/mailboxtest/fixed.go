package mailboxtest

import (
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

// scripted makes the choices that are written down, then always the first.
type scripted struct{ choices map[string][]int }

// IntN implements Source.
func (s scripted) IntN(label string, n int) int {
	c := s.choices[label]
	if len(c) == 0 {
		return 0
	}
	s.choices[label] = c[1:]
	return min(c[0], n-1)
}

// fixed makes a step of a kind with these choices.
func fixed(kind func(*Generator, *Model) (Step, bool), choices map[string][]int) func(*Model) Step {
	return func(m *Model) Step {
		c := make(map[string][]int, len(choices))
		for k, v := range choices {
			c[k] = v
		}
		st, _ := kind(NewGenerator(scripted{c}), m)
		return st
	}
}

// takeAll chooses every message.
func takeAll() []int { return []int{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1} }

// Furniture are the steps that make an account with some mailboxes, messages
// with flags, copies, and messages that are gone again. Mailboxes are chosen by
// their place in the order of names: Archive, Drafts, INBOX and so on.
func Furniture() []func(*Model) Step {
	all := []func(*Model) Step{fixed((*Generator).provision, nil)}
	for i := range 6 {
		all = append(all, fixed((*Generator).deliver, map[string][]int{"mailbox": {i % 3, 2}, "more recipients": {i % 2}, "size": {2}}))
	}
	return append(all,
		fixed((*Generator).append, map[string][]int{"mailbox": {0}, "more messages": {1}, "long": {39}, "flag todo": {2}}),
		fixed((*Generator).flags, map[string][]int{"mailbox": {0}, "take": takeAll(), "flag \\Deleted": {2}, "flag x.y": {2}, "mode": {1}}),
		fixed((*Generator).copy, map[string][]int{"mailbox": {0, 1}, "take": takeAll()}),
		fixed((*Generator).expunge, map[string][]int{"mailbox": {0}, "take": {1, 1}}),
		fixed((*Generator).create, map[string][]int{"name": {4}}),
		fixed((*Generator).delete, map[string][]int{"name": {4}}),
	)
}

// Accept is the delivery of one message to two mailboxes.
func Accept(m *Model) Step {
	return fixed((*Generator).deliver, map[string][]int{"mailbox": {0, 1}, "more recipients": {1}, "size": {2}})(m)
}

// FlagChange sets a new keyword on all messages of a mailbox.
func FlagChange(m *Model) Step {
	return fixed((*Generator).flags, map[string][]int{"mailbox": {1}, "take": takeAll(), "flag $Junk": {2}, "mode": {int(mailbox.Add)}})(m)
}

// AppendTwo appends two messages, one of them long, with one command.
func AppendTwo(m *Model) Step {
	return fixed((*Generator).append, map[string][]int{"mailbox": {2}, "more messages": {1}, "long": {0, 39}, "size": {1}})(m)
}

// MoveAll moves all messages of a mailbox to another.
func MoveAll(m *Model) Step {
	return fixed((*Generator).copy, map[string][]int{"mailbox": {1, 2}, "take": takeAll(), "move": {1}})(m)
}
