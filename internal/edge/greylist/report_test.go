package greylist

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// Incident greylist-delay: a report shows what was delayed, how long, and what
// never came back.
func TestIncident_greylistDelay_report(t *testing.T) {
	tab := busy(t, nil)
	r := tab.Report(start().Add(51 * time.Hour))
	got, want := []int{r.Delayed, r.Returned, r.Accepted, r.Lost, r.Unseen, r.Waiting}, []int{5, 2, 1, 2, 1, 1}
	if !slices.Equal(got, want) {
		t.Errorf("delayed, returned, accepted, lost, unseen, waiting = %v, want %v", got, want)
	}
	if r.Good.Count != 1 || r.Good.Worst != 420 || r.All.Count != 2 || r.All.Median != 420 || r.All.Worst != 3600 || r.All.P90 != 3600 {
		t.Errorf("waits = %+v and %+v, want 420 s, and 420 s and 3600 s", r.Good, r.All)
	}
	if len(r.Hurt) != 1 || r.Hurt[0].From != "example.org" || r.Hurt[0].To != "one@demo.test" || r.Hurt[0].Waited != 420 {
		t.Errorf("good ones that were hurt = %+v", r.Hurt)
	}
	if len(r.Missing) != 2 || r.Missing[0].From != "waits.example" || r.Missing[1].From != "" || !r.Missing[1].First.Equal(start().Add(2*time.Hour)) {
		t.Errorf("never came back = %+v", r.Missing)
	}
	if len(r.Days) != 2 || r.Days[0].Day != "2026-11-22" || r.Days[0].Delayed != 4 || r.Days[1].Delayed != 1 {
		t.Errorf("days = %+v", r.Days)
	}
	text := r.Text()
	for _, want := range []string{
		"Greylisting is on; strangers under suspicion wait 1m0s.",
		"       5  senders were told to come back",
		"       1  of these were good: a message was accepted (late)",
		"       2  never came back",
		"Waits of all that came back: median 7m0s, 90% within 1h0m0s, worst 1h0m0s",
		"2026-11-22  ",
		"7m0s    3         192.0.2.10  good.example.org  example.org  one@demo.test",
		"<>", "[IPv6:2001:db8::1]",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("text lacks %q:\n%s", want, text)
		}
	}
	if strings.ContainsRune(text, 0x1b) {
		t.Error("a stranger's escape sequence reaches the terminal")
	}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"never_returned":2`, `"median_seconds":420`, `"first_seen":"2026-11-22T03:00:00Z"`, `"up_to_seconds":600`} {
		if !strings.Contains(string(b), want) {
			t.Errorf("JSON lacks %s: %s", want, b)
		}
	}
	if got := open(t, nil, on()).Report(start()).Text(); !strings.Contains(got, "Nobody was delayed") {
		t.Errorf("text of an empty report = %q", got)
	}
}

// Thirty days are covered, lists and waits are bounded.
func TestReport_bounded(t *testing.T) {
	tab, now := open(t, nil, on()), start()
	to := message.Address{Local: "one", Domain: "demo.test"}
	for day := range 40 {
		now = start().Add(time.Duration(day) * 24 * time.Hour)
		for i := range 300 {
			domain := fmt.Sprintf("d%d-%d.test", day, i)
			s := from("192.0.2.1", "mx."+domain, domain, "")
			tab.Check(s, to, now)
			if i%2 == 0 {
				tab.Check(s, to, now.Add(time.Duration(i+60)*time.Second))
				tab.Accepted(s, now.Add(time.Duration(i+60)*time.Second))
			}
		}
	}
	r := tab.Report(now)
	if len(r.Days) != 30 || r.Delayed != 30*300 || r.Accepted != 30*150 || len(r.Hurt) != listMax || len(r.Missing) != listMax {
		t.Errorf("%d days, %d delayed, %d accepted, lists of %d and %d", len(r.Days), r.Delayed, r.Accepted, len(r.Hurt), len(r.Missing))
	}
	if len(tab.tally.waits) != 40*150 || r.Good.Count != 30*150 {
		t.Errorf("%d waits, %d in the report", len(tab.tally.waits), r.Good.Count)
	}
	w := &waiter{first: now.Unix(), returned: now.Unix() + 100}
	for range 2 * waitsMax {
		tab.tally.ended(w)
	}
	if len(tab.tally.waits) != waitsMax {
		t.Errorf("%d waits, want at most %d", len(tab.tally.waits), waitsMax)
	}
	old := tab.Report(now.Add(40 * 24 * time.Hour))
	if len(old.Days) != 0 || old.Delayed != 0 || len(old.Hurt) != 0 || old.All.Count != 0 {
		t.Errorf("40 days later: %+v", old)
	}
}
