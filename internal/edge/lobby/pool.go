package lobby

import "sync/atomic"

// pool is what all halls of a lobby share: places and octets.
type pool struct {
	strangers int64 // bound of guests
	budget    int64 // bound of price
	tlsGuests int64 // bound of tls

	guests   atomic.Int64
	price    atomic.Int64
	sessions atomic.Int64 // handed over and not ended
	tls      atomic.Int64 // of these, for STARTTLS
}

// take adds n to what is used, unless that would exceed the bound.
func take(used *atomic.Int64, n, bound int64) bool {
	for {
		u := used.Load()
		if u+n > bound {
			return false
		}
		if used.CompareAndSwap(u, u+n) {
			return true
		}
	}
}

// enter takes a place and the price of a slot.
func (p *pool) enter() bool {
	if !take(&p.guests, 1, p.strangers) {
		return false
	}
	if !take(&p.price, guestPrice, p.budget) {
		p.guests.Add(-1)
		return false
	}
	return true
}

func (p *pool) leave() {
	p.guests.Add(-1)
	p.price.Add(-guestPrice)
}

// passed counts a session; the function that it returns ends the count.
func (p *pool) passed(tls bool) func() {
	p.sessions.Add(1)
	var over atomic.Bool
	return func() {
		if !over.CompareAndSwap(false, true) {
			return
		}
		p.sessions.Add(-1)
		if tls {
			p.tls.Add(-1)
		}
	}
}

// load says which parts of the bounds are used.
func (p *pool) load() (guests, budget float64) {
	return float64(p.guests.Load()) / float64(p.strangers), float64(p.price.Load()) / float64(p.budget)
}
