package fate_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/breakwater-mail/breakwater/internal/base/sim"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
	"github.com/breakwater-mail/breakwater/internal/store/index"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

// model is what a Store should say, in memory.
type model struct {
	messages []*fate.Message // by LSN
	owed     map[place]fate.Success
}

// accept notes a message as AppendAccepted reads it.
func (m *model) accept(msg *fate.Message) {
	c := *msg
	c.Recipients = slices.Clone(msg.Recipients)
	for i := range c.Recipients {
		r := &c.Recipients[i]
		r.Events = nil
		if r.Last != (fate.Event{}) {
			r.Events = []fate.Event{r.Last}
		}
	}
	m.messages = append(m.messages, &c)
}

func (m *model) find(lsn journal.LSN) *fate.Message {
	for _, msg := range m.messages {
		if msg.LSN == lsn {
			return msg
		}
	}
	return nil
}

// change is a Change by the letter.
func (m *model) change(c fate.Change) {
	msg := m.find(c.LSN)
	if msg == nil {
		return
	}
	for _, n := range c.Rcpt {
		if n >= len(msg.Recipients) || msg.Recipients[n].State.Ended() {
			continue
		}
		r := &msg.Recipients[n]
		e := c.Event
		if e.State == 0 {
			e.State = r.State
		}
		r.State, r.Due, r.Changed, r.Last = e.State, time.Time{}, e.At, e
		if !r.State.Ended() {
			r.Due = c.Due
		}
		if c.Attempt {
			r.Attempts++
		}
		r.Warned = r.Warned || c.Warned
		if c.Route != nil {
			r.Route = *c.Route
		}
		r.Events = append(slices.Clone(r.Events), e)
	}
}

// purge forgets what ended before a time.
func (m *model) purge(before time.Time) (n int) {
	m.messages = slices.DeleteFunc(m.messages, func(msg *fate.Message) bool {
		old := msg.Received.Before(before) && !slices.ContainsFunc(msg.Recipients, func(r fate.Recipient) bool {
			return !r.State.Ended() || !r.Changed.Before(before)
		})
		for i := range msg.Recipients {
			old = old && m.owed[place{msg.LSN, i}] == 0
		}
		if old {
			n++
		}
		return old
	})
	return n
}

func (m *model) sums(p fate.Period) fate.Sums {
	all := fate.Sums{Sources: map[fate.Source]fate.Tally{}}
	for _, msg := range m.messages {
		if msg.Received.Before(p.Since) || !p.Until.IsZero() && !msg.Received.Before(p.Until) || p.Account != 0 && p.Account != msg.Account {
			continue
		}
		s := fate.Tally{Messages: 1, Accepted: int64(len(msg.Recipients))}
		for _, r := range msg.Recipients {
			*map[fate.State]*int64{fate.Queued: &s.Queued, fate.Deferred: &s.Queued, fate.Held: &s.Queued, fate.Delivered: &s.Delivered,
				fate.Relayed: &s.Relayed, fate.Bounced: &s.Bounced, fate.Discarded: &s.Discarded, fate.SetAside: &s.SetAside}[r.State]++
		}
		of := all.Sources[msg.Source]
		of.Add(s, 1)
		all.Sources[msg.Source] = of
		all.Add(s, 1)
	}
	return all
}

// checkSums compares sums of periods that begin and end within days and at
// their ends, and has each day counted anew.
func (m *model) checkSums(w *world) error {
	periods := []fate.Period{{}, {Account: 7}}
	if len(m.messages) > 0 {
		first, last := m.messages[0].Received, m.messages[len(m.messages)-1].Received
		half := first.Add(last.Sub(first) / 2)
		midnight := half.Truncate(24 * time.Hour)
		periods = append(periods, fate.Period{Since: half}, fate.Period{Until: half}, fate.Period{Since: midnight}, fate.Period{Until: midnight, Account: 7},
			fate.Period{Since: first, Until: last}, fate.Period{Since: first.Add(time.Microsecond), Until: midnight.Add(24 * time.Hour), Account: 7})
	}
	for _, p := range periods {
		got, err := w.s.Sums(background, p)
		got.Dropped = 0
		if want := m.sums(p); err != nil || !cmp.Equal(got, want) {
			return fmt.Errorf("sums of %+v are %+v, %w; want %+v", p, got, err, want)
		}
	}
	messages := int64(0)
	for from := time.Unix(0, 0); ; {
		r, err := w.s.Recount(background, from)
		if errors.Is(err, fate.ErrNoSuchMessage) {
			break
		}
		if err != nil || r.Wrong > 0 || r.Running != r.Anew || !r.Day.Equal(r.Day.Truncate(24*time.Hour)) {
			return fmt.Errorf("counted anew: %+v, %w", r, err)
		}
		messages += r.Anew.Messages
		from = r.Day.Add(24 * time.Hour)
	}
	if messages != int64(len(m.messages)) {
		return fmt.Errorf("%d messages were counted anew, there are %d", messages, len(m.messages))
	}
	return nil
}

// open is what Open should tell.
func (m *model) open() map[place]fate.Open {
	all := make(map[place]fate.Open)
	for _, msg := range m.messages {
		for i, r := range msg.Recipients {
			if !r.State.Ended() {
				all[place{msg.LSN, i}] = fate.Open{LSN: msg.LSN, Rcpt: i, State: r.State, Due: r.Due, Received: msg.Received, Attempts: r.Attempts,
					Warned: r.Warned, Account: msg.Account, Domain: r.Address.Domain, Route: r.Route}
			}
		}
	}
	return all
}

// check compares everything that can be asked.
func (m *model) check(w *world) error {
	if err := w.x.Wait(background, w.j.Durable()); err != nil {
		return err
	}
	for _, want := range m.messages {
		got, err := w.s.Load(background, want.LSN)
		if err != nil {
			return fmt.Errorf("load %s: %w", want.ID, err)
		}
		if reflect.DeepEqual(got, want) { // quicker
			continue
		}
		if d := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.EquateComparable(want.RemoteIP)); d != "" {
			return fmt.Errorf("message %s (model -, store +): %s", want.ID, d)
		}
	}
	if err := m.checkSums(w); err != nil {
		return err
	}
	owed := map[place]fate.Success{}
	err := w.s.Owed(background, func(o fate.Owed) {
		for n, success := range o.Successes {
			owed[place{o.LSN, n}] = success
		}
	})
	if err != nil || !reflect.DeepEqual(owed, m.owed) {
		return fmt.Errorf("owed are %v, %w; want %v", owed, err, m.owed)
	}
	w.mu.Lock()
	told := ""
	if !reflect.DeepEqual(m.open(), w.open) {
		told = cmp.Diff(m.open(), w.open)
	}
	w.mu.Unlock()
	if told != "" {
		return fmt.Errorf("the queue was told (model -, store +): %s", told)
	}
	read := make(map[place]fate.Open)
	last := place{}
	err = w.s.Open(background, func(o fate.Open) error {
		p := place{o.LSN, o.Rcpt}
		if p.lsn < last.lsn || p.lsn == last.lsn && p.n <= last.n && last.lsn != 0 {
			return fmt.Errorf("%v comes after %v", p, last)
		}
		read[p], last = o, p
		return nil
	})
	if err != nil || !reflect.DeepEqual(m.open(), read) {
		return fmt.Errorf("open, %w (model -, store +): %s", err, cmp.Diff(m.open(), read))
	}
	return nil
}

// life is one world with its model, and choices by rapid.
type life struct {
	*world
	model model
	n     int
	inbox mailbox.ID
}

// drawEvent draws an event whose time is now.
func (l *life) drawEvent(t *rapid.T, states ...fate.State) fate.Event {
	texts := rapid.SampledFrom([]string{"", "a", "b", "a long text with ümläuts"})
	e := fate.Event{At: l.clock.Now().UTC(), State: rapid.SampledFrom(states).Draw(t, "state")}
	e.Via, e.TLS, e.Reply = texts.Draw(t, "via"), texts.Draw(t, "tls"), texts.Draw(t, "reply")
	e.Reason, e.DSN, e.By = texts.Draw(t, "reason"), texts.Draw(t, "dsn"), texts.Draw(t, "by")
	return e
}

var anyState = []fate.State{fate.Queued, fate.Deferred, fate.Held, fate.Delivered, fate.Relayed, fate.Bounced, fate.Discarded, fate.SetAside}

// accept delivers a message, which may tell of a change of an older one.
func (l *life) accept(t *rapid.T) {
	l.n++
	m := l.message(fmt.Sprint("M", l.n), rapid.IntRange(1, 4).Draw(t, "recipients"))
	m.Source = rapid.SampledFrom([]fate.Source{fate.Inbound, fate.Submitted, fate.System}).Draw(t, "source")
	if m.Source != fate.Submitted {
		m.Account = 0
	} else if rapid.Bool().Draw(t, "other account") {
		m.Account = 8
	}
	for i := range m.Recipients {
		r := &m.Recipients[i]
		r.Address.Domain = message.Domain(rapid.SampledFrom([]string{"example.org", "example.net"}).Draw(t, "domain"))
		if rapid.Bool().Draw(t, "event") {
			r.Last = l.drawEvent(t, anyState...)
			r.State = r.Last.State
		}
		if !r.State.Ended() {
			r.Due = l.drawDue(t)
		}
	}
	var fs []mailbox.Filing
	if rapid.Bool().Draw(t, "filed") {
		fs = append(fs, mailbox.Filing{Account: 1, Mailbox: l.inbox})
	}
	var cs []fate.Change
	if len(l.model.messages) > 0 && rapid.Bool().Draw(t, "tells") {
		cs = append(cs, l.drawChange(t))
	}
	var told []place
	for p := range l.model.owed {
		if rapid.Bool().Draw(t, "told") {
			told = append(told, p)
			l.also = fate.AppendTold(l.also, fate.Owed{LSN: p.lsn, Successes: map[int]fate.Success{p.n: l.model.owed[p]}})
		}
		break
	}
	owe := fate.Owed{Successes: map[int]fate.Success{}}
	if rapid.IntRange(0, 3).Draw(t, "owes") == 0 {
		owe.Successes[0], owe.Successes[len(m.Recipients)-1] = fate.ToldExpanded, fate.ToldDelivered
		l.also = fate.AppendOwed(l.also, owe)
	}
	if err := l.deliver(m, fs, cs...); err != nil {
		t.Fatal(err)
	}
	l.model.accept(m)
	for _, p := range told {
		delete(l.model.owed, p)
	}
	for n, success := range owe.Successes {
		l.model.owed[place{m.LSN, n}] = success
	}
	for _, c := range cs {
		l.model.change(c)
	}
}

func (l *life) drawDue(t *rapid.T) time.Time {
	if rapid.Bool().Draw(t, "at once") {
		return time.Time{}
	}
	return l.clock.Now().Add(time.Duration(rapid.IntRange(1, 100).Draw(t, "due")) * time.Minute).UTC()
}

// drawChange draws a change of a message that is there, or was.
func (l *life) drawChange(t *rapid.T) fate.Change {
	c := fate.Change{LSN: 1 << 41, Rcpt: []int{0}}
	if len(l.model.messages) > 0 {
		c.LSN = rapid.SampledFrom(l.model.messages).Draw(t, "message").LSN
	}
	c.Rcpt = rapid.SampledFrom([][]int{{0}, {1}, {0, 1}, {0, 1, 2, 3, 4, 9}, {2, 3}}).Draw(t, "places")
	c.Event = l.drawEvent(t, append(anyState, 0, fate.Deferred, fate.Deferred)...)
	c.Due = l.drawDue(t)
	c.Attempt, c.Warned = rapid.Bool().Draw(t, "attempt"), rapid.Bool().Draw(t, "warned")
	if rapid.Bool().Draw(t, "rerouted") {
		route := rapid.SampledFrom([]string{"", "smtp://relay.example.org:25"}).Draw(t, "route")
		c.Route = &route
	}
	return c
}

func (l *life) commit(t *rapid.T) {
	var cs []fate.Change
	for range rapid.IntRange(1, 3).Draw(t, "changes") {
		cs = append(cs, l.drawChange(t))
	}
	if err := l.s.Commit(background, cs...); err != nil {
		t.Fatal(err)
	}
	for _, c := range cs {
		l.model.change(c)
	}
}

func (l *life) purge(t *rapid.T) {
	n, err := l.s.Purge(background)
	if want := l.model.purge(l.clock.Now().Add(-l.keep)); n != want || err != nil {
		t.Fatalf("%d books purged, %v; want %d", n, err, want)
	}
}

func (l *life) compact(t *rapid.T) {
	if _, err := l.m.CompactFully(background); err != nil {
		t.Fatal(err)
	}
}

// expunge empties the mailbox.
func (l *life) expunge(t *rapid.T) {
	b, err := l.m.OpenMailbox(background, l.inbox)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	es, _, err := b.Entries(background)
	if err != nil || len(es) == 0 {
		return
	}
	uids := []mailbox.UID{es[0].UID}
	if _, err := l.m.SetFlags(background, l.inbox, mailbox.SetFlags{UIDs: uids, Mode: mailbox.Add, Flags: []string{`\Deleted`}}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := l.m.Expunge(background, l.inbox, uids); err != nil {
		t.Fatal(err)
	}
}

// saved is where the index of an earlier time is kept.
func (l *life) saved() string { return l.path + ".saved" }

// again restarts, with the index as it was, of an earlier time, or without.
func (l *life) again(t *rapid.T) {
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	var err error
	how := rapid.SampledFrom([]string{"keep", "save", "older", "lose"}).Draw(t, "index")
	if l.path == "" {
		how = "lose" // it is in memory
	}
	switch how {
	case "save":
		err = copyFile(l.path, l.saved())
	case "older":
		if _, e := os.Stat(l.saved()); e == nil {
			if err = index.Remove(l.path); err == nil {
				err = copyFile(l.saved(), l.path)
			}
		}
	case "lose":
		if l.path != "" {
			err = index.Remove(l.path)
		}
	}
	if err == nil {
		err = l.start()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o600)
}

// A store and its model live the same life, whatever is compacted, purged and
// rebuilt in between.
func TestStore_model(t *testing.T) {
	dir := t.TempDir()
	lives := 0
	rapid.Check(t, func(t *rapid.T) {
		lives++
		l := &life{model: model{owed: map[place]fate.Success{}}, world: &world{disk: sim.NewDisk(1),
			clock: sim.NewClock(time.Unix(1.7e9, 0)), segment: rapid.SampledFrom([]int64{8 << 10, 1 << 20}).Draw(t, "segment"),
			retention: 10 * time.Hour, keep: 20 * time.Hour}}
		if rapid.IntRange(0, 3).Draw(t, "file") == 0 {
			l.path = filepath.Join(dir, fmt.Sprint(lives, ".db"))
		}
		if err := l.start(); err != nil {
			t.Fatal(err)
		}
		defer func() { l.stop() }()
		if err := l.m.Provision(background, 1); err != nil {
			t.Fatal(err)
		}
		info, err := l.m.Lookup(background, 1, "INBOX")
		if err != nil {
			t.Fatal(err)
		}
		l.inbox = info.ID
		t.Repeat(map[string]func(*rapid.T){
			"accept":  l.accept,
			"commit":  l.commit,
			"commit2": l.commit,
			"purge":   l.purge,
			"compact": l.compact,
			"expunge": l.expunge,
			"again":   l.again,
			"time": func(t *rapid.T) {
				l.clock.Advance(time.Duration(rapid.IntRange(1, 600).Draw(t, "minutes")) * time.Minute)
			},
			"": func(t *rapid.T) {
				if err := l.model.check(l.world); err != nil {
					t.Fatal(err)
				}
			},
		})
		if err := l.same(); err != nil {
			t.Fatal(err)
		}
	})
}
