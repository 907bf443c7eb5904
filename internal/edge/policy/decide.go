package policy

import (
	"net/netip"
	"strconv"
	"time"

	"github.com/breakwater-mail/breakwater/internal/edge/dnsbl"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

// nothing is the Detail of a check that found nothing.
const nothing = "nothing"

// trial is one judgement under way.
type trial struct {
	p       *Policy
	r       *rules
	g       *Guest
	now     time.Time
	addr    netip.Addr
	peek    bool // change nothing
	all     bool // go on after the decision, for the evidence
	decided bool
	known   string // why it is no stranger
	v       Verdict
	blames  []blame
	watched []watched
}

// blame is a reason for a refusal, in words for the client.
type blame struct {
	evidence, weight int
	say              string
	list             bool
}

// watched is what a check in shadow would have done.
type watched struct {
	check  string
	weight int
	kind   Kind // Refuse, Defer: it would have decided by itself
}

// Decide judges a guest by all that is known by now, at its first recipient or
// at its STARTTLS. A guest that passes without a recipient is to be judged
// again when it names one, and so is one that was admitted at its arrival: it
// may have been listed since it passed first. Decide does not block.
func (p *Policy) Decide(g *Guest) Verdict {
	t := p.judge(g, false)
	v := &t.v
	if g.Refused { // it was counted then
		return *v
	}
	if v.Kind == Pass {
		p.pass(g, t)
	}
	p.shadow.judged(t)
	p.metrics.judged(v)
	p.top.judged(networkKey(t.addr), v, t.now)
	p.history.verdict(g, v, p.load.get(), t.now)
	return *v
}

// pass notes that a guest leaves the lobby for a session.
func (p *Policy) pass(g *Guest, t *trial) {
	if p.passed.put(p.hash.text(0, g.ID), p.shadow.mask(t)) && !g.Known {
		p.rise(t.addr, t.now)
	}
}

func (p *Policy) judge(g *Guest, peek bool) *trial {
	t := &trial{p: p, r: p.rules.Load(), g: g, now: g.Now, addr: g.Addr.Unmap(), peek: peek, all: peek}
	if t.now.IsZero() {
		t.now = p.clock()
	}
	t.remember()
	t.v.Evidence = make([]Evidence, 0, 20)
	for _, check := range [...]func(*trial){
		(*trial).allow, (*trial).deny, (*trial).acquainted, (*trial).behaviour, (*trial).helo, (*trial).harvest,
		(*trial).lists, (*trial).score, (*trial).rate, (*trial).greylist,
	} {
		if check(t); t.decided && !t.all {
			break
		}
	}
	if !t.decided { // not one objected
		t.decide(Pass, t.find(CheckScore), nil)
	}
	if t.v.Kind == Pass && t.v.Headers == "" {
		t.held()
	}
	return t
}

// Held returns the header fields of a message of a session that has passed: who
// was greylisted may bring several messages that were held.
func (p *Policy) Held(g *Guest) string {
	t := &trial{p: p, g: g, now: g.Now}
	t.held()
	return t.v.Headers
}

// held finds out whether this message was held before its sender became known:
// it says so in its header, and the greylist learns that it came back.
func (t *trial) held() {
	g := t.p.parts.Greylist
	if g == nil || !t.g.HasFrom || !t.g.HasTo {
		return
	}
	w := g.Peek(t.sender(), t.g.To, t.now)
	if !w.Pass || w.Waited <= 0 {
		return
	}
	if !t.peek {
		w = g.Check(t.sender(), t.g.To, t.now)
	}
	t.v.Headers = w.Header
}

// remember scores a guest that was let in without asking the lists, as far as
// they need not be asked: one that was good may have been listed since. The
// answers will be there for its next session.
func (t *trial) remember() {
	if t.g.Scored || !t.g.Known || t.peek || t.p.parts.Lists == nil {
		return
	}
	if s, ready := t.p.parts.Lists.Check(t.addr, func(dnsbl.Score) {}); ready {
		g := *t.g
		g.Score, g.Scored = s, true
		t.g = &g
	}
}

// see keeps what a check saw and returns its place in the evidence.
func (t *trial) see(check, detail string) int {
	t.v.Evidence = append(t.v.Evidence, Evidence{Check: check, Detail: detail})
	return len(t.v.Evidence) - 1
}

func (t *trial) find(check string) int {
	for i := range t.v.Evidence {
		if t.v.Evidence[i].Check == check {
			return i
		}
	}
	return t.see(check, nothing)
}

// weigh keeps what a check saw and adds its weight to the score, unless it is
// in shadow.
func (t *trial) weigh(check, detail string, weight int, say string, shadow bool) {
	i := t.see(check, detail)
	e := &t.v.Evidence[i]
	e.Weight, e.Shadow = weight, shadow
	if shadow {
		t.watched = append(t.watched, watched{check: check, weight: weight})
		return
	}
	t.v.Score += weight
	if weight > 0 {
		t.blames = append(t.blames, blame{evidence: i, weight: weight, say: say})
	}
}

// decide ends the trial by the evidence i, unless it has ended before, or the
// check is in shadow.
func (t *trial) decide(k Kind, i int, reply *smtp.Reply) {
	e := &t.v.Evidence[i]
	if k != Pass && t.r.inShadow(e.Check) {
		e.Shadow = true
		t.watched = append(t.watched, watched{check: e.Check, kind: k})
		return
	}
	if t.decided {
		return
	}
	t.decided, e.Decided = true, true
	t.v.Kind, t.v.Reply, t.v.By = k, reply, e.Check
}

func (r *rules) inShadow(check string) bool {
	if len(r.shadow) == 0 {
		return false
	}
	return r.shadow[check] || isList(check) && r.shadow[CheckLists]
}

func isList(check string) bool {
	return len(check) > len(CheckLists) && check[:len(CheckLists)+1] == CheckLists+":"
}

func (t *trial) allow() {
	if net, ok := t.r.allow.find(t.addr); ok {
		t.decide(Pass, t.see(CheckAllow, "in "+net), nil)
		return
	}
	t.see(CheckAllow, nothing)
}

func (t *trial) deny() {
	net, ok := t.r.deny.find(t.addr)
	if !ok {
		t.see(CheckDeny, nothing)
		return
	}
	t.decide(Refuse, t.see(CheckDeny, "in "+net), t.refusal("is not welcome here, by decision of the operator"))
}

// acquainted finds out whether the guest is of a pool that has passed before.
func (t *trial) acquainted() {
	switch {
	case t.g.Known:
		t.known = "known when it arrived"
	case !t.g.HasFrom || t.p.parts.Greylist == nil:
	case t.p.parts.Greylist.Known(t.sender(), t.now):
		t.known = whyKnown
	}
	if t.known == "" {
		t.see(CheckKnown, nothing)
		return
	}
	t.see(CheckKnown, t.known)
}

// sender is who the message comes from, as far as that is known.
func (t *trial) sender() Sender { return t.p.sender(t.g) }

func (p *Policy) sender(g *Guest) Sender {
	a := g.Addr.Unmap()
	return Sender{Addr: a, Helo: g.Helo, Domain: g.From.Domain, Pool: p.pools.pool(g.From.Domain, a)}
}

func (t *trial) behaviour() {
	all := faults()
	for i := range all {
		f := &all[i]
		w := f.weight(&t.r.Weights)
		switch {
		case t.g.Faults&f.bit == 0:
			t.see(f.check, nothing)
		case w == 0:
			t.see(f.check, f.detail)
		default:
			t.weigh(f.check, f.detail, w, f.say, t.r.inShadow(f.check))
		}
	}
}

func (t *trial) helo() {
	if t.g.Helo == "" {
		t.see(CheckHelo, "none yet")
		return
	}
	check, w, detail, say := heloCheck(judgeHelo(t.g.Helo, t.addr, &t.r.own), &t.r.Weights)
	switch {
	case check == CheckHelo:
		t.see(check, nothing)
	case w == 0:
		t.see(check, detail)
	default:
		t.weigh(check, detail, w, say, t.r.inShadow(check))
	}
}

// harvest looks whether the guest's address or network has asked for too many
// recipients that do not exist.
func (t *trial) harvest() {
	keys := t.p.rates.keys(rateUnknown, &t.r.Rates.Unknown, t.addr, "", t.factor())
	o, full := t.p.rates.peek(&keys, t.now)
	switch {
	case !full:
		t.see(CheckHarvest, nothing)
	case t.r.Weights.Harvest == 0:
		t.see(CheckHarvest, "too many unknown recipients of its "+o.by)
	default:
		t.weigh(CheckHarvest, "more than "+o.rate+" unknown recipients of its "+o.by, t.r.Weights.Harvest,
			"its "+o.by+" has asked for too many recipients that do not exist", t.r.inShadow(CheckHarvest))
	}
}

func (t *trial) factor() int {
	if t.known != "" {
		return t.r.KnownFactor
	}
	return 1
}

// lists weighs what the lists have said. Those that were silent weigh nothing.
func (t *trial) lists() {
	s := t.g.Score
	switch {
	case !t.g.Scored:
		t.see(CheckLists, "not answered yet")
	case s.Hits&^s.Silent == 0 && s.Silent == 0:
		t.see(CheckLists, nothing)
	case len(t.r.lists) == 0: // lists without names
		t.list(CheckLists, int(s.Weight))
	}
	if !t.g.Scored {
		return
	}
	for i := range t.r.lists {
		switch {
		case heard(s, i):
			t.list(t.r.listNames[i], t.r.lists[i].Weight)
		case s.Silent>>i&1 != 0:
			t.see(t.r.listNames[i], "no usable answer")
		}
	}
}

func (t *trial) list(check string, weight int) {
	before := len(t.blames)
	t.weigh(check, "lists it", weight, "", t.r.inShadow(check))
	for i := before; i < len(t.blames); i++ {
		t.blames[i].list = true
	}
}

// score refuses by the sum of all weights.
func (t *trial) score() {
	i := t.see(CheckScore, t.r.scoreDetail(t.v.Score))
	if t.v.Score < t.r.Scores.Refuse || len(t.blames) == 0 {
		return
	}
	if t.r.inShadow(CheckScore) {
		t.decide(Refuse, i, nil)
		return
	}
	worst := t.worst()
	t.decide(Refuse, worst.evidence, t.blamed())
}

func (r *rules) scoreDetail(n int) string {
	return strconv.Itoa(n) + r.thresholds
}

// worst is the heaviest blame; of equals the first.
func (t *trial) worst() *blame {
	w := &t.blames[0]
	for i := range t.blames {
		if t.blames[i].weight > w.weight {
			w = &t.blames[i]
		}
	}
	return w
}

// rate looks whether the guest would meet a limit as soon as it had passed: the
// session counts, here it is only looked.
func (t *trial) rate() {
	if !t.g.HasTo {
		t.see(CheckRate, "no recipient yet")
		return
	}
	o, what := t.p.limited(t.r, t.g, t.addr, t.now, t.factor(), true)
	if what == "" {
		t.see(CheckRate, nothing)
		return
	}
	t.decide(Defer, t.see(CheckRate, "more than "+o.rate+" "+what+" of its "+o.by), slower(o, what))
}

// greylist defers a stranger whose score is middling, until it has come back.
func (t *trial) greylist() {
	g := t.p.parts.Greylist
	switch {
	case t.v.Score < t.r.Scores.Suspect || t.v.Score >= t.r.Scores.Refuse:
		t.see(CheckGreylist, "not asked: the score is not middling")
	case t.known != "":
		t.see(CheckGreylist, "not asked: "+t.known)
	case !t.g.HasFrom || !t.g.HasTo:
		t.see(CheckGreylist, "not asked: no recipient yet")
	case g == nil:
		t.see(CheckGreylist, "switched off")
	default:
		t.wait(g)
	}
}

func (t *trial) wait(g Acquaintance) {
	s := t.sender()
	ask := g.Check
	if t.peek || t.r.inShadow(CheckGreylist) {
		ask = g.Peek
	}
	w := ask(s, t.g.To, t.now)
	if w.Pass {
		detail := "passes without a wait"
		if w.Waited > 0 {
			detail = "came back after " + round(w.Waited).String()
		}
		t.v.Headers = w.Header
		t.decide(Pass, t.see(CheckGreylist, detail), nil)
		return
	}
	left := max(time.Second, w.Retry.Sub(t.now))
	i := t.see(CheckGreylist, "attempt "+strconv.Itoa(w.Attempts)+", passes in "+round(left).String())
	t.decide(Defer, i, t.greylisted(left))
	if !t.peek && s.Pool == "" {
		t.p.pools.ask(s, t.g.To, t.now)
	}
}
