package relay

import (
	"sync"
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

const (
	// rememberedMax is how many recipients are remembered: some 10 MB, and
	// more than a harvester tries in the time that they are.
	rememberedMax = 50_000
	// rememberedTextMax is what is kept of a refusal's text, in octets.
	rememberedTextMax = 200
)

// verifier remembers what the inner server said about recipients.
type verifier struct {
	mu    sync.Mutex
	known map[message.Address]finding
	order []message.Address // a ring: the oldest is at next once it is full
	next  int
}

type finding struct {
	refusal smtp.Reply // the zero Reply: accepted
	until   time.Time
}

// about reports whether a refusal is about the recipient's address and nothing
// else: the inner server may as well have a reason that lies in the client or
// in the sender, and then the next one's mail is welcome. RFC 3463 §3.2, §3.3.
func about(r *smtp.Reply) bool {
	switch r.Enhanced {
	case "5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1":
		return true
	}
	return false
}

// refused returns the refusal that is remembered of a recipient.
func (v *verifier) refused(to message.Address, now time.Time) *smtp.Reply {
	v.mu.Lock()
	defer v.mu.Unlock()
	f, ok := v.known[to]
	if !ok || f.refusal.Code == 0 || !now.Before(f.until) {
		return nil
	}
	return &f.refusal
}

// known reports whether a recipient exists, as far as that is remembered.
func (v *verifier) knows(to message.Address, now time.Time) (exists, sure bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	f, ok := v.known[to]
	if !ok || !now.Before(f.until) {
		return false, false
	}
	return f.refusal.Code == 0, true
}

// note remembers an answer to RCPT for a time that ends at until.
func (v *verifier) note(to message.Address, r *smtp.Reply, until time.Time) {
	f := finding{until: until}
	if r != nil {
		f.refusal = *r
		f.refusal.Text = f.refusal.Text[:min(len(f.refusal.Text), rememberedTextMax)]
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.known == nil {
		v.known = make(map[message.Address]finding)
	}
	if _, ok := v.known[to]; !ok {
		if len(v.order) < rememberedMax {
			v.order = append(v.order, to)
		} else {
			delete(v.known, v.order[v.next])
			v.order[v.next] = to
			v.next = (v.next + 1) % rememberedMax
		}
	}
	v.known[to] = f
}
