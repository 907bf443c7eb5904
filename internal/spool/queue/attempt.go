package queue

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
)

const (
	// faultPause is how long an entry waits after a fault of ours, missingPause
	// when its message cannot be found at all.
	faultPause   = time.Minute
	missingPause = time.Hour
	// stackMax is how much is logged of where a panic was, in octets.
	stackMax = 8 << 10
)

func stack() string {
	s := debug.Stack()
	return string(s[:min(len(s), stackMax)])
}

// cut shortens a text to n octets, at a character's edge.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n]
}

// later is the falls of a task to which nothing happened, and which is looked
// at again after a pause.
func (m *machine) later(now int64, t *task, pause time.Duration) []fall {
	falls := make([]fall, len(t.slots))
	for i, s := range t.slots {
		falls[i] = m.asItWas(s)
		falls[i].due = max(falls[i].due, now+int64(pause))
	}
	return falls
}

func (q *Queue) later(t *task, pause time.Duration) []fall {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.m.later(q.now(), t, pause)
}

// message loads the message of a task. If that fails, the fault is logged and
// falls say what becomes of the task.
func (q *Queue) message(ctx context.Context, t *task) (*fate.Message, []fall) {
	m, err := q.fates.Load(ctx, t.lsn, t.rcpts...)
	if err == nil {
		for _, r := range t.rcpts {
			if r < 0 || r >= len(m.Recipients) {
				err = fmt.Errorf("recipient %d of %d: %w", r, len(m.Recipients), fate.ErrNoSuchMessage)
			}
		}
	}
	if err == nil {
		return m, nil
	}
	pause := faultPause
	if errors.Is(err, fate.ErrNoSuchMessage) {
		pause = missingPause
	}
	q.log.Error("a queued message cannot be read, will try again", telemetry.LSN, uint64(t.lsn),
		telemetry.Err, err, telemetry.Dur, pause)
	return nil, q.later(t, pause)
}

// attempt has a task's recipients tried and what came of it made durable.
func (q *Queue) attempt(w *work, t *task) []fall {
	m, falls := q.message(w.save, t)
	if m == nil {
		q.heard(t, Result{})
		return falls
	}
	job := Job{Destination: t.name, Message: m, Rcpt: unended(m, t.rcpts)}
	var r Result
	if len(job.Rcpt) > 0 {
		r = q.carry(w.carry, job)
	}
	if r.Done != nil {
		defer r.Done()
	}
	if w.carry.Err() != nil && nothing(r) {
		q.heard(t, Result{})
		return q.later(t, 0) // it did not happen: there was no time for it
	}
	os := q.outcomes(t, m, job, r)
	falls = q.judge(t, r, os)
	q.tell(t, m, os, falls)
	q.record(w.save, m, t, os, falls)
	return falls
}

// unended gives the recipients that are still open.
func unended(m *fate.Message, rcpts []int) []int {
	var open []int
	for _, r := range rcpts {
		if !m.Recipients[r].State.Ended() {
			open = append(open, r)
		}
	}
	return open
}

// carry is the Carrier's, whose panic is a fault for which nobody is to lose
// mail.
func (q *Queue) carry(ctx context.Context, j Job) (r Result) {
	defer func() {
		if p := recover(); p != nil {
			q.panicked(p)
			r = Result{}
		}
	}()
	return q.carrier.Carry(ctx, j)
}

// nothing tells whether a result says that the attempt was not made.
func nothing(r Result) bool {
	for _, o := range r.Outcomes {
		if o.State != fate.Deferred {
			return false
		}
	}
	return r.Health == Unknown
}

// outcomes gives one outcome for each recipient of a task, whatever the
// Carrier said. One that has no State of its own had already ended.
func (q *Queue) outcomes(t *task, m *fate.Message, j Job, r Result) []Outcome {
	os := make([]Outcome, len(t.rcpts))
	now := q.o.Clock.Now().UTC()
	given := r.Outcomes
	if len(j.Rcpt) > 0 && len(given) != len(j.Rcpt) {
		q.log.Error("an attempt did not say what became of all recipients", telemetry.Env, m.ID,
			telemetry.Domain, t.name, telemetry.Count, len(given))
		given = nil
	}
	k := 0
	for i, rcpt := range t.rcpts {
		if m.Recipients[rcpt].State.Ended() {
			continue
		}
		o := Outcome{Event: fate.Event{State: fate.Deferred, Reason: "A fault of this host ended the attempt."}}
		if given != nil {
			o = given[k]
		}
		k++
		if o.State < fate.Delivered && o.State != fate.Deferred || o.State > fate.SetAside {
			o.State = fate.Deferred
		}
		if o.At.IsZero() {
			o.At = now
		}
		o.Reply, o.Reason = cut(o.Reply, fate.ReplyMax), cut(o.Reason, fate.ReasonMax)
		os[i] = o
	}
	return os
}

// heard tells the machine how a destination is.
func (q *Queue) heard(t *task, r Result) {
	q.mu.Lock()
	q.m.heard(q.now(), t, r.Health, cut(r.Why, fate.ReasonMax))
	q.mu.Unlock()
}

// judge tells the machine how the destination is, and has it say what becomes
// of the recipients.
func (q *Queue) judge(t *task, r Result, os []Outcome) []fall {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.now()
	q.m.heard(now, t, r.Health, cut(r.Why, fate.ReasonMax))
	falls := make([]fall, len(t.slots))
	due := map[time.Duration]map[uint8]int64{} // one jitter for all that wait equally long
	for i, o := range os {
		switch {
		case o.State == 0:
			falls[i] = fall{state: fate.Discarded} // had ended
		case o.State == fate.Deferred:
			f := q.m.fallOf(now, t, t.slots[i], r.Health, o.RetryAfter)
			step := q.m.t.at(t.slots[i]).step
			if due[o.RetryAfter] == nil {
				due[o.RetryAfter] = map[uint8]int64{}
			}
			if at, ok := due[o.RetryAfter][step]; ok {
				f.due = at
			}
			due[o.RetryAfter][step] = f.due
			falls[i] = f
		default:
			falls[i] = fall{state: o.State}
		}
	}
	return falls
}

// changesOf makes the changes of what came of a task, those that say the same
// in one.
func changesOf(t *task, os []Outcome, falls []fall, which func(i int) bool) []fate.Change {
	type same struct {
		fate.Event
		due int64
	}
	at := map[same]int{}
	var cs []fate.Change
	for i, o := range os {
		if o.State == 0 || which != nil && !which(i) {
			continue
		}
		k := same{Event: o.Event}
		if !falls[i].state.Ended() {
			k.due = falls[i].due
		}
		n, ok := at[k]
		if !ok {
			n = len(cs)
			at[k] = n
			cs = append(cs, fate.Change{LSN: t.lsn, Event: o.Event, Attempt: true, Due: timeOf(k.due)})
		}
		cs[n].Rcpt = append(cs[n].Rcpt, t.rcpts[i])
	}
	return cs
}

// tell logs and counts what came of an attempt.
func (q *Queue) tell(t *task, m *fate.Message, os []Outcome, falls []fall) {
	took := time.Duration(q.now() - t.began)
	for i, o := range os {
		if o.State == 0 {
			continue
		}
		q.o.Metrics.attempts.WithLabelValues(o.State.String()).Inc()
		log := q.log.Info
		if o.State == fate.SetAside {
			log = q.log.Error
		}
		log("attempt", telemetry.Env, m.ID, telemetry.From, m.From.String(),
			telemetry.Rcpt, m.Recipients[t.rcpts[i]].Address.String(), telemetry.Domain, t.name,
			telemetry.State, o.State.String(), telemetry.Addr, o.Via, telemetry.TLS, o.TLS,
			telemetry.Reply, o.Reply, telemetry.Reason, o.Reason, telemetry.Dur, took)
	}
}

// record makes what came of an attempt durable, with the reports that it asks
// for. When it returns falls are true.
func (q *Queue) record(ctx context.Context, m *fate.Message, t *task, os []Outcome, falls []fall) {
	failed := q.pick(m, t, os, fate.Bounced, wantsFailure)
	if len(failed) > 0 && !q.report(ctx, m, failure, t, os, falls, failed) {
		q.putOff(m, t, os, falls, failed)
		failed = nil
	}
	done := q.pick(m, t, os, 0, wantsSuccess)
	owed := map[int]bool{}
	if len(done) > 0 && !q.report(ctx, m, success, t, os, falls, done) {
		for _, i := range done { // the message has arrived; its sender is told when that can be
			owed[i] = true
		}
		done = nil
	}
	told := map[int]bool{}
	for _, i := range append(failed, done...) {
		told[i] = true
	}
	cs := changesOf(t, os, falls, func(i int) bool { return owed[i] })
	for i := range cs {
		cs[i].Owe = fate.ToldDelivered
		if cs[i].State == fate.Relayed {
			cs[i].Owe = fate.ToldRelayed
		}
	}
	q.saver.save(ctx, append(cs, changesOf(t, os, falls, func(i int) bool { return !told[i] && !owed[i] })...))
}

// putOff defers recipients that were refused for good but whose sender cannot
// be told of it now. They are tried once more, and refused again; only when
// they have been here for longer than anything should do they end untold.
func (q *Queue) putOff(m *fate.Message, t *task, os []Outcome, falls []fall, which []int) {
	now := q.o.Clock.Now()
	if now.Sub(m.Received) > q.o.Expire+untoldMax {
		return
	}
	for _, i := range which {
		os[i].State = fate.Deferred
		os[i].Reason = cut(prefaced(os[i].Reason, "Refused for good, but the sender cannot be told yet: "), fate.ReasonMax)
		falls[i] = fall{state: fate.Deferred, due: now.Add(untoldPause).UnixNano()}
	}
}
