package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/breakwater-mail/breakwater/internal/ops/admin"
)

// topHeadLines is about how many lines stand above and between the two tables.
const topHeadLines = 20

// viewTop renders a snapshot. Rates are those since the snapshot before, or of
// the last minute if there is none. Lines are cut to width; 0 does not cut.
func viewTop(t admin.Top, before *admin.Top, width int) string {
	var b strings.Builder
	viewGuests(&b, t)
	viewCounts(&b, t, before)
	viewCosts(&b, t, before)
	viewLists(&b, t)
	viewNetworks(&b, t.Networks)
	viewLive(&b, t)
	if width <= 0 {
		return b.String()
	}
	var cut strings.Builder
	for line := range strings.Lines(b.String()) {
		line = strings.TrimSuffix(line, "\n")
		if utf8.RuneCountInString(line) > width {
			line = string([]rune(line)[:width])
		}
		cut.WriteString(line + "\n")
	}
	return cut.String()
}

func viewGuests(b *strings.Builder, t admin.Top) {
	level := t.Level
	if !t.Since.IsZero() {
		level += " for " + age(t.At.Sub(t.Since))
	}
	fmt.Fprintf(b, "%s   %s   %s   %s arrivals a second\n", printable(t.Hostname), stamp(t.At), level, rate(t.Arrivals))
	g := t.Guests
	fmt.Fprintf(b, "guests %s of %s   memory %s of %s   sessions %s, %s by STARTTLS\n",
		count(g.Now), count(g.Max), octets(g.Bytes), octets(g.BytesMax), count(g.Sessions), count(g.TLS))
	if s := tallies(g.States); s != "" {
		fmt.Fprintf(b, "  by state: %s\n", s)
	}
	if s := tallies(g.Ranks); s != "" {
		fmt.Fprintf(b, "  by rank:  %s\n", s)
	}
}

// tallies lists numbers by name, the greatest first.
func tallies(m map[string]int) string {
	names := make([]string, 0, len(m))
	for name, n := range m {
		if n != 0 {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(m[b], m[a]), cmp.Compare(a, b)) })
	for i, name := range names {
		names[i] = printable(name) + " " + count(m[name])
	}
	return strings.Join(names, "   ")
}

func viewCounts(b *strings.Builder, t admin.Top, before *admin.Top) {
	b.WriteByte('\n')
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\tarrived\tturned away\tadmitted\tpassed\trefused\tdeferred\tmessages\t")
	row := func(name string, c admin.TopCounts, show func(int64) string) {
		fmt.Fprintf(w, "%s\t", name)
		for _, n := range []int64{c.Arrived, c.Turned, c.Admitted, c.Passed, c.Refused, c.Deferred, c.Accepted} {
			fmt.Fprintf(w, "%s\t", show(n))
		}
		fmt.Fprintln(w)
	}
	secs, since := 60.0, admin.TopCounts{}
	per := t.Minute
	if before != nil {
		secs, since, per = t.At.Sub(before.At).Seconds(), before.Total, t.Total
	}
	row("a second", less(per, since), func(n int64) string { return rate(over(n, secs)) })
	row("last minute", t.Minute, count)
	row("total", t.Total, count)
	flush(w)
	if s := tallies(t.By); s != "" {
		fmt.Fprintf(b, "decided by: %s\n", s)
	}
}

func less(a, b admin.TopCounts) admin.TopCounts {
	return admin.TopCounts{
		Arrived: a.Arrived - b.Arrived, Turned: a.Turned - b.Turned, Admitted: a.Admitted - b.Admitted, Passed: a.Passed - b.Passed,
		Refused: a.Refused - b.Refused, Deferred: a.Deferred - b.Deferred, Accepted: a.Accepted - b.Accepted,
	}
}

func viewCosts(b *strings.Builder, t admin.Top, before *admin.Top) {
	b.WriteByte('\n')
	p, d := t.Process, t.DNS
	rss := ""
	if p.RSS > 0 {
		rss = "memory " + octets(p.RSS) + ", "
	}
	if before == nil {
		fmt.Fprintf(b, "octets of guests %s   CPU %s   %sheap %s, %s goroutines\n", octets(t.Octets), spent(p.CPU), rss, octets(p.Heap), count(p.Goroutines))
		fmt.Fprintf(b, "DNS: %s asked, %s from the cache, %s timeouts, %s in flight", count(d.Asked), count(d.Cached), count(d.Timeouts), count(d.InFlight))
	} else {
		secs := t.At.Sub(before.At).Seconds()
		fmt.Fprintf(b, "octets of guests %s/s   CPU %s %% of %d   %sheap %s, %s goroutines\n",
			octets(int64(over(t.Octets-before.Octets, secs))), rate(over(int64(p.CPU-before.Process.CPU), secs*1e7)), 100*max(p.Processors, 1),
			rss, octets(p.Heap), count(p.Goroutines))
		fmt.Fprintf(b, "DNS: %s asked a second, %s from the cache, %s timeouts, %s in flight",
			rate(over(d.Asked-before.DNS.Asked, secs)), rate(over(d.Cached-before.DNS.Cached, secs)),
			rate(over(d.Timeouts-before.DNS.Timeouts, secs)), count(d.InFlight))
	}
	if d.Busy > 0 {
		fmt.Fprintf(b, ", %s not asked because too many were", count(d.Busy))
	}
	where := "in the kernel"
	if !t.Bans.Kernel {
		where = "in the host alone"
	}
	fmt.Fprintf(b, "\nbans %s, %s   evicted %s   early talkers %s\n", count(t.Bans.Now), where, count(t.Evicted), count(t.Early))
}

func viewLists(b *strings.Builder, t admin.Top) {
	for _, l := range t.Lists {
		fmt.Fprintf(b, "list %s: %s", printable(l.Zone), l.State)
		if l.State != "ok" {
			fmt.Fprintf(b, " for %s, %s", age(t.At.Sub(l.Since)), printable(l.Detail))
		}
		fmt.Fprintf(b, "; asked %s, listed %s, silent %s\n", count(l.Asked), count(l.Listed), count(l.Silent))
	}
}

func viewNetworks(b *strings.Builder, list []admin.TopNetwork) {
	if len(list) == 0 {
		return
	}
	b.WriteByte('\n')
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "COSTLIEST NETWORKS\tCONNECTIONS\tREFUSALS\tOCTETS\tCPU\tDNS\t")
	for _, n := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t\n", n.Network, count(n.Connections), count(n.Refusals), octets(n.Octets), spent(n.CPU), count(n.Questions))
	}
	flush(w)
}

func viewLive(b *strings.Builder, t admin.Top) {
	if len(t.Live) == 0 {
		return
	}
	b.WriteByte('\n')
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "LIVE GUESTS\tADDRESS\tSTATE\tRANK\tAGE\tOCTETS\tCPU\tDNS\tHELO\tFROM")
	for _, g := range t.Live {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", g.ID, g.Addr, g.State, g.Rank, age(t.At.Sub(g.Arrived)),
			octets(g.Octets), spent(g.CPU), g.Questions, printable(g.Helo), printable(g.From))
	}
	flush(w)
}

// flush ends a table; a strings.Builder takes everything.
func flush(w *tabwriter.Writer) { _ = w.Flush() }

// over is n divided by seconds, 0 if no time has passed or the host began
// anew meanwhile.
func over(n int64, secs float64) float64 {
	if secs <= 0 || n < 0 {
		return 0
	}
	return float64(n) / secs
}

// rate is a number a second.
func rate(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) }

// count is a number with its thousands apart.
func count[N int | int64](n N) string {
	s := strconv.FormatInt(int64(n), 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// octets is a size in few characters.
func octets(n int64) string {
	switch v := float64(n); {
	case n < 10_000:
		return count(n) + " B"
	case v < 1<<20:
		return rate(v/(1<<10)) + " KiB"
	case v < 1<<30:
		return rate(v/(1<<20)) + " MiB"
	default:
		return rate(v/(1<<30)) + " GiB"
	}
}

// age is a time in few characters.
func age(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Minute:
		return strconv.Itoa(int(d/time.Second)) + "s"
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	default:
		return fmt.Sprintf("%dd%02dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
	}
}

// spent is a small time.
func spent(d time.Duration) string {
	if d < 10*time.Second {
		return strconv.FormatFloat(float64(d)/float64(time.Millisecond), 'f', 1, 64) + " ms"
	}
	return age(d)
}
