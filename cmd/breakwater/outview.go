package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/breakwater-mail/breakwater/internal/ops/admin"
	"github.com/breakwater-mail/breakwater/internal/ops/ledger"
)

// What is said of outgoing mail and of the books, as people read it. All times
// are UTC. What strangers chose the words of is made printable.

// viewBacklog renders the backlog as a table, the total first.
func viewBacklog(b admin.Backlog) string {
	var out strings.Builder
	fmt.Fprintf(&out, "Backlog at %s", stamp(b.At))
	if b.Loading {
		out.WriteString("; the queue is still being read, there will be more")
	}
	out.WriteString("\n\n")
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "DESTINATION\tQUEUED\tDEFERRED\tHELD\tACTIVE\tOLDEST\tRATE\tDRAINED IN\tNEXT\tLAST ERROR")
	row := func(name string, l admin.BacklogLine) {
		fmt.Fprintln(w, strings.Join([]string{
			name, count(l.Queued), count(l.Deferred), count(l.Held), count(l.Active),
			seconds(l.Oldest, ""), rate(l.Rate) + "/s", seconds(l.Drain, "?"), nextTry(b.At, l), lastError(b.At, l),
		}, "\t"))
	}
	row("all", b.Total)
	for _, l := range b.Destinations {
		row(printable(l.Destination), l)
	}
	_ = w.Flush() // to memory
	if b.Others > 0 {
		fmt.Fprintf(&out, "\nAnd %s more; --limit 0 lists all.\n", plural(b.Others, "destination"))
	}
	return trimLines(out.String())
}

// seconds is a time in few characters, or what stands for none.
func seconds(s *int64, none string) string {
	if s == nil {
		return none
	}
	return age(time.Duration(*s) * time.Second)
}

func nextTry(now time.Time, l admin.BacklogLine) string {
	switch {
	case l.Active > 0:
		return "now"
	case l.Next.IsZero():
		return ""
	}
	return "in " + age(l.Next.Sub(now))
}

func lastError(now time.Time, l admin.BacklogLine) string {
	text := printable(l.Error)
	if !l.Down.IsZero() {
		text = "down for " + age(now.Sub(l.Down)) + ": " + text
	}
	return text
}

func plural[N int | int64](n N, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return count(n) + " " + thing + "s"
}

// screenOver is what draws a text over what is on the screen, without a moment
// in which it is empty.
func screenOver(text string, width, height int) string {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	lines = lines[:min(len(lines), height)]
	for i, l := range lines {
		if utf8.RuneCountInString(l) > width {
			lines[i] = string([]rune(l)[:width])
		}
	}
	return screenHome + strings.Join(lines, lineRest+"\r\n") + lineRest + screenRest
}

// viewBooks renders the books of a period.
func viewBooks(b ledger.Books) string {
	var out strings.Builder
	who := "all mail"
	if b.Account != "" {
		who = "what " + printable(b.Account) + " has sent"
	}
	fmt.Fprintf(&out, "Books of %s, accepted", who)
	switch {
	case b.Since.IsZero() && b.Until.IsZero():
		out.WriteString(" as far back as they are kept")
	case b.Until.IsZero():
		fmt.Fprintf(&out, " since %s", stamp(b.Since))
	case b.Since.IsZero():
		fmt.Fprintf(&out, " before %s", stamp(b.Until))
	default:
		fmt.Fprintf(&out, " from %s on and before %s", stamp(b.Since), stamp(b.Until))
	}
	out.WriteString("\n\n")
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\tmessages\taccepted\tdelivered\trelayed\tbounced\tdiscarded\tset aside\tqueued\t")
	row := func(name string, l ledger.Line) {
		fmt.Fprintf(w, "%s\t", name)
		for _, n := range []int64{l.Messages, l.Accepted, l.Delivered, l.Relayed, l.Bounced, l.Discarded, l.SetAside, l.Queued} {
			fmt.Fprintf(w, "%s\t", count(n))
		}
		fmt.Fprintln(w)
	}
	for _, l := range b.Sources {
		row(l.Source, l)
	}
	row("all", b.Line)
	_ = w.Flush() // to memory
	out.WriteByte('\n')
	if b.Balanced {
		out.WriteString("They balance: every recipient has a fate.\n")
		return trimLines(out.String())
	}
	out.WriteString("They DO NOT balance.\n")
	if len(b.Unaccounted) > 0 {
		out.WriteString("Unaccounted for:\n")
	}
	for _, id := range b.Unaccounted {
		fmt.Fprintf(&out, "  %s\n", printable(id))
	}
	if b.More {
		out.WriteString("  and more\n")
	}
	return trimLines(out.String())
}

// viewAudit says what the last audit found.
func viewAudit(r *ledger.Result) string {
	if r == nil {
		return ""
	}
	var out strings.Builder
	fmt.Fprintf(&out, "Last audit %s: ", stamp(r.At))
	if r.Error != "" {
		fmt.Fprintf(&out, "not finished (%s); ", printable(r.Error))
	}
	if len(r.Findings) == 0 {
		out.WriteString("nothing wrong")
	} else {
		out.WriteString(plural(len(r.Findings), "finding"))
	}
	fmt.Fprintf(&out, "; %s, of which %s were looked at one by one and %s counted anew, %s compared with the queue, %s opened.\n",
		plural(r.Messages, "message"), count(r.Numbers), count(r.Recounted), plural(r.Open, "open recipient"), plural(r.Bodies, "waiting message"))
	for _, f := range r.Findings {
		fmt.Fprintf(&out, "  %s", f.Check)
		if f.ID != "" {
			fmt.Fprintf(&out, " %s", printable(f.ID))
		}
		fmt.Fprintf(&out, ": %s\n", printable(f.Text))
	}
	return out.String()
}

// viewLife tells the life of a message in order.
func viewLife(l ledger.Life) string {
	var out strings.Builder
	line := func(name, text string) {
		if text != "" {
			fmt.Fprintf(&out, "  %-10s %s\n", name, printable(text))
		}
	}
	fmt.Fprintf(&out, "message %s\n", printable(l.ID))
	line("Message-ID", l.MessageID)
	how := map[string]string{
		"inbound": "from another host", "submitted": "from " + l.Account, "system": "made by this host",
	}[l.Source]
	if l.Source == "submitted" && l.Account == "" {
		how = "from a user"
	}
	line("accepted", stamp(l.Received)+", "+how+", "+octets(l.Size))
	line("session", strings.Join(present(l.Session, bracket(l.RemoteIP), l.Protocol, l.TLS), ", "))
	from := l.From
	if from == "" {
		from = "<> (the null reverse-path)"
	}
	line("sender", from)
	line("signed", strings.Join(l.Signed, ", "))
	for _, to := range l.To {
		out.WriteString(viewLifeTo(to))
	}
	return out.String()
}

// present are the texts that are not empty.
func present(texts ...string) []string {
	out := texts[:0]
	for _, t := range texts {
		if t != "" {
			out = append(out, t)
		}
	}
	return out
}

func bracket(ip string) string {
	if ip == "" {
		return ""
	}
	return "[" + ip + "]"
}

func viewLifeTo(to ledger.LifeTo) string {
	var out strings.Builder
	fmt.Fprintf(&out, "\n  to %s", printable(to.Address))
	var more []string
	if to.Rcpt != "" && to.Rcpt != to.Address {
		more = append(more, "named as "+to.Rcpt)
	}
	if to.Sender != "" {
		more = append(more, "sender "+to.Sender)
	}
	if to.Route != "" {
		more = append(more, "by "+to.Route)
	}
	if len(more) > 0 {
		fmt.Fprintf(&out, " (%s)", printable(strings.Join(more, ", ")))
	}
	fmt.Fprintf(&out, ": %s", to.State)
	if to.Attempts > 0 {
		fmt.Fprintf(&out, " after %s", plural(to.Attempts, "attempt"))
	}
	if to.Hold != "" {
		out.WriteString(": " + printable(to.Hold))
	}
	if !to.Due.IsZero() {
		fmt.Fprintf(&out, ", next attempt %s", stamp(to.Due))
	}
	out.WriteByte('\n')
	for _, e := range to.Events {
		fmt.Fprintf(&out, "    %s  %-9s  %s\n", stamp(e.At), e.State, printable(strings.Join(present(e.Via, tlsName(e.TLS), by(e.By)), ", ")))
		for _, d := range []struct{ name, text string }{{"they said", e.Reply}, {"reason", e.Reason}, {"reported in", e.DSN}} {
			if d.text != "" {
				fmt.Fprintf(&out, "%37s%s: %s\n", "", d.name, printable(strings.Join(strings.Fields(d.text), " ")))
			}
		}
	}
	return trimLines(out.String())
}

func tlsName(s string) string {
	if s == "" {
		return ""
	}
	return "TLS: " + s
}

func by(who string) string {
	if who == "" {
		return ""
	}
	return "by " + who
}

// trimLines has no blanks at the ends of lines.
func trimLines(s string) string {
	var out strings.Builder
	for l := range strings.Lines(s) {
		out.WriteString(strings.TrimRight(l, " \n") + "\n")
	}
	return out.String()
}
