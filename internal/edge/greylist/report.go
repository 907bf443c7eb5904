package greylist

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Report is what greylisting has cost in the last 30 days.
type Report struct {
	At       time.Time `json:"at"`
	Enabled  bool      `json:"enabled"`
	Wait     seconds   `json:"wait_seconds"`    // that is asked for
	Known    int       `json:"known"`           // pools and networks that passed
	Waiting  int       `json:"waiting"`         // senders that have not come back yet
	Delayed  int       `json:"delayed"`         // senders told to come back
	Returned int       `json:"returned"`        // of those, came back after the wait
	Accepted int       `json:"accepted"`        // of those, had a message accepted: good ones that were hurt
	Lost     int       `json:"never_returned"`  // of the delayed, did not come back
	Unseen   int       `json:"unseen_messages"` // deferred and not seen again though their sender came back
	Unasked  int       `json:"unasked"`         // passed because too many were waiting
	All      Waits     `json:"waits"`           // of all that came back
	Good     Waits     `json:"waits_accepted"`  // of the good ones
	Days     []Day     `json:"days"`
	Hurt     []Case    `json:"accepted_senders"`       // the latest, newest first
	Missing  []Case    `json:"never_returned_senders"` // the latest, newest first
}

// Waits sums up how long senders were delayed. It is made of the latest 10,000.
type Waits struct {
	Count     int      `json:"count"`
	Median    seconds  `json:"median_seconds"`
	P90       seconds  `json:"p90_seconds"`
	Worst     seconds  `json:"worst_seconds"`
	Histogram []Bucket `json:"histogram"`
}

// Bucket counts the waits up to a length and above that of the bucket before.
type Bucket struct {
	UpTo  seconds `json:"up_to_seconds"` // 0: longer than all others
	Count int     `json:"count"`
}

// bounds of the histogram, in seconds: retry intervals that are in use.
func bounds() []seconds {
	return []seconds{120, 300, 600, 900, 1800, 3600, 2 * 3600, 4 * 3600, 8 * 3600, 24 * 3600, 0}
}

// Report sums up the last 30 days.
func (t *Table) Report(now time.Time) Report {
	r := Report{At: now.UTC(), Enabled: t.o.Enabled, Wait: seconds(t.o.Wait / time.Second), Known: int(t.known.count.Load()), Days: []Day{}}
	at := now.Unix()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(at)
	all, good := t.waits(at)
	since := at/daySecs - daysMax
	for _, d := range t.tally.days {
		if d.at <= since {
			continue
		}
		d.Day = time.Unix(d.at*daySecs, 0).UTC().Format(time.DateOnly)
		r.Days = append(r.Days, d)
		r.Delayed += d.Delayed
		r.Returned += d.Returned
		r.Accepted += d.Accepted
		r.Lost += d.Lost
		r.Unseen += d.Unseen
		r.Unasked += d.Unasked
	}
	for w := t.queue.first; w != nil; w = w.next {
		if w.returned == 0 {
			r.Waiting++
		}
	}
	r.All, r.Good = sumUp(all), sumUp(good)
	r.Hurt, r.Missing = recent(t.tally.hurt, at), recent(t.tally.missing, at)
	return r
}

// waits collects the waits of the days that the report covers, those of
// senders that have come back and are still in the queue among them.
func (t *Table) waits(at int64) (all, good []seconds) {
	since := (at/daySecs - daysMax + 1) * daySecs
	for _, e := range t.tally.waits {
		if e.first < since {
			continue
		}
		all = append(all, seconds(e.took))
		if e.accepted {
			good = append(good, seconds(e.took))
		}
	}
	for w := t.queue.first; w != nil; w = w.next {
		if w.returned != 0 && !w.accepted {
			all = append(all, seconds(w.returned-w.first))
		}
	}
	return all, good
}

// recent returns the cases of the days that the report covers, newest first.
func recent(list []Case, at int64) []Case {
	out := make([]Case, 0, len(list))
	for _, c := range slices.Backward(list) {
		if c.First.Unix()/daySecs > at/daySecs-daysMax {
			out = append(out, c)
		}
	}
	return out
}

func sumUp(all []seconds) Waits {
	w := Waits{Count: len(all), Histogram: []Bucket{}}
	if len(all) == 0 {
		return w
	}
	slices.Sort(all)
	w.Median, w.P90, w.Worst = all[(len(all)-1)/2], all[(len(all)*9+9)/10-1], all[len(all)-1]
	from := 0
	for _, upTo := range bounds() {
		to := len(all)
		if upTo != 0 {
			to, _ = slices.BinarySearch(all, upTo+1)
		}
		w.Histogram = append(w.Histogram, Bucket{upTo, to - from})
		from = to
	}
	return w
}

// Text renders the report for people.
func (r Report) Text() string {
	var b strings.Builder
	state := "on; strangers under suspicion wait " + r.Wait.String()
	if !r.Enabled {
		state = "off; nobody is asked to wait"
	}
	fmt.Fprintf(&b, "Greylisting is %s.\nKnown: %d pools and networks. Waiting now: %d senders.\n", state, r.Known, r.Waiting)
	if r.Delayed == 0 && len(r.Days) == 0 {
		b.WriteString("Nobody was delayed in the last 30 days.\n")
		return b.String()
	}
	b.WriteString("\nOf the last 30 days:\n")
	line := func(n int, what string) {
		fmt.Fprintf(&b, "%8d  %s\n", n, what)
	}
	line(r.Delayed, "senders were told to come back")
	line(r.Returned, "came back")
	line(r.Accepted, "of these were good: a message was accepted (late)")
	line(r.Lost, "never came back")
	if r.Unseen > 0 {
		line(r.Unseen, "messages were not seen again though their sender was")
	}
	if r.Unasked > 0 {
		line(r.Unasked, "were not asked to wait because too many were waiting")
	}
	r.All.text(&b, "Waits of all that came back")
	r.Good.text(&b, "Waits of the good ones")
	r.daysText(&b)
	casesText(&b, "Good ones that were delayed", r.Hurt)
	casesText(&b, "Never came back", r.Missing)
	return b.String()
}

func (w Waits) text(b *strings.Builder, title string) {
	if w.Count == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s: median %s, 90%% within %s, worst %s\n", title, w.Median, w.P90, w.Worst)
	most := 1
	for _, h := range w.Histogram {
		most = max(most, h.Count)
	}
	for _, h := range w.Histogram {
		name := "longer"
		if h.UpTo != 0 {
			name = "to " + short(h.UpTo)
		}
		if h.Count > 0 {
			fmt.Fprintf(b, "  %8s %7d %s\n", name, h.Count, strings.Repeat("#", max(h.Count*40/most, 1)))
		}
	}
}

// short is a round length of time in few letters.
func short(s seconds) string {
	if s < 3600 {
		return fmt.Sprintf("%d min", s/60)
	}
	return fmt.Sprintf("%d h", s/3600)
}

func (r Report) daysText(b *strings.Builder) {
	b.WriteByte('\n')
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	// A strings.Builder does not fail.
	_, _ = fmt.Fprintln(w, "DAY\tDELAYED\tCAME BACK\tACCEPTED\tNEVER\t")
	for _, d := range slices.Backward(r.Days) {
		_, _ = fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t\n", d.Day, d.Delayed, d.Returned, d.Accepted, d.Lost)
	}
	_ = w.Flush()
}

func casesText(b *strings.Builder, title string, list []Case) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s (latest first):\n", title)
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "FIRST SEEN\tWAITED\tATTEMPTS\tADDRESS\tHELO\tFROM\tTO")
	for _, c := range list {
		from, waited := c.From, c.Waited.String()
		if from == "" {
			from = "<>"
		}
		if c.Waited == 0 {
			waited = "-"
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\t%s\n", c.First.Format(time.RFC3339), waited, c.Attempts, c.Addr, c.Helo, from, c.To)
	}
	_ = w.Flush()
}
