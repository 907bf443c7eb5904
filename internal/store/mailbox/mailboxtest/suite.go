package mailboxtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

// Restart says what happens to the index between two runs of a store.
type Restart int

// The ways to restart.
const (
	Keep  Restart = iota // nothing
	Lose                 // it is deleted
	Older                // it is replaced by a copy that Save took earlier, if there is one
)

// Subject is a store under test and what can be done to it from outside.
type Subject interface {
	// Store is the store as of the last restart.
	Store() *mailbox.Store
	// Restart stops it and starts it again.
	Restart(Restart) error
	// Save takes a copy of the index for Older. It may restart the store.
	Save() error
	// Compact compacts whatever can be compacted.
	Compact() error
	// Verify compares the index with the truth and gives what is wrong.
	Verify() ([]string, error)
}

// RunSuite compares stores made by open with the model under random operations.
// open is called for every sequence of operations and must give an empty store.
func RunSuite(t *testing.T, open func(t *rapid.T) Subject) {
	t.Run("Model", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			r := &run{ctx: context.Background(), s: open(t), m: NewModel()}
			t.Repeat(map[string]func(*rapid.T){
				"":        r.compare,
				"step":    r.step,
				"step 2":  r.step,
				"step 3":  r.step,
				"step 4":  r.step,
				"step 5":  r.step,
				"step 6":  r.step,
				"compact": r.compact,
				"restart": r.restart,
				"save":    r.save,
				"verify":  r.verify,
			})
		})
	})
}

// drawn makes choices by drawing them.
type drawn struct{ t *rapid.T }

// IntN implements Source.
func (d drawn) IntN(label string, n int) int { return rapid.IntRange(0, n-1).Draw(d.t, label) }

// run is one sequence of operations.
type run struct {
	ctx context.Context
	s   Subject
	m   *Model
	n   int // messages made

	open []*watched // open mailboxes, to see that their lists stay right
}

// watched is a mailbox that is kept open over many operations.
type watched struct {
	mb    *mailbox.Mailbox
	since mailbox.ModSeq
	known map[mailbox.UID]bool
}

func must(t *rapid.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// step does one operation to both sides.
func (r *run) step(t *rapid.T) {
	g := Generator{src: drawn{t}, n: r.n}
	st := g.Next(r.m)
	r.n = g.n
	got, err := st.Store(r.ctx, r.s.Store())
	want, wantErr := st.Model(r.m)
	must(t, st.Name, Alike(got, err, want, wantErr))
}

// Alike says whether a store answered as the model did: the same, or an error
// of the same kind.
func Alike(got any, err error, want any, wantErr error) error {
	switch {
	case wantErr != nil && errors.Is(err, wantErr):
		return nil
	case wantErr != nil || err != nil:
		return fmt.Errorf("store says %w, model says %v", err, wantErr)
	}
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
		return fmt.Errorf("store answered other than the model (-model +store):\n%s", d)
	}
	return nil
}

// compare compares everything, and follows the mailboxes that are kept open.
func (r *run) compare(t *rapid.T) {
	must(t, "compare", r.m.Compare(r.ctx, r.s.Store(), drawn{t}))
	must(t, "follow", r.follow())
	for _, acct := range Accounts() {
		for _, b := range r.m.account(acct).boxes {
			if len(r.open) < 4 && !slices.ContainsFunc(r.open, func(w *watched) bool { return w.mb.Info().ID == b.id }) {
				must(t, "open", r.watch(b))
			}
		}
	}
}

// watch keeps a mailbox open from now on.
func (r *run) watch(b *modelBox) error {
	mb, err := r.s.Store().OpenMailbox(r.ctx, b.id)
	if err != nil {
		return err
	}
	w := &watched{mb: mb, since: b.modSeq, known: make(map[mailbox.UID]bool)}
	for _, m := range b.messages {
		w.known[m.uid] = true
	}
	r.open = append(r.open, w)
	return nil
}

// unwatch closes what is open, before a restart.
func (r *run) unwatch() {
	for _, w := range r.open {
		w.mb.Close()
	}
	r.open = nil
}

// follow follows open mailboxes by their changes alone, as a session does, and
// sees that this leads to the same messages.
func (r *run) follow() error {
	kept := r.open[:0]
	for _, w := range r.open {
		if w.mb.Deleted() {
			w.mb.Close()
			continue
		}
		kept = append(kept, w)
		c, err := w.mb.Changes(r.ctx, w.since)
		if err != nil {
			return err
		}
		for _, e := range c.Changed {
			w.known[e.UID] = true
		}
		for _, u := range c.Vanished {
			delete(w.known, u)
		}
		w.since = c.ModSeq
		b := r.m.byID(w.mb.Info().ID)
		if b == nil || len(w.known) != len(b.messages) {
			return fmt.Errorf("%s led to %d messages, model has %+v", w.mb.Info().Name, len(w.known), b)
		}
		for _, m := range b.messages {
			if !w.known[m.uid] {
				return fmt.Errorf("%s: missed UID %d", w.mb.Info().Name, m.uid)
			}
		}
	}
	r.open = kept
	return nil
}

func (r *run) compact(t *rapid.T) { must(t, "compact", r.s.Compact()) }

func (r *run) verify(t *rapid.T) {
	wrong, err := r.s.Verify()
	must(t, "verify", err)
	if len(wrong) > 0 {
		t.Fatalf("verify found: %s", strings.Join(wrong, "\n"))
	}
}

func (r *run) save(t *rapid.T) {
	r.unwatch()
	must(t, "save index", r.s.Save())
}

func (r *run) restart(t *rapid.T) {
	how := rapid.SampledFrom([]Restart{Keep, Lose, Older}).Draw(t, "how")
	r.unwatch()
	must(t, "restart", r.s.Restart(how))
}
