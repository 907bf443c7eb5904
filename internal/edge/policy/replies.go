package policy

import (
	"sort"
	"strings"
	"time"

	"github.com/breakwater-mail/breakwater/internal/edge/dnsbl"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

const (
	// replyTextMax is how much of a list's text goes into a reply, in octets:
	// some lists send whole pages.
	replyTextMax = 200
	// blamesMax is how many faults a reply names: the heaviest ones are enough
	// to begin mending with.
	blamesMax = 3
)

// refusal is a 554 about the client; what begins with a verb. Its text depends
// on nothing but the address and the reasons, so that the lobby can keep one
// text for all guests of a wave.
func (t *trial) refusal(what string) *smtp.Reply {
	var b strings.Builder
	b.WriteString("Service unavailable; client [")
	b.WriteString(t.addr.String())
	b.WriteString("] ")
	b.WriteString(what)
	if url := t.r.URL; url != "" && !strings.Contains(what, "; see ") {
		b.WriteString("; see ")
		b.WriteString(strings.ReplaceAll(url, "{ip}", t.addr.String()))
	}
	return &smtp.Reply{Code: 554, Enhanced: "5.7.1", Text: b.String()}
}

// blamed is the refusal of a guest whose score is too high: the list that
// lists it and where to read on, or else what it did wrong.
func (t *trial) blamed() *smtp.Reply {
	for i := range t.blames {
		if t.blames[i].list {
			return t.refusal(t.listed())
		}
	}
	sort.SliceStable(t.blames, func(i, j int) bool { return t.blames[i].weight > t.blames[j].weight })
	said := make([]string, 0, blamesMax)
	for i := range t.blames[:min(len(t.blames), blamesMax)] {
		said = append(said, t.blames[i].say)
	}
	return t.refusal("behaves as spam programs do: " + strings.Join(said, "; ") +
		". If it is a mail server, please have its software or configuration mended")
}

func (t *trial) listed() string {
	var zone, text, url string
	if t.p.parts.Lists != nil {
		zone, text, url = t.p.parts.Lists.Reason(t.blamedLists(), t.addr)
	}
	if zone == "" {
		zone = "a DNSBL"
	}
	what := "is listed by " + zone
	if text = oneLine(text, replyTextMax); text != "" {
		what += " (" + text + ")"
	}
	if url != "" && !strings.Contains(text, url) {
		what += "; see " + oneLine(url, replyTextMax)
	}
	return what
}

// blamedLists is the score without the lists that weighed nothing against the
// guest: those that praise it, were silent, or are in shadow.
func (t *trial) blamedLists() dnsbl.Score {
	s := t.g.Score
	for i, l := range t.r.lists {
		if l.Weight <= 0 || !heard(s, i) || t.r.inShadow(t.r.listNames[i]) {
			s.Hits &^= 1 << i
		}
	}
	return s
}

// oneLine makes text of strangers fit into a reply.
func oneLine(s string, max int) string {
	if len(s) > max {
		s = s[:max]
	}
	clean := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return ' '
		}
		return r
	}, s)
	return strings.TrimSpace(clean)
}

// greylisted asks the guest to come back.
func (t *trial) greylisted(left time.Duration) *smtp.Reply {
	why := "something about it is doubtful"
	if len(t.blames) > 0 {
		if w := t.worst(); w.list {
			why = t.listed()
		} else {
			why = w.say
		}
	}
	return &smtp.Reply{Code: 451, Enhanced: "4.7.1", Text: "Greylisted: client [" + t.addr.String() + "] is new here, and " +
		why + "; try again in " + inWords(left)}
}

// slower asks a sender to slow down.
func slower(o over, what string) *smtp.Reply {
	return &smtp.Reply{Code: 450, Enhanced: "4.7.1", Text: "Too many " + what + " from your " + o.by + " (at most " + o.rate +
		"); try again in " + inWords(o.after)}
}

// round leaves the seconds, or the minutes of what is long.
func round(d time.Duration) time.Duration {
	if d >= 10*time.Minute {
		return d.Round(time.Minute)
	}
	return d.Round(time.Second)
}

// inWords says a time to wait, never too short.
func inWords(d time.Duration) string {
	if d > 2*time.Minute {
		return plural(int((d+time.Minute-1)/time.Minute), "minute")
	}
	return plural(max(1, int((d+time.Second-1)/time.Second)), "second")
}
