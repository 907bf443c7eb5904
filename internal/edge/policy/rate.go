package policy

import (
	"net/netip"
	"strconv"
	"time"
)

// Rate is how often something may happen; 0 is no limit. All of a minute's or
// an hour's may come at once, after that they come back evenly.
type Rate struct {
	Minute, Hour int
}

// Limits are the rates of one kind of event. Those of a HELO domain are for
// strangers only: anybody can use a name.
type Limits struct {
	Address, Network, Helo Rate
}

// Rates are the limits of everything that is counted.
type Rates struct {
	Connections Limits // Helo has no meaning here: nothing has been said yet
	Recipients  Limits
	Unknown     Limits // recipients that do not exist
	Messages    Limits // that were accepted
}

// What is counted, as a salt of keys.
const (
	rateConnections uint64 = iota + 1
	rateRecipients
	rateUnknown
	rateMessages
)

// hourSalt keeps the key of an hour's rate apart from that of the minute's.
const hourSalt = 1 << 41

// rates counts events. Each limit is a GCRA: one number a key, the time at
// which the allowance is whole again; a number of the past is no number.
type rates struct {
	h     *hasher
	table *slots
}

// over says which limit is used up, if one is, and when it has room for one
// again.
type over struct {
	by    string // "address", "network", "HELO domain"
	rate  string // "60 a minute"
	after time.Duration
}

// one is a limit of a key.
type one struct {
	key  uint64
	by   string
	rate Rate
}

// keys are the limits that apply to a guest. factor widens them.
func (r *rates) keys(what uint64, l *Limits, a netip.Addr, helo string, factor int) [3]one {
	out := [3]one{
		{r.h.addr(what, a), "address", l.Address.times(factor)},
		{r.h.network(what, a), "network", l.Network.times(factor)},
	}
	if helo != "" && factor == 1 && l.Helo != (Rate{}) {
		out[2] = one{r.h.text(what, helo), "HELO domain", l.Helo}
	}
	return out
}

func (r Rate) times(n int) Rate { return Rate{Minute: r.Minute * n, Hour: r.Hour * n} }

// take counts one event against every limit of a guest. If one is used up the
// event is not to happen, and is counted only against those before it.
func (r *rates) take(keys *[3]one, now time.Time) (over, bool) {
	for i := range keys {
		if o, full := r.each(&keys[i], now, true); full {
			return o, true
		}
	}
	return over{}, false
}

// ask is take, or peek.
func (r *rates) ask(keys *[3]one, now time.Time, peek bool) (over, bool) {
	if peek {
		return r.peek(keys, now)
	}
	return r.take(keys, now)
}

// count counts an event that has happened; beyond the limit it makes no
// difference.
func (r *rates) count(keys *[3]one, now time.Time) {
	for i := range keys {
		r.each(&keys[i], now, true)
	}
}

// peek looks whether one event more would be too many, and counts nothing.
func (r *rates) peek(keys *[3]one, now time.Time) (over, bool) {
	for i := range keys {
		if o, full := r.each(&keys[i], now, false); full {
			return o, true
		}
	}
	return over{}, false
}

func (r *rates) each(k *one, now time.Time, take bool) (over, bool) {
	if n := k.rate.Minute; n > 0 {
		if wait := r.gcra(k.key, n, time.Minute, now, take); wait > 0 {
			return over{k.by, strconv.Itoa(n) + " a minute", wait}, true
		}
	}
	if n := k.rate.Hour; n > 0 {
		if wait := r.gcra(k.key^hourSalt, n, time.Hour, now, take); wait > 0 {
			return over{k.by, strconv.Itoa(n) + " an hour", wait}, true
		}
	}
	return over{}, false
}

// gcra returns 0 if one of n events a period may happen now, else how long
// until then.
func (r *rates) gcra(key uint64, n int, period time.Duration, now time.Time, take bool) (wait time.Duration) {
	at, step := now.UnixNano(), int64(period)/int64(n)
	next := func(tat int64) int64 { return max(tat, at) + step }
	late := func(tat int64) time.Duration { return time.Duration(next(tat) - at - int64(period)) }
	if !take {
		return max(0, late(r.table.peek(nonzero(key), at)))
	}
	r.table.update(nonzero(key), at, func(tat int64) int64 {
		if wait = max(0, late(tat)); wait > 0 {
			return tat
		}
		return next(tat)
	})
	return wait
}

// tally counts events in a window that begins with the first of them: refused
// sessions, wrong passwords.
type tally struct {
	table  *slots
	window time.Duration
}

// tallyBits is how many low bits of a number are the count; the others are the
// second in which the window began.
const tallyBits = 16

func (t *tally) floor(now time.Time) int64 {
	return (now.Unix()-int64(t.window/time.Second))<<tallyBits | (1<<tallyBits - 1)
}

// add counts one and returns how many there are now.
func (t *tally) add(key uint64, now time.Time) (n int) {
	t.table.update(key, t.floor(now), func(old int64) int64 {
		if old == 0 {
			old = now.Unix() << tallyBits
		}
		if n = int(old & (1<<tallyBits - 1)); n < 1<<tallyBits-1 {
			old, n = old+1, n+1
		}
		return old
	})
	return n
}

func (t *tally) get(key uint64, now time.Time) int {
	return int(t.table.peek(key, t.floor(now)) & (1<<tallyBits - 1))
}

func (t *tally) forget(key uint64) { t.table.update(key, 0, func(int64) int64 { return 0 }) }

// presence counts the strangers that are here now. A count that has not
// changed for as long as nobody may stay is forgotten: it cannot be right.
type presence struct {
	table *slots
	stay  time.Duration
}

func (p *presence) floor(now time.Time) int64 {
	return (now.Unix()-int64(p.stay/time.Second))<<tallyBits | (1<<tallyBits - 1)
}

func (p *presence) change(key uint64, now time.Time, by int64) {
	p.table.update(key, p.floor(now), func(old int64) int64 {
		n := old&(1<<tallyBits-1) + by
		if n <= 0 {
			return 0
		}
		return now.Unix()<<tallyBits | min(n, 1<<tallyBits-1)
	})
}

func (p *presence) get(key uint64, now time.Time) int {
	return int(p.table.peek(key, p.floor(now)) & (1<<tallyBits - 1))
}
