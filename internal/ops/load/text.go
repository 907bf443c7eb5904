package load

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
)

// String is one line of at most 80 columns or little more.
func (p Progress) String() string {
	var b strings.Builder
	at := p.At.Truncate(time.Second)
	switch p.Phase {
	case PhaseQuiet:
		fmt.Fprintf(&b, "quiet %s of about %s: good mail %d of %d, p99 %s ms", at, p.Of.Truncate(time.Second), p.OK, p.Sent, short(millisOf(p.P99)))
	default:
		fmt.Fprintf(&b, "%s %s/%s: offered %d, held %d, refused %d, lost %d; good %d/%d, p99 %s ms",
			p.Phase, at, p.Of.Truncate(time.Second), p.Offered, p.Held, p.Refused, p.Lost, p.OK, p.Sent, short(millisOf(p.P99)))
	}
	if p.PSS > 0 {
		fmt.Fprintf(&b, "; server %.1f MB", float64(p.PSS)/1e6)
	}
	return b.String()
}

// Text is the result for people.
func (r *Result) Text() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(w, name+"\t"+format+"\n", args...) }
	row("wave", "2009 × %g against %s, speed × %g, %.0f s%s", r.Factor, r.Target, r.Speed, r.Seconds, map[bool]string{true: ", interrupted"}[r.Interrupted])
	row("offered", "%d at once, %d connections tried in all", r.Offered, r.Attempted)
	row("held", "%d at most, %d of them greeted", r.HeldMax, r.GreetedMax)
	row("refused at RCPT", "%d, after p50 %s ms, p99 %s ms", r.RefusedAtRcpt, short(r.Refusal.P50), short(r.Refusal.P99))
	row("accepted at RCPT", "%d", r.Accepted)
	row("turned away", "%d", r.TurnedAway)
	row("lost", "%s", with(r.Lost, r.LostBy))
	if r.Unfinished > 0 {
		row("unfinished", "%d", r.Unfinished)
	}
	row("replies", "%s", list(r.Replies))
	for _, c := range []struct {
		name string
		c    Class
	}{{"good, known", r.Good.Known}, {"good, new", r.Good.New}} {
		row(c.name, "%d of %d delivered; p50 %s ms, p99 %s ms, worst %s ms beyond a wait of %s ms (quiet: p50 %s ms, p99 %s ms; waits now: p50 %s ms, p99 %s ms)", c.c.OK, c.c.Sent,
			short(c.c.P50), short(c.c.P99), short(c.c.Worst), short(c.c.Wait), short(c.c.Quiet.P50), short(c.c.Quiet.P99),
			short(c.c.Banner.P50), short(c.c.Banner.P99))
	}
	row("good, all", "%d of %d delivered; p50 %s ms, p99 %s ms, worst %s ms", r.Good.OK, r.Good.Sent, short(r.Good.P50), short(r.Good.P99), short(r.Good.Worst))
	if len(r.Good.Failures) > 0 {
		row("good, failed", "%s", list(r.Good.Failures))
	}
	if len(r.Good.Slowest) > 0 {
		row("good, slowest", "%s", r.Good.Slowest[0])
	}
	if s := r.Server; s != nil {
		row("server's memory", "%.1f MB idle, %.1f MB at most, %s bytes a guest", float64(s.PSSIdle)/1e6, float64(s.PSSMax)/1e6, short(s.PSSPerGuest))
		row("server's CPU", "%s ms a refusal; %s ms in all, good mail at %s ms each", short(s.CPUPerRefusal), short(s.CPUWave), short(s.CPUPerGood))
	}
	row("client", "%s ms of CPU, %.1f MB, %s ms late at worst", short(r.Client.CPU), float64(r.Client.RSS)/1e6, short(r.Client.LateMax))
	_ = w.Flush() // into a strings.Builder
	return b.String()
}

func with(n int, by map[string]int) string {
	if n == 0 {
		return "0"
	}
	return fmt.Sprintf("%d: %s", n, list(by))
}

// String tells where the time of a delivery went.
func (d Delivery) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s sender %s at %s s:", d.Class, d.From, short(d.At))
	for i, name := range stepNames() {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, " %s %s", name, short(d.Steps[name]))
	}
	b.WriteString(" ms")
	return b.String()
}
