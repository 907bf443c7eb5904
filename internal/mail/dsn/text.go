package dsn

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// text is what people read: for each group of recipients with one fate a
// sentence of what happened, the remote's own words, and what can be done.
func (r *Report) text(o *original) string {
	w := &textWriter{}
	for _, g := range r.groups() {
		w.group(r, o, g)
	}
	w.paragraph("", "This is a message from the mail host "+string(r.Hostname)+". What follows is for programs, and what is left of your message; nobody reads an answer.")
	return w.b.String()
}

// groups are the recipients that came to the same end, in order.
func (r *Report) groups() [][]Recipient {
	type fate struct {
		action                        Action
		status, remote, reply, reason string
		until                         time.Time
	}
	var out [][]Recipient
	at := map[fate]int{}
	for _, rc := range r.Recipients {
		f := fate{rc.Action, string(rc.status()), rc.RemoteMTA, rc.Reply, rc.Reason, rc.RetryUntil}
		i, ok := at[f]
		if !ok {
			i = len(out)
			at[f] = i
			out = append(out, nil)
		}
		out[i] = append(out[i], rc)
	}
	return out
}

type textWriter struct{ b strings.Builder }

// paragraph writes words in lines, each with an indent.
func (w *textWriter) paragraph(indent, s string) {
	width := 0
	for word := range strings.FieldsSeq(s) {
		n := utf8.RuneCountInString(word)
		switch {
		case width == 0:
			w.b.WriteString(indent)
			width = len(indent)
		case width+1+n > textWidthMax:
			w.b.WriteString("\n" + indent)
			width = len(indent)
		default:
			w.b.WriteByte(' ')
			width++
		}
		w.b.WriteString(word)
		width += n
	}
	w.b.WriteByte('\n')
}

func (w *textWriter) group(r *Report, o *original, g []Recipient) {
	first := &g[0]
	w.paragraph("", yourMessage(r, o)+" "+first.outcome()+":")
	w.b.WriteString("\n")
	for _, rc := range g[:min(len(g), namesMax)] {
		w.b.WriteString("    " + clean(shownAddress(rc.Final), 600) + "\n")
	}
	if more := len(g) - namesMax; more > 0 {
		fmt.Fprintf(&w.b, "    and %d more\n", more)
	}
	w.b.WriteString("\n")
	why := first.why()
	if first.Reply != "" {
		w.paragraph("", why+" "+said(first.RemoteMTA))
		w.b.WriteString("\n")
		w.paragraph("    ", words(first.Reply))
		w.b.WriteString("\n")
	} else if why != "" {
		w.paragraph("", why)
		w.b.WriteString("\n")
	}
	if advice := first.advice(); advice != "" {
		w.paragraph("", advice)
		w.b.WriteString("\n")
	}
}

// shownAddress has the name of a domain that people write.
func shownAddress(a message.Address) string {
	return strings.TrimSuffix(a.String(), string(a.Domain)) + a.Domain.Unicode()
}

func yourMessage(r *Report, o *original) string {
	s := "Your message"
	if o.subject != "" {
		s += ` "` + o.subject + `"`
	}
	switch {
	case !o.date.IsZero():
		s += " of " + o.date.Format(dateLayout)
	case !r.Arrival.IsZero():
		s += " of " + r.Arrival.UTC().Format(dateLayout)
	}
	return s
}

func said(remote string) string {
	host, _, _ := strings.Cut(remote, " ")
	if host = clean(host, 255); host == "" {
		return "The reply was:"
	}
	return "The host " + host + " said:"
}

// outcome ends the sentence "Your message …".
func (rc *Recipient) outcome() string {
	switch rc.Action {
	case Failed:
		return "could not be delivered to"
	case Delayed:
		return "has not been delivered yet to"
	case Delivered:
		return "was delivered to"
	case Expanded:
		return "was given to the members of"
	default:
		return "was handed over to the host of"
	}
}

// why is one sentence about the cause: ours if we have one, else what the
// status code means.
func (rc *Recipient) why() string {
	switch rc.Action {
	case Relayed:
		return "That host does not report whether it delivers; you hear again only if it fails."
	case Delivered, Expanded:
		return ""
	}
	if reason := clean(rc.Reason, reasonOctetsMax); reason != "" {
		return sentence(reason)
	}
	if rc.Action == Delayed {
		return lateness(rc.status())
	}
	return meaning(rc.status()).why
}

// sentence begins with a capital and ends with a full stop.
func sentence(s string) string {
	if c := s[0]; c >= 'a' && c <= 'z' {
		if word, _, _ := strings.Cut(s, " "); !strings.Contains(word, ".") { // no host's name
			s = string(c-'a'+'A') + s[1:]
		}
	}
	if !strings.HasSuffix(s, ".") && !strings.HasSuffix(s, "…") {
		s += "."
	}
	return s
}

// advice is what the sender can do.
func (rc *Recipient) advice() string {
	switch rc.Action {
	case Failed:
		return "What you can do: " + meaning(rc.status()).advice
	case Delayed:
		s := "You need not do anything, and need not send it again: this host keeps trying"
		if !rc.RetryUntil.IsZero() {
			s += " until " + rc.RetryUntil.UTC().Format(dateLayout)
		}
		return s + ", and tells you if it gives up."
	}
	return ""
}
