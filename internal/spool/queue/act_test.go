package queue

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/dsn"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// desk is a queue whose away.test is down and whose other hosts take all.
type desk struct {
	t     *testing.T
	l     *life
	q     *Queue
	mu    sync.Mutex
	dests []string // that were tried; guarded by mu
}

func newDesk(t *testing.T, o Options) (*desk, func()) {
	d := &desk{t: t, l: newBooks(t).live()}
	q, end := begin(t, d.l, o, carrier(func(_ context.Context, j Job) Result {
		d.mu.Lock()
		d.dests = append(d.dests, j.Destination)
		d.mu.Unlock()
		if j.Destination == "away.test" {
			return all(j, Down, fate.Event{State: fate.Deferred, Reason: "No host of it can be reached."})
		}
		return all(j, Up, relayed())
	}))
	d.q = q
	synctest.Wait() // it is read
	return d, end
}

// tried gives the destinations of all attempts so far.
func (d *desk) tried() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.dests)
}

// act does an action that must change n recipients.
func (d *desk) act(n int, a Action, s Selection, args Args) {
	d.t.Helper()
	args.By = "root"
	k, err := d.q.Act(d.t.Context(), a, s, args)
	if err != nil || k != n {
		d.t.Fatalf("%v %+v: %d, %v; want %d", a, s, k, err, n)
	}
	rest(5 * time.Second)
	synctest.Wait()
}

func (d *desk) rows(s Selection) []Row {
	d.t.Helper()
	synctest.Wait()
	rows, err := d.q.List(d.t.Context(), s, 100)
	if err != nil {
		d.t.Fatal(err)
	}
	return rows
}

func TestAct_holdAndRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, end := newDesk(t, Options{Warn: time.Hour})
		a, b := d.l.accept(mail("a@away.test")), d.l.accept(mail("b@away.test"))
		time.Sleep(10 * time.Second)
		d.act(1, Hold, Selection{ID: "m1"}, Args{Reason: "It looks odd."})
		r := wantState(t, d.l, a, 0, fate.Held)
		if r.Last.Reason != "It looks odd." || r.Last.By != "root" {
			t.Errorf("the hold is recorded as %+v", r.Last)
		}
		rows := d.rows(Selection{State: fate.Held})
		if len(rows) != 1 || rows[0].Hold != "It looks odd." || rows[0].ID != "m1" || rows[0].To != addr("a@away.test") || !rows[0].Due.IsZero() {
			t.Errorf("held: %+v", rows)
		}
		d.act(0, Hold, Selection{ID: "m1"}, Args{})
		time.Sleep(7 * 24 * time.Hour) // what is held is not warned of, tried or given up
		wantState(t, d.l, a, 0, fate.Held)
		wantState(t, d.l, b, 0, fate.Bounced)
		for _, n := range d.l.told() {
			if n.Changes[0].LSN == a {
				t.Errorf("told of one that is held: %+v", n.Changes)
			}
		}
		d.act(1, Release, Selection{All: true}, Args{})
		time.Sleep(2 * time.Minute) // it is older than it may be
		wantState(t, d.l, a, 0, fate.Bounced)
		end()
	})
}

func TestAct_retry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, end := newDesk(t, Options{})
		d.l.accept(mail("a@away.test"))
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		n := len(d.tried())
		d.act(1, Retry, Selection{Destination: "away.test"}, Args{})
		if len(d.tried()) != n+1 {
			t.Errorf("%d attempts at once", len(d.tried())-n)
		}
		d.act(0, Retry, Selection{Destination: "other.test"}, Args{})
		end()
	})
}

func TestAct_fail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, end := newDesk(t, Options{})
		lsn := d.l.accept(mail("a@away.test", "b@away.test", "c@fine.test"))
		time.Sleep(time.Minute)
		d.act(2, Fail, Selection{Sender: "ONE@demo.test"}, Args{Reason: "That address does not exist any more."})
		r := wantState(t, d.l, lsn, 1, fate.Bounced)
		if r.Last.By != "root" || !strings.Contains(r.Last.Reason, "any more") {
			t.Errorf("recorded as %+v", r.Last)
		}
		if len(d.l.told()) != 1 {
			t.Fatalf("%d notices", len(d.l.told()))
		}
		if p := parse(t, d.l.told()[0]); len(p.Recipients) != 2 || p.Recipients[0].Action != dsn.Failed {
			t.Errorf("told %+v", p.Recipients)
		}
		wantState(t, d.l, lsn, 2, fate.Relayed)
		end()
	})
}

func TestAct_rerouteAndRequeue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, end := newDesk(t, Options{})
		d.l.accept(mail("a@away.test"))
		lsn := d.l.accept(mail("b@away.test"))
		time.Sleep(30 * time.Minute)
		d.act(1, Reroute, Selection{ID: "m2"}, Args{NextHop: "smtp://relay.test:25"})
		r := wantState(t, d.l, lsn, 0, fate.Relayed)
		if r.Route != "smtp://relay.test:25" || d.tried()[len(d.tried())-1] != r.Route {
			t.Errorf("went to %s", d.tried()[len(d.tried())-1])
		}
		d.act(1, Reroute, Selection{ID: "m1"}, Args{NextHop: "away.test"})
		d.act(1, Hold, Selection{ID: "m1"}, Args{})
		d.act(1, Reroute, Selection{ID: "m1"}, Args{NextHop: "smtp://relay.test:25"})
		if r := wantState(t, d.l, 1, 0, fate.Held); r.Route != "smtp://relay.test:25" {
			t.Errorf("rerouted while held: %+v", r.Standing)
		}
		d.act(1, Reroute, Selection{ID: "m1"}, Args{NextHop: "away.test"})
		d.act(1, Requeue, Selection{ID: "m1"}, Args{})
		if r := d.l.state(1, 0); r.Route != "" || r.State == fate.Held {
			t.Errorf("requeued: %+v", r.Standing)
		}
		for _, bad := range []string{"", "a b", strings.Repeat("x", 600)} {
			if _, err := d.q.Act(t.Context(), Reroute, Selection{All: true}, Args{NextHop: bad}); err == nil {
				t.Errorf("a next hop %q", bad)
			}
		}
		end()
	})
}

func TestAct_selections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, end := newDesk(t, Options{Router: func(o fate.Open) (string, string) { return "hop", "No next hop is configured." }})
		null := mail("a@x.test")
		null.From = message.Address{}
		null.Account = 0
		d.l.accept(null)
		two := mail("a@x.test", "b@y.test")
		two.From, two.Account = addr("two@demo.test"), 2
		d.l.accept(two)
		d.l.accept(mail("c@y.test"))
		synctest.Wait()
		for _, c := range []struct {
			s    Selection
			want int
		}{
			{Selection{All: true}, 4},
			{Selection{ID: "m2"}, 2},
			{Selection{Sender: "<>"}, 1},
			{Selection{Sender: "two@demo.test"}, 2},
			{Selection{Sender: "nobody@demo.test"}, 0},
			{Selection{Account: 2}, 2},
			{Selection{Account: 2, Sender: "one@demo.test"}, 0},
			{Selection{Destination: "hop"}, 4},
			{Selection{Destination: "x.test"}, 2},
			{Selection{Destination: "z.test"}, 0},
			{Selection{Destination: "y.test", Account: 1}, 1},
			{Selection{Destination: "y.test", Account: 3}, 0},
			{Selection{State: fate.Held}, 4},
			{Selection{State: fate.Queued}, 0},
			{Selection{ID: "m3", Account: 1, State: fate.Held}, 1},
		} {
			if rows := d.rows(c.s); len(rows) != c.want {
				t.Errorf("%+v: %d rows, want %d", c.s, len(rows), c.want)
			}
		}
		if _, err := d.q.List(t.Context(), Selection{}, 10); err == nil {
			t.Error("nothing selects something")
		}
		if _, err := d.q.List(t.Context(), Selection{ID: "m99"}, 10); !errors.Is(err, fate.ErrNoSuchMessage) {
			t.Errorf("an unknown message: %v", err)
		}
		if rows := d.rows(Selection{ID: "m1"}); rows[0].Hold != "No next hop is configured." || len(d.tried()) != 0 {
			t.Errorf("without a way: %+v, tried %v", rows[0], d.tried())
		}
		if m, err := d.l.ByID(t.Context(), "m1"); err != nil || d.q.HeldWhy(m, 0) != "No next hop is configured." || d.q.HeldWhy(m, 99) != "" {
			t.Errorf("held since: %q, %v", d.q.HeldWhy(m, 0), err)
		}
		if b := d.q.Backlog(); b.Total.Held != 4 || b.Total.Drain != 0 {
			t.Errorf("backlog: %+v", b.Total)
		}
		end()
	})
}

// TestAct_byDomain: what goes by a next hop is found by the domain of its
// recipients as well, before and after it goes elsewhere.
func TestAct_byDomain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, end := newDesk(t, Options{Router: func(o fate.Open) (string, string) {
			if o.Route != "" {
				return o.Route, ""
			}
			return "away.test", ""
		}})
		lsn := d.l.accept(mail("u@a.test", "v@a.test", "u@b.test"))
		time.Sleep(time.Minute)
		synctest.Wait()
		for _, name := range []string{"away.test", "a.test", "smtp://other.test:25"} {
			want := map[string]int{"away.test": 3, "a.test": 2}[name]
			if rows := d.rows(Selection{Destination: name}); len(rows) != want {
				t.Errorf("%s: %d rows, want %d", name, len(rows), want)
			}
		}
		a := Selection{Destination: "a.test"}
		d.act(2, Hold, a, Args{})
		wantState(t, d.l, lsn, 1, fate.Held)
		wantState(t, d.l, lsn, 2, fate.Deferred)
		d.act(2, Reroute, a, Args{NextHop: "smtp://other.test:25"})
		if rows := d.rows(Selection{Destination: "smtp://other.test:25"}); len(rows) != 2 {
			t.Errorf("%d rows at the new hop", len(rows))
		}
		d.act(2, Requeue, a, Args{})
		d.act(2, Retry, a, Args{})
		d.act(2, Fail, a, Args{})
		wantState(t, d.l, lsn, 0, fate.Bounced)
		d.act(1, Reroute, Selection{Destination: "b.test"}, Args{NextHop: "smtp://other.test:25"})
		wantState(t, d.l, lsn, 2, fate.Relayed)
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := len(d.q.m.byName); n != 0 {
			t.Errorf("%d names are kept for nothing", n)
		}
		end()
	})
}

// TestHoldAccount_beforeTheRest is what a stolen password does: whatever the
// account sends is held from then on, and nothing of anybody else.
func TestHoldAccount_beforeTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, end := newDesk(t, Options{Workers: 5})
		for range 2000 {
			d.l.accept(mail("a@x.test"))
		}
		d.q.HoldAccount(1, "It sends to too many strangers.")
		var held []journal.LSN
		for range 100 {
			held = append(held, d.l.accept(mail("b@x.test")))
		}
		other := mail("a@y.test")
		other.Account = 2
		lsn := d.l.accept(other)
		time.Sleep(time.Hour)
		wantState(t, d.l, lsn, 0, fate.Relayed)
		if n := len(d.tried()); n > 30 {
			t.Errorf("%d were sent after all", n)
		}
		rows := d.rows(Selection{Account: account.ID(1)})
		if len(rows) != 100 || rows[0].State != fate.Held || rows[0].Hold != "It sends to too many strangers." {
			t.Errorf("%d rows, %+v", len(rows), rows[0])
		}
		d.q.ReleaseAccount(1)
		time.Sleep(time.Hour)
		for _, lsn := range held {
			wantState(t, d.l, lsn, 0, fate.Relayed)
		}
		end()
	})
}

// TestBacklog_tells what waits, for how long, and why.
func TestBacklog_tells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newBooks(t).live()
		q, end := begin(t, l, Options{PerDestination: 2}, carrier(func(ctx context.Context, j Job) Result {
			if j.Destination == "away.test" {
				return all(j, Down, fate.Event{State: fate.Deferred, Reason: "No host of it can be reached."})
			}
			time.Sleep(time.Second)
			return all(j, Up, relayed())
		}))
		for range 1000 {
			l.accept(mail("a@steady.test"))
		}
		for range 10 {
			l.accept(mail("a@away.test"))
		}
		time.Sleep(100 * time.Second)
		b := q.Backlog()
		if len(b.Destinations) != 2 || b.Destinations[0].Destination != "steady.test" {
			t.Fatalf("%+v", b)
		}
		steady, away := b.Destinations[0], b.Destinations[1]
		if left := float64(steady.Queued + steady.Active); steady.Rate < 1.6 || steady.Rate > 2.4 ||
			steady.Drain.Seconds() < left/2*0.8 || steady.Drain.Seconds() > left/2*1.2 || steady.Active != 2 || steady.Limit != 2 {
			t.Errorf("two a second: %+v", steady)
		}
		if away.Down.IsZero() || away.Error == "" || away.Drain != -1 || away.Next.Before(b.At) || away.Queued+away.Deferred+away.Active != 10 ||
			b.At.Sub(away.Oldest).Round(time.Second) != 100*time.Second {
			t.Errorf("away: %+v", away)
		}
		end()
	})
}

// TestAct_failPanics: a message whose report cannot be made for a fault of ours
// takes nothing down with it, and is where it was.
func TestAct_failPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, end := newDesk(t, Options{})
		lsn := d.l.accept(mail("a@away.test"))
		time.Sleep(time.Minute)
		d.l.refuse2 = func(Notice) error { panic("a fault") }
		d.act(0, Fail, Selection{All: true}, Args{})
		d.l.refuse2 = nil
		wantState(t, d.l, lsn, 0, fate.Deferred)
		d.act(1, Fail, Selection{All: true}, Args{})
		wantState(t, d.l, lsn, 0, fate.Bounced)
		end()
	})
}
