package dnsbl

import (
	"context"
	"math/bits"
	"net/netip"
	"strings"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
)

const (
	// textsMax is how many texts of lists are remembered: they are wanted
	// within seconds of the check.
	textsMax = 4096
	// textOctetsMax of a list's text go into a reply, whose line has 512
	// (RFC 5321 §4.5.3.1.5).
	textOctetsMax = 200
	// textTTL is how long a text is remembered.
	textTTL = time.Hour
)

// texts are what lists say of addresses, the oldest giving way.
type texts struct {
	known map[textKey]text
	order []textKey
	hand  int
}

type textKey struct {
	addr netip.Addr
	zone int
}

type text struct {
	text  string // "" as long as it is asked for, and if there is none
	until time.Time
}

func (s *texts) get(k textKey, now time.Time) (string, bool) {
	t, ok := s.known[k]
	return t.text, ok && now.Before(t.until)
}

// put remembers a text; only one that was begun is completed.
func (s *texts) put(k textKey, t text) {
	if s.known == nil {
		s.known = make(map[textKey]text)
	}
	if _, ok := s.known[k]; !ok {
		if len(s.order) < textsMax {
			s.order = append(s.order, k)
		} else {
			delete(s.known, s.order[s.hand])
			s.order[s.hand] = k
			s.hand = (s.hand + 1) % textsMax
		}
	}
	s.known[k] = t
}

// heaviest gives the list whose hit weighs most towards a refusal, -1 if none
// does.
func (c *Checker) heaviest(hits uint32) int {
	best := -1
	for h := hits; h != 0; h &= h - 1 {
		i := bits.TrailingZeros32(h)
		if w := c.lists[i].Weight; w > 0 && (best < 0 || w > c.lists[best].Weight) {
			best = i
		}
	}
	return best
}

// prefetch asks for the text of the list that a refusal would name, so that it
// is there when it is wanted; the checker is locked. Texts and links of the
// configuration make that needless.
func (c *Checker) prefetch(k *check, now time.Time, t *todo) {
	if i := c.heaviest(k.score.Hits); i >= 0 {
		c.wantText(i, k.addr, now, t)
	}
}

func (c *Checker) wantText(list int, a netip.Addr, now time.Time, t *todo) {
	if l := &c.lists[list]; l.Text != "" || l.URL != "" {
		return
	}
	z := c.zoneOf(list)
	key := textKey{a, z.index}
	if _, ok := c.texts.get(key, now); ok {
		return
	}
	c.texts.put(key, text{until: now.Add(c.o.Timeout)})
	q := question(a, z.name)
	q.Type = dns.TXT
	t.asks = append(t.asks, ask{q, func(answer dns.Answer) {
		now := c.o.Clock.Now()
		c.mu.Lock()
		defer c.mu.Unlock()
		if !answer.Failed() {
			c.texts.put(key, text{harmless(answer.Texts), now.Add(textTTL)})
		}
	}})
}

func (c *Checker) zoneOf(list int) *zone {
	for _, z := range c.zones {
		if z.lists>>list&1 != 0 {
			return z
		}
	}
	return nil // no list is without
}

// harmless makes one line of printable ASCII of what a list says.
func harmless(texts []string) string {
	var b strings.Builder
	for _, r := range []byte(strings.Join(texts, " ")) {
		if b.Len() == textOctetsMax {
			break
		}
		if r < ' ' || r > '~' {
			r = '?'
		}
		b.WriteByte(r)
	}
	return strings.TrimSpace(b.String())
}

// Reason returns what to tell one who is refused for a score: the zone of the
// heaviest hit, what it says of the address (which is "" as long as it is not
// known; Reason does not wait), and where to read more.
func (c *Checker) Reason(s Score, a netip.Addr) (zone, text, url string) {
	a = plain(a)
	i := c.heaviest(s.Hits)
	if i < 0 || i >= len(c.lists) {
		return "", "", ""
	}
	l := &c.lists[i]
	if l.Text != "" || l.URL != "" {
		return l.Zone, expand(l.Text, a), expand(l.URL, a)
	}
	var t todo
	now := c.o.Clock.Now()
	c.mu.Lock()
	text, _ = c.texts.get(textKey{a, c.zoneOf(i).index}, now)
	c.wantText(i, a, now, &t)
	c.mu.Unlock()
	c.do(&t)
	return l.Zone, text, link(text)
}

// link finds the address of a page in a text.
func link(text string) string {
	for word := range strings.FieldsSeq(text) {
		if i := strings.Index(word, "https://"); i >= 0 {
			return word[i:]
		}
		if i := strings.Index(word, "http://"); i >= 0 {
			return word[i:]
		}
	}
	return ""
}

// Findings asks each list about an address and waits for the answers, for at
// most Options.Timeout. It changes nothing.
func (c *Checker) Findings(ctx context.Context, a netip.Addr) []Finding {
	a = plain(a)
	if !a.IsValid() {
		return nil
	}
	type answer struct {
		zone int
		dns.Answer
	}
	arrived := make(chan answer, len(c.zones))
	for _, z := range c.zones {
		c.asker.Ask(question(a, z.name), func(got dns.Answer) { arrived <- answer{z.index, got} })
	}
	got := make([]dns.Answer, len(c.zones))
	for i := range got {
		got[i].Err = dns.ErrTimeout
	}
	end := c.o.Clock.After(c.o.Timeout)
	for range c.zones {
		select {
		case x := <-arrived:
			got[x.zone] = x.Answer
			continue
		case <-end:
		case <-ctx.Done():
		}
		break
	}
	out := make([]Finding, len(c.lists))
	for _, z := range c.zones {
		c.find(z, a, &got[z.index], out)
	}
	return out
}

// find makes the findings of a zone's lists of its answer.
func (c *Checker) find(z *zone, a netip.Addr, answer *dns.Answer, out []Finding) {
	now := c.o.Clock.Now()
	v, hits, why := z.judge(c.lists, answer)
	c.mu.Lock()
	state, stateWhy := z.state, z.why
	_, remembered := c.cache.get(c.cache.key(a, z.index, z.epoch), now)
	c.mu.Unlock()
	for i := range c.lists {
		if z.lists>>i&1 == 0 {
			continue
		}
		f := Finding{
			Zone: z.name, Question: question(a, z.name).Name, Answer: answerText(answer), Weight: c.lists[i].Weight,
			Cached: remembered && state == OK, Took: answer.Took, Listed: hits>>i&1 != 0,
		}
		switch {
		case state != OK:
			f.Ignored, f.Listed = "the list is "+state+": "+stateWhy, false
		case v == listed && !f.Listed:
			f.Ignored = "such an answer does not count"
		case v != listed:
			f.Ignored = why
		}
		out[i] = f
	}
}
