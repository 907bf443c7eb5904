package lobby

import (
	"strings"

	"github.com/breakwater-mail/breakwater/internal/edge/policy"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

// ruling is what guests were refused with. Those of one wave differ only in
// the address that their texts name, so the address is taken out of the text
// and one ruling serves them all.
type ruling struct {
	reply smtp.Reply // "\x00" in its text stands for the address
	by    string
	kind  policy.Kind
	score int
	uses  int
}

// rulingPrice is what a ruling costs besides its text, in octets: the struct,
// and its place in the map.
const rulingPrice = 192

// rulingKey tells rulings apart.
type rulingKey struct {
	text, enhanced, by string
	code, score        int
	kind               policy.Kind
}

func (r *ruling) key() rulingKey {
	return rulingKey{r.reply.Text, string(r.reply.Enhanced), r.by, r.reply.Code, r.score, r.kind}
}

func (r *ruling) price() int64 { return rulingPrice + int64(len(r.reply.Text)) }

// replyTo is the reply for one guest.
func (r *ruling) replyTo(g *guest) *smtp.Reply {
	reply := r.reply
	reply.Text = strings.ReplaceAll(reply.Text, "\x00", g.ip().String())
	return &reply
}

// rule gives a guest the ruling of a verdict, in place of what it had. If
// there is no room for another one it keeps what it had.
func (h *hall) rule(slot uint32, g *guest, v *policy.Verdict) {
	r := &ruling{reply: *v.Reply, by: v.By, kind: v.Kind, score: v.Score}
	if !strings.Contains(r.reply.Text, "\x00") {
		r.reply.Text = strings.ReplaceAll(r.reply.Text, g.ip().String(), "\x00")
	}
	known, ok := h.rulings[r.key()]
	switch {
	case ok:
		r = known
	case !h.pay(slot, r.price()):
		return
	default:
		h.rulings[r.key()] = r
	}
	r.uses++
	h.unrule(g)
	g.ruling = r
}

// unrule takes a guest's ruling away.
func (h *hall) unrule(g *guest) {
	r := g.ruling
	if r == nil {
		return
	}
	g.ruling = nil
	if r.uses--; r.uses == 0 {
		delete(h.rulings, r.key())
		h.pool.price.Add(-r.price())
	}
}
