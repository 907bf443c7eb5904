package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/breakwater-mail/breakwater/internal/base/sim"
	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/edge/dnsbl"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

func newDisk() *sim.Disk { return sim.NewDisk(1) }

func TestExplainSession(t *testing.T) {
	disk := newDisk()
	h := newHouse(t, func(o *Options) { o.History = HistoryOptions{FS: disk, Dir: "/history"} })
	h.lists.text = `he said "no"`
	g := h.guest(func(g *Guest) {
		g.ID, g.Score, g.Helo = "refused", dnsbl.Score{Hits: hitHeavy, Silent: hitLight}, "win\x01box\xff"
	})
	live := h.Decide(g)
	g.Refused, g.Ended, g.Octets, g.CPU, g.Questions, g.Now = true, EndedQuit, 321, time.Millisecond, 3, g.Now.Add(9*time.Second)
	h.Left(g)
	good := h.guest(func(g *Guest) { g.ID, g.From = "good", message.Address{} })
	h.Decide(good)
	h.Accepted(good, h.clock.Now())

	e, ok := h.ExplainSession("refused")
	if !ok || e.Verdict != "refuse" || e.By != live.By || e.Score != live.Score || e.Reply != live.Reply.String() || e.Outcome != "refused" ||
		e.Helo != "win\x01box\uFFFD" || *e.From != "jo@sender.test" || e.Rcpt != "one@here.test" || len(e.Records) != 2 || e.Records[1].StayMS != 9000 {
		t.Errorf("explanation = %+v, %v", e, ok)
	}
	if diff := cmp.Diff(live.Evidence, e.Evidence); diff != "" {
		t.Errorf("evidence differs from that of the verdict (-live +history):\n%s", diff)
	}
	text := e.String()
	for _, want := range []string{"session refused, client [192.0.2.7]", "verdict: refuse, decided by dnsbl:heavy.test", "* dnsbl:heavy.test", "← decided",
		"left: quit after 9s, 321 octets", "outcome: refused"} {
		if !strings.Contains(text, want) {
			t.Errorf("text lacks %q:\n%s", want, text)
		}
	}
	if e, ok := h.ExplainSession("good"); !ok || e.Outcome != "accepted" || e.From == nil || *e.From != "" {
		t.Errorf("explanation of the good one = %+v, %v", e, ok)
	}
	if _, ok := h.ExplainSession("none"); ok {
		t.Error("a session that never was is explained")
	}
	if b, err := json.Marshal(e); err != nil || !strings.Contains(string(b), `"verdict":"refuse"`) {
		t.Errorf("JSON = %s, %v", b, err)
	}
}

func TestHistory_rotates(t *testing.T) {
	disk := newDisk()
	o := HistoryOptions{FS: disk, Dir: "/history", Files: 3, Size: 4 << 10}
	h := newHouse(t, func(x *Options) { x.History = o })
	for i := range 100 {
		h.Decide(h.guest(func(g *Guest) { g.ID = fmt.Sprint("s", i) }))
		h.history.flush()
	}
	names, err := disk.ReadDir("/history")
	if err != nil || len(names) != 3 {
		t.Fatalf("files = %v, %v; want 3", names, err)
	}
	for _, n := range names {
		if size, err := disk.Stat("/history/" + n); err != nil || size > o.Size {
			t.Errorf("%s has %d octets, %v; want at most %d", n, size, err, o.Size)
		}
	}
	if _, ok := h.ExplainSession("s0"); ok {
		t.Error("the oldest session is still there")
	}
	if _, ok := h.ExplainSession("s99"); !ok {
		t.Error("the newest session is not there")
	}
	// A new process goes on in the newest file.
	h = newHouse(t, func(x *Options) { x.History = o })
	h.Decide(h.guest(func(g *Guest) { g.ID = "new" }))
	for _, id := range []string{"new", "s99"} {
		if _, ok := h.ExplainSession(id); !ok {
			t.Errorf("session %s is not found by the next process", id)
		}
	}
}

func TestHistory_sessionInTwoFiles(t *testing.T) {
	h := newHouse(t, func(o *Options) { o.History = HistoryOptions{FS: newDisk(), Dir: "/h", Size: 300} })
	g := h.guest(func(g *Guest) { g.ID = "s" })
	h.Decide(g)
	h.history.flush()
	h.Accepted(g, h.clock.Now())
	if e, ok := h.ExplainSession("s"); !ok || e.Verdict != "pass" || e.Outcome != "accepted" {
		t.Errorf("explanation = %+v", e)
	}
}

func TestHistory_tornLineAndFullDisk(t *testing.T) {
	disk := newDisk()
	o := func(x *Options) { x.History = HistoryOptions{FS: disk, Dir: "/h"} }
	h := newHouse(t, o)
	h.Decide(h.guest(func(g *Guest) { g.ID = "first" }))
	h.history.flush()
	f := h.history.file
	if _, err := f.WriteAt([]byte(`{"at":"2026-11-22T12:00:00.000Z","what":"verd`), h.history.size); err != nil {
		t.Fatal(err)
	}
	h = newHouse(t, o)
	disk.FailNth("write", 1, syscall.ENOSPC)
	h.Decide(h.guest(func(g *Guest) { g.ID = "lost" }))
	h.history.flush()
	h.Decide(h.guest(func(g *Guest) { g.ID = "second" }))
	for id, want := range map[string]bool{"first": true, "lost": false, "second": true} {
		if _, ok := h.ExplainSession(id); ok != want {
			t.Errorf("session %s found: %v, want %v", id, ok, want)
		}
	}
}

func TestRun_writesWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newDisk()
		spf := &fakeSPF{}
		p := New(Options{Clock: sys.RealClock(), Trusted: []message.Domain{"big.test"}, History: HistoryOptions{FS: disk, Dir: "/h"}}, Parts{SPF: spf})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- p.Run(ctx) }()
		p.Decide(&Guest{ID: "x", Addr: addr("192.0.2.1")})
		time.Sleep(historyFlushWait + time.Millisecond)
		synctest.Wait()
		if size, err := disk.Stat("/h/verdicts-0000000001.jsonl"); err != nil || size == 0 {
			t.Errorf("file has %d octets, %v", size, err)
		}
		time.Sleep(time.Hour) // a domain that could not be asked is asked again
		synctest.Wait()
		spf.mu.Lock()
		if n := len(spf.asked); n < 3 || n > 6 {
			t.Errorf("asked %d times within an hour, want about 4", n)
		}
		spf.mu.Unlock()
		p.Decide(&Guest{ID: "y", Addr: addr("192.0.2.1")})
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if _, ok := p.ExplainSession("y"); !ok {
			t.Error("what came last was not written")
		}
	})
}

func TestRecord_hasItsBounds(t *testing.T) {
	long := strings.Repeat("ü", 5000)
	g := Guest{ID: long, Helo: long, From: message.Address{Local: long, Domain: "x.test"}, HasFrom: true, To: message.Address{Local: long, Domain: "x.test"}, HasTo: true}
	v := Verdict{By: long, Reply: &smtp.Reply{Code: 554, Text: long}}
	for range 60 {
		v.Evidence = append(v.Evidence, Evidence{Check: long, Detail: long})
	}
	line := appendVerdict(nil, &g, &v, Calm, start())
	r, err := DecodeRecord(line)
	if err != nil || len(line) > recordMax || r.Helo != strings.Repeat("ü", recordTextMax/2) {
		t.Errorf("%d octets, %v, HELO of %d octets", len(line), err, len(r.Helo))
	}
	if _, err := DecodeRecord(make([]byte, recordMax+1)); !errors.Is(err, ErrRecord) {
		t.Errorf("a line that is too long: %v, want %v", err, ErrRecord)
	}
}

func TestExplain(t *testing.T) {
	h := newHouse(t, func(o *Options) {
		o.Rates.Recipients.Address = Rate{Minute: 1}
		o.Rates.Connections.Address = Rate{Minute: 1}
		o.Caps.Address = 1
	})
	a := addr("192.0.2.7")
	h.lists.says[a] = dnsbl.Score{Hits: hitLight, Silent: hitHeavy}
	from := "jo@sender.test"
	q := Query{IP: a, Helo: "box.sender.test", From: &from, Rcpt: "one@here.test"}
	var e Explanation
	for range 3 { // changes nothing, so that it is the same each time
		e = h.Explain(t.Context(), q)
		if e.Verdict != "defer" || e.By != "greylist" || e.Arrival != "wait" || e.Wait != 4*time.Second || e.SPF == nil || len(e.Lists) != 3 {
			t.Fatalf("explanation = %+v", e)
		}
	}
	if len(h.grey.checked) != 0 || h.bans.asked != 0 || h.Top(1).Total != (Counts{}) {
		t.Errorf("Explain has changed something: greylist %v, bans asked %d, %+v", h.grey.checked, h.bans.asked, h.Top(1).Total)
	}
	for _, want := range []string{"client [192.0.2.7]", `HELO "box.sender.test"`, "at arrival: wait (stranger), banner after 4s", "* greylist", "reply: 451 4.7.1 Greylisted",
		"list light.test: asked 192.0.2.7.light.test, answer 127.0.0.2: listed, weight +1", "list heavy.test: asked 192.0.2.7.heavy.test, answer none: ignored, no answer in time",
		"SPF of sender.test: fail -all (decides nothing here)", "  v=spf1 -all"} {
		if !strings.Contains(e.String(), want) {
			t.Errorf("text lacks %q:\n%s", want, e)
		}
	}
	h.bans.Ban(a, source(a), "stayed too long")
	if e := h.Explain(t.Context(), q); e.Arrival != "refuse" || e.Why != "banned: stayed too long" || h.bans.asked != 0 {
		t.Errorf("a banned one: %+v", e)
	}
	if e := h.Explain(t.Context(), Query{}); e.Problem == "" {
		t.Error("a query without an address has no problem")
	}
	bad := "no address"
	if e := h.Explain(t.Context(), Query{IP: addr("198.51.100.1"), From: &bad}); e.Problem == "" || e.Verdict != "pass" {
		t.Errorf("a malformed sender: %+v", e)
	}
}

func TestExplain_goesOnAfterTheDecision(t *testing.T) {
	h := newHouse(t, func(o *Options) { o.Deny = prefixes("192.0.2.0/24") })
	e := h.Explain(t.Context(), Query{IP: addr("192.0.2.7"), Helo: "here.test"})
	if e.By != CheckDeny || e.Evidence[len(e.Evidence)-1].Check != CheckGreylist {
		t.Errorf("decided by %s, evidence %+v; want deny, and all others too", e.By, e.Evidence)
	}
}

func FuzzDecodeRecord(f *testing.F) {
	g := Guest{ID: "abc", Addr: addr("2001:db8::1"), Helo: "a\"\\\x7f\xffb", HasFrom: true, Now: start()}
	f.Add(appendVerdict(nil, &g, &Verdict{Kind: Defer, By: "score", Evidence: []Evidence{{Check: "score", Decided: true, Weight: -1}}}, Stormy, start()))
	f.Add(appendLeft(nil, &g, start()))
	f.Add(appendAccepted(nil, &g, start()))
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := DecodeRecord(line)
		if err != nil {
			if !errors.Is(err, ErrRecord) {
				t.Fatalf("error %v is not ErrRecord", err)
			}
			return
		}
		// What the text says comes back from what is written of it.
		g := Guest{ID: r.Session, Addr: r.IP, Helo: r.Helo, ESMTP: r.ESMTP, TLS: r.TLS, Known: r.Known}
		v := Verdict{Score: r.Score, By: r.By, Evidence: r.Evidence}
		out := appendVerdict(nil, &g, &v, Calm, r.At)
		if strings.Count(string(out), "\n") != 1 {
			t.Fatalf("a record of several lines: %q", out)
		}
		r2, err := DecodeRecord(out)
		if len(r.Session) > recordTextMax {
			return
		}
		if err != nil || r2.Session != r.Session || r2.Score != r.Score || len(r.Helo) <= recordTextMax && r2.Helo != r.Helo {
			t.Fatalf("%q became %q: %v", line, out, err)
		}
		r3, err := DecodeRecord(appendVerdict(nil, &Guest{ID: r2.Session, Addr: r2.IP, Helo: r2.Helo, ESMTP: r2.ESMTP, TLS: r2.TLS, Known: r2.Known},
			&Verdict{Score: r2.Score, By: r2.By, Evidence: r2.Evidence}, Calm, r2.At))
		if err != nil || !reflect.DeepEqual(r2, r3) {
			t.Fatalf("not stable: %+v, %+v, %v", r2, r3, err)
		}
	})
}
