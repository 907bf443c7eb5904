package lobby

import (
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/edge/dnsbl"
	"github.com/breakwater-mail/breakwater/internal/edge/policy"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

// fakeGate judges by what stands in addresses and names. The third octet of an
// IPv4 address says how a guest is received and scored, the local part of a
// recipient what is decided about it.
type fakeGate struct {
	late func(done func()) // runs what brings a score; nil: scores are ready at once
	wait time.Duration

	mu      sync.Mutex
	level   policy.Level
	entered map[string]int // guests that were let wait and neither left nor passed, by address
	left    []policy.Guest
	asked   []string // recipients that were judged
	load    [2]float64
}

// The third octets.
const (
	octetGood    = 0
	octetListed  = 1
	octetKnown   = 2
	octetBanned  = 3
	octetBusy    = 4
	octetWelcome = 5
)

func newFakeGate() *fakeGate { return &fakeGate{entered: map[string]int{}} }

func third(a netip.Addr) byte {
	if a.Is4() {
		return a.As4()[2]
	}
	return octetGood
}

func (f *fakeGate) Arrive(a netip.Addr, _ time.Time) policy.Entry {
	switch third(a) {
	case octetKnown:
		return policy.Entry{Kind: policy.EntryAdmit, Known: true}
	case octetBanned:
		return policy.Entry{Kind: policy.EntryRefuse}
	case octetBusy:
		return policy.Entry{Kind: policy.EntryRefuse, Reply: &smtp.Reply{Code: 421, Enhanced: "4.7.0", Text: "Too many from you"}}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.entered[a.String()]++
	return policy.Entry{Kind: policy.EntryWait, Wait: f.wait}
}

func (f *fakeGate) Score(a netip.Addr, done func(dnsbl.Score)) (dnsbl.Score, bool) {
	s := dnsbl.Score{Asked: 2}
	switch third(a) {
	case octetListed:
		s.Weight, s.Hits = 3, 1
	case octetWelcome:
		s.Weight = -3
	}
	if f.late == nil {
		return s, true
	}
	f.late(func() { done(s) })
	return dnsbl.Score{}, false
}

func (f *fakeGate) Decide(g *policy.Guest) policy.Verdict {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, g.To.String())
	switch {
	case g.Score.Weight >= 3 && g.HasTo:
		return policy.Verdict{Kind: policy.Refuse, By: "dnsbl", Score: 3, Reply: &smtp.Reply{
			Code: 550, Enhanced: "5.7.1", Text: g.Addr.String() + " is listed by bl.demo.test, see https://bl.demo.test/" + g.Addr.String(),
		}}
	case g.To.Local == "grey":
		return policy.Verdict{Kind: policy.Defer, By: "greylist", Reply: &smtp.Reply{Code: 451, Enhanced: "4.7.1", Text: "Come again"}}
	case g.Faults&policy.EarlyTalk != 0 && g.HasTo:
		return policy.Verdict{Kind: policy.Refuse, By: "early", Reply: &smtp.Reply{Code: 554, Enhanced: "5.7.1", Text: "Talked early"}}
	case !g.HasTo && g.Helo == "notls.example":
		return policy.Verdict{Kind: policy.Refuse}
	}
	return policy.Verdict{Kind: policy.Pass, By: "none"}
}

func (f *fakeGate) Left(g *policy.Guest) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gone(g)
	f.left = append(f.left, *g)
}

// passed notes a hand-over.
func (f *fakeGate) passed(o *Handover) {
	if !o.Fresh {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.gone(&o.Guest)
	}
}

// gone is called with mu held.
func (f *fakeGate) gone(g *policy.Guest) {
	if f.entered[g.Addr.String()]--; f.entered[g.Addr.String()] < 0 {
		panic("a guest leaves that did not enter, or leaves twice: " + g.Addr.String())
	}
}

func (f *fakeGate) Level() policy.Level {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.level
}

func (f *fakeGate) SetLoad(guests, budget float64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.load = [2]float64{guests, budget}
}

func (f *fakeGate) Welcome(s dnsbl.Score) bool { return s.Weight < 0 }

// inside counts the guests that neither left nor passed.
func (f *fakeGate) inside() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.entered {
		n += c
	}
	return n
}

// lastLeft is the guest that left last.
func (f *fakeGate) lastLeft(t *testing.T) policy.Guest {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.left) == 0 {
		t.Fatal("nobody has left")
	}
	return f.left[len(f.left)-1]
}
