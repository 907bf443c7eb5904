package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/ops/alarm"
	"github.com/breakwater-mail/breakwater/internal/ops/ledger"
	"github.com/breakwater-mail/breakwater/internal/spool/queue"
	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
)

// waiting is a queue that notes what it is asked.
type waiting struct {
	rows   []queue.Row
	sel    queue.Selection
	limit  int
	action queue.Action
	args   queue.Args
	acted  int
	err    error
	back   queue.Backlog
}

func (w *waiting) List(_ context.Context, s queue.Selection, limit int) ([]queue.Row, error) {
	w.sel, w.limit = s, limit
	return w.rows[:min(limit, len(w.rows))], w.err
}

func (w *waiting) Act(_ context.Context, a queue.Action, s queue.Selection, args queue.Args) (int, error) {
	w.action, w.sel, w.args = a, s, args
	return w.acted, w.err
}

func (w *waiting) Backlog() queue.Backlog { return w.back }

// withAccount gives an executor the account one@demo.test.
func withAccount(t *testing.T) (*Executor, string, account.ID) {
	t.Helper()
	x, dir := newExecutor(t)
	for _, q := range []Request{
		{Op: DomainAdd, Domain: "demo.test"},
		{Op: AccountAdd, Address: "one@demo.test", Password: "a good password"},
	} {
		if a := x.Do(t.Context(), q); a.Error != "" {
			t.Fatal(a.Error)
		}
	}
	all, err := x.Accounts.Accounts(t.Context())
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	return x, dir, all[0].ID
}

func TestQueue_list(t *testing.T) {
	x, dir, id := withAccount(t)
	at := time.Date(2026, 11, 20, 12, 0, 0, 0, time.FixedZone("", 3600))
	w := &waiting{rows: []queue.Row{
		{ID: "a", To: message.Address{Local: "two", Domain: "example.org"}, Account: id, State: fate.Deferred, Received: at, Due: at, Last: fate.Event{Reply: "451 later", Reason: "greylisted"}},
		{ID: "b", Account: 99, State: fate.Queued, Active: true, Last: fate.Event{Reason: "no answer"}},
		{ID: "c", State: fate.Held, Hold: "by hand"},
	}}
	x.Queue = w
	serve(t, x, dir)
	ask := func(q Request) Answer {
		a, err := (Client{Dir: dir}).Do(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	a := ask(Request{Op: QueueList, Limit: 2})
	if a.Error != "" || len(a.Queue.Rows) != 2 || !a.Queue.More || !w.sel.All || w.limit != 3 {
		t.Fatalf("answer = %+v, asked for %+v, %d", a, w.sel, w.limit)
	}
	r := a.Queue.Rows[0]
	if r.Account != "one@demo.test" || r.State != "deferred" || r.Last != "451 later" || r.Recipient != "two@example.org" || !r.Due.Equal(at) {
		t.Errorf("row = %+v", r)
	}
	if r := a.Queue.Rows[1]; r.State != "active" || r.Account != "account 99" || r.Last != "no answer" || !r.Due.IsZero() {
		t.Errorf("row = %+v", r)
	}
	a = ask(Request{Op: QueueList, Queue: &QueueRequest{Selection: Selection{Account: "one@demo.test", State: "held", Destination: "BÜCHER.example"}}})
	if a.Error != "" || a.Queue.More || w.sel != (queue.Selection{Account: id, State: fate.Held, Destination: "xn--bcher-kva.example"}) {
		t.Errorf("answer = %+v, asked for %+v", a, w.sel)
	}
	for want, s := range map[string]Selection{
		"no account two@demo.test": {Account: "two@demo.test"}, `no state "lost"`: {State: "lost"}, "octets": {ID: strings.Repeat("x", 1000)},
	} {
		if a := ask(Request{Op: QueueList, Queue: &QueueRequest{Selection: s}}); !strings.Contains(a.Error, want) {
			t.Errorf("%+v: %q, want %q", s, a.Error, want)
		}
	}
}

func TestQueue_act(t *testing.T) {
	x, _, id := withAccount(t)
	w := &waiting{acted: 3}
	x.Queue = w
	do := func(op Op, q *QueueRequest) Answer { return x.Do(t.Context(), Request{Op: op, Queue: q}) }
	some := Selection{ID: "a"}
	for op, want := range map[Op]queue.Action{
		QueueHold: queue.Hold, QueueRelease: queue.Release, QueueRetry: queue.Retry, QueueFail: queue.Fail,
		QueueReroute: queue.Reroute, QueueRequeue: queue.Requeue,
	} {
		a := do(op, &QueueRequest{Selection: some, Reason: "why", Route: "smtp://mx.example.org:25"})
		if a.Error != "" || a.Queue.Acted != 3 || w.action != want || w.sel != (queue.Selection{ID: "a"}) ||
			w.args != (queue.Args{Reason: "why", NextHop: "smtp://mx.example.org:25", By: "an operator"}) {
			t.Errorf("%s: %+v; the queue was asked for %v %+v %+v", op, a, w.action, w.sel, w.args)
		}
	}
	if a := do(QueueHold, &QueueRequest{Selection: Selection{Account: "one@demo.test"}}); a.Error != "" || w.sel.Account != id {
		t.Errorf("by account: %+v, %+v", a, w.sel)
	}
	if a := do(QueueRetry, &QueueRequest{Selection: Selection{All: true}}); a.Error != "" || !w.sel.All {
		t.Errorf("all: %+v, %+v", a, w.sel)
	}
	w.action = 0
	for want, q := range map[string]*QueueRequest{
		"nothing is selected": nil, "nothing is selected:": {}, "nothing is selected: name": {Selection: Selection{State: "held"}},
		"not both": {Selection: Selection{ID: "a", All: true}}, "the sender is told": {Selection: some},
		"octets": {Selection: some, Reason: strings.Repeat("x", 1000)},
	} {
		if a := do(QueueFail, q); !strings.Contains(a.Error, want) {
			t.Errorf("%+v: %q, want %q", q, a.Error, want)
		}
	}
	if a := do(QueueReroute, &QueueRequest{Selection: some}); !strings.Contains(a.Error, "next hop") {
		t.Errorf("reroute to nowhere: %q", a.Error)
	}
	if w.action != 0 {
		t.Errorf("the queue was asked for %v all the same", w.action)
	}
	w.acted = 0
	if a := do(QueueRetry, &QueueRequest{Selection: some}); !strings.Contains(a.Error, "nothing that waits is selected") {
		t.Errorf("none: %q", a.Error)
	}
	for want, err := range map[string]error{
		"no message a; ": fmt.Errorf("hold: message a: %w", fate.ErrNoSuchMessage), "still being read": queue.ErrLoading,
	} {
		w.err = err
		if a := do(QueueRetry, &QueueRequest{Selection: some}); !strings.Contains(a.Error, want) {
			t.Errorf("%v: %q", err, a.Error)
		}
	}
	w.acted, w.err = 7, errors.New("journal failed")
	if a := do(QueueRetry, &QueueRequest{Selection: some}); a.Error != "after 7 recipients: journal failed" {
		t.Errorf("half done: %q", a.Error)
	}
}

func TestQueue_backlog(t *testing.T) {
	x, _, _ := withAccount(t)
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	x.Queue = &waiting{back: queue.Backlog{
		At: now, Total: queue.Line{Queued: 3, Oldest: now.Add(-90 * time.Second), Drain: 1500 * time.Millisecond},
		Destinations: []queue.Line{{Destination: "example.org", Queued: 2, Drain: -1, Down: now, Next: now}, {Destination: "example.net", Queued: 1}},
		Others:       4,
	}}
	b := x.Do(t.Context(), Request{Op: QueueBacklog, Limit: 1}).Backlog
	if b == nil || len(b.Destinations) != 1 || b.Others != 5 || *b.Total.Oldest != 90 || *b.Total.Drain != 2 {
		t.Fatalf("backlog = %+v", b)
	}
	if d := b.Destinations[0]; d.Drain != nil || d.Oldest != nil || !d.Down.Equal(now) {
		t.Errorf("line = %+v", d)
	}
	text, err := json.Marshal(b.Destinations[0])
	if err != nil || !strings.Contains(string(text), `"drain_s":null`) || !strings.Contains(string(text), `"oldest_s":null`) {
		t.Errorf("what is not known is null: %s, %v", text, err)
	}
}

// books is a ledger that notes what it is asked.
type books struct {
	period ledger.Period
	query  ledger.Query
}

func (b *books) Close(_ context.Context, p ledger.Period) (ledger.Books, error) {
	b.period = p
	return ledger.Books{Balanced: true}, nil
}

func (b *books) Trace(_ context.Context, q ledger.Query) (ledger.Lives, error) {
	b.query = q
	return ledger.Lives{Lives: []ledger.Life{{ID: "a"}}}, nil
}

func (b *books) Audited() *ledger.Result { return &ledger.Result{Messages: 5} }

type bells struct{}

func (bells) List() []alarm.Alarm {
	return []alarm.Alarm{{Key: "disk", Severity: alarm.Critical}}
}
func (bells) Test(context.Context) []alarm.Test { return []alarm.Test{{Sink: "webhook"}} }

func TestLedgerTraceAlarm(t *testing.T) {
	x, dir, id := withAccount(t)
	b := &books{}
	x.Ledger, x.Alarms = b, bells{}
	serve(t, x, dir)
	ask := func(q Request) Answer {
		a, err := (Client{Dir: dir}).Do(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	since := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	a := ask(Request{Op: LedgerClose, Ledger: &LedgerRequest{Since: since, Account: "one@demo.test"}})
	if a.Error != "" || !a.Ledger.Books.Balanced || a.Ledger.Audit.Messages != 5 || b.period != (ledger.Period{Since: since, Account: id}) {
		t.Errorf("ledger = %+v of %+v", a, b.period)
	}
	a = ask(Request{Op: Trace, Trace: &ledger.Query{What: "a", Limit: 3}})
	if a.Error != "" || len(a.Lives.Lives) != 1 || b.query.Limit != 3 {
		t.Errorf("trace = %+v of %+v", a, b.query)
	}
	if a := ask(Request{Op: AlarmList}); a.Error != "" || len(a.Alarm.Alarms) != 1 || a.Alarm.Alarms[0].Severity != alarm.Critical {
		t.Errorf("alarms = %+v", a)
	}
	if a := ask(Request{Op: AlarmTest}); a.Error != "" || len(a.Alarm.Tests) != 1 {
		t.Errorf("alarm test = %+v", a)
	}
	for want, q := range map[string]Request{
		"ends before it begins": {Op: LedgerClose, Ledger: &LedgerRequest{Since: since, Until: since}},
		"no account":            {Op: LedgerClose, Ledger: &LedgerRequest{Account: "two@demo.test"}},
		"give the id":           {Op: Trace},
		"octets":                {Op: Trace, Trace: &ledger.Query{What: strings.Repeat("x", 2000)}},
	} {
		if a := ask(q); !strings.Contains(a.Error, want) {
			t.Errorf("%+v: %q, want %q", q, a.Error, want)
		}
	}
}

// Without a host there is nothing to ask, in words.
func TestQueueAlarm_withoutHost(t *testing.T) {
	x, _ := newExecutor(t)
	for _, op := range []Op{QueueList, QueueShow, QueueBacklog, QueueHold, AlarmList, AlarmTest} {
		if a := x.Do(t.Context(), Request{Op: op}); !strings.Contains(a.Error, "breakwater serve") {
			t.Errorf("%s: %q", op, a.Error)
		}
	}
	for _, op := range []Op{LedgerClose, Trace} {
		if a := x.Do(t.Context(), Request{Op: op}); !strings.Contains(a.Error, "no books") {
			t.Errorf("%s: %q", op, a.Error)
		}
	}
}

var (
	_ Queue  = (*queue.Queue)(nil)
	_ Ledger = (*ledger.Ledger)(nil)
	_ Alarms = (*alarm.Alarms)(nil)
)
