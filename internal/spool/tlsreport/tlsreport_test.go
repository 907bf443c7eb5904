package tlsreport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
	"github.com/breakwater-mail/breakwater/internal/base/sim"
	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/tlsrpt"
	"github.com/breakwater-mail/breakwater/internal/spool/tlspolicy"
)

// outside is everybody else: the DNS, the mail, and the web.
type outside struct {
	mu      sync.Mutex
	records map[string]dns.Answer // by name
	mails   map[string][]byte     // by recipient
	posts   map[string][]byte     // by URL
	count   int                   // of attempts
	refuse  bool                  // mail and posts
}

func (o *outside) Lookup(_ context.Context, q dns.Question) dns.Answer {
	o.mu.Lock()
	defer o.mu.Unlock()
	a, ok := o.records[q.Name]
	if !ok {
		a.RCode = dns.NXDomain
	}
	a.Question = q
	return a
}

func (o *outside) Post(ctx context.Context, _, to message.Address, body []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.count++; o.refuse {
		return errors.New("the queue is full")
	}
	o.mails[to.String()] = body
	return ctx.Err()
}

func (o *outside) Do(r *http.Request) (*http.Response, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	answer := &http.Response{StatusCode: 201, Body: io.NopCloser(strings.NewReader(strings.Repeat("x", 1<<20)))}
	if o.count++; o.refuse {
		answer.StatusCode = 302
		return answer, nil
	}
	if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/tlsrpt+gzip" {
		return nil, fmt.Errorf("%s of %s", r.Method, r.Header.Get("Content-Type"))
	}
	b, err := io.ReadAll(r.Body)
	o.posts[r.URL.String()] = b
	return answer, err
}

func noon() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

type fixture struct {
	*Reports
	*outside
	clock *sim.Clock
	o     Options
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{
		outside: &outside{records: make(map[string]dns.Answer), mails: make(map[string][]byte), posts: make(map[string][]byte)},
		clock:   sim.NewClock(noon()),
	}
	f.o = Options{
		Hostname: "mx.demo.test", From: address(t, "postmaster@demo.test"), Organization: "Demo", FS: sim.NewDisk(1), Path: "tally.json",
		Clock: f.clock, Rand: rand.NewChaCha8([32]byte{1}),
	}
	f.start(t)
	return f
}

// start begins a new life.
func (f *fixture) start(t *testing.T) {
	t.Helper()
	var err error
	if f.Reports, err = New(f.o, f.outside, f.outside, f.outside); err != nil {
		t.Fatal(err)
	}
}

// wants sets the record of a domain.
func (f *fixture) wants(domain string, texts ...string) {
	f.outside.records["_smtp._tls."+domain] = dns.Answer{Texts: texts}
}

func address(t testing.TB, s string) message.Address {
	t.Helper()
	a, err := message.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func opportunistic(domain message.Domain) *tlspolicy.Policy {
	return &tlspolicy.Policy{Domain: domain, Host: "mx." + string(domain)}
}

func session(p *tlspolicy.Policy, result tlspolicy.Result) tlspolicy.Session {
	s := tlspolicy.Session{Policy: p, Remote: netip.MustParseAddr("203.0.113.5"), Local: netip.MustParseAddr("2001:db8::1"), Helo: "mx\r\n\xff"}
	if result != "" {
		s.Failure = &tlspolicy.Failure{Policy: p, Type: result, Err: errors.New("why")}
	}
	return s
}

func TestReports_day(t *testing.T) {
	f := newFixture(t)
	f.wants("example.org", "something", "v=TLSRPTv11; rua=mailto:no@example.org", "v=TLSRPTv1; rua=mailto:reports@example.org,https://r.example.org/in")
	p := opportunistic("example.org")
	f.Session(session(p, ""))
	f.Session(session(p, ""))
	f.Session(session(p, tlspolicy.StartTLSNotSupported))
	f.Session(session(p, tlspolicy.StartTLSNotSupported))
	f.Session(session(p, tlspolicy.ValidationFailure))
	f.Session(session(opportunistic("silent.example"), ""))
	f.Session(tlspolicy.Session{Policy: &tlspolicy.Policy{Host: "smarthost.example"}})
	f.Session(session(opportunistic("[203.0.113.5]"), ""))
	f.Session(tlspolicy.Session{})

	f.clock.Advance(12*time.Hour - time.Second)
	if f.pass(t.Context()); f.count != 0 {
		t.Fatal("a report was sent before midnight")
	}
	if err := f.save(); err != nil {
		t.Fatal(err)
	}
	f.start(t) // the counts outlive the process
	f.clock.Advance(jitterMax + time.Second)
	f.round(t.Context())
	if len(f.mails) != 1 || len(f.posts) != 1 || f.count != 2 {
		t.Fatalf("got %d mails and %d posts, want one each", len(f.mails), len(f.posts))
	}
	failure := func(kind tlsrpt.Text, n tlsrpt.Count) tlsrpt.Failure {
		return tlsrpt.Failure{Type: kind, Sender: "2001:db8::1", Host: "mx.example.org", Helo: "mx???", Receiver: "203.0.113.5", Sessions: n, Reason: "why"}
	}
	midnight := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	want := &tlsrpt.Report{
		Organization: "Demo", Contact: "postmaster@demo.test",
		Range: tlsrpt.Range{Start: tlsrpt.Time{Time: midnight}, End: tlsrpt.Time{Time: midnight.Add(24*time.Hour - time.Second)}},
		Policies: tlsrpt.Policies{{
			Policy: tlsrpt.Policy{Type: "no-policy-found", Domain: "example.org"}, Summary: tlsrpt.Summary{Successful: 2, Failed: 3},
			Failures: tlsrpt.Failures{failure("starttls-not-supported", 2), failure("validation-failure", 1)},
		}},
	}
	byMail, err := tlsrpt.ParseMessage(f.mails["reports@example.org"])
	if err != nil {
		t.Fatal(err)
	}
	want.ID = byMail.ID
	if !strings.HasPrefix(want.ID, "tlsrpt.20260301.") || !strings.HasSuffix(want.ID, "@mx.demo.test") {
		t.Errorf("id %q", want.ID)
	}
	byWeb, err := tlsrpt.DecodeReport(f.posts["https://r.example.org/in"])
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range []*tlsrpt.Report{byMail, byWeb} {
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("got (+), want (-):\n%s", d)
		}
	}
	f.start(t) // nothing is sent twice
	f.clock.Advance(24 * time.Hour)
	f.pass(t.Context())
	if f.count != 2 || len(f.tally.domains) != 0 {
		t.Errorf("%d attempts and %d domains after a restart, want 2 and none", f.count, len(f.tally.domains))
	}
	s := f.Sent()
	if len(s) != 1 || s[0].Domain != "example.org" || len(s[0].To) != 2 || s[0].Successful != 2 || s[0].Failed != 3 || s[0].Error != "" || s[0].Date != "2026-03-01" {
		t.Errorf("got %+v, want one report that was sent", s)
	}
}

func TestReports_retry(t *testing.T) {
	f := newFixture(t)
	f.wants("example.org", "v=TLSRPTv1; rua=mailto:reports@example.org")
	f.outside.records["_smtp._tls.failing.example"] = dns.Answer{RCode: dns.ServFail}
	f.outside.records["_smtp._tls.silent.example"] = dns.Answer{Err: dns.ErrTimeout}
	for _, d := range []message.Domain{"example.org", "failing.example", "silent.example"} {
		f.Session(session(opportunistic(d), ""))
	}
	f.outside.refuse = true
	f.clock.Advance(12*time.Hour + jitterMax)
	f.pass(t.Context())
	f.pass(t.Context())
	if f.count != 1 || len(f.tally.domains) != 3 {
		t.Fatalf("%d attempts, %d domains, want 1 and 3", f.count, len(f.tally.domains))
	}
	f.outside.refuse = false
	f.clock.Advance(retryPause)
	f.pass(t.Context())
	if len(f.mails) != 1 || len(f.tally.domains) != 2 {
		t.Fatalf("%d mails, %d domains, want 1 and 2", len(f.mails), len(f.tally.domains))
	}
	for range 25 {
		f.clock.Advance(retryPause)
		f.pass(t.Context())
	}
	if len(f.tally.domains) != 0 || f.count != 2 {
		t.Errorf("%d attempts, %d domains after a day, want 2 and none", f.count, len(f.tally.domains))
	}
	if s := f.Sent(); len(s) != 3 || s[0].Error == "" || len(s[0].To) != 0 || s[2].Error != "" {
		t.Errorf("got %+v, want one sent and two given up", s)
	}
}

func TestReports_whoWantsThem(t *testing.T) {
	for name, texts := range map[string][]string{
		"two":       {"v=TLSRPTv1; rua=mailto:a@example.org", "v=TLSRPTv1; rua=mailto:b@example.org"},
		"malformed": {"v=TLSRPTv1; rua=ftp://x"}, "another": {"v=spf1 -all"},
	} {
		f := newFixture(t)
		f.wants("example.org", texts...)
		f.Session(session(opportunistic("example.org"), ""))
		f.clock.Advance(12*time.Hour + jitterMax)
		f.pass(t.Context())
		if f.count != 0 || len(f.tally.domains) != 0 || len(f.Sent()) != 0 {
			t.Errorf("%s: %d attempts, %d domains, want none", name, f.count, len(f.tally.domains))
		}
	}
}

// TestReports_crash cuts the power at any step: what was sent twice has the
// same id.
func TestReports_crash(t *testing.T) {
	for n := 1; n < 12; n++ {
		f := newFixture(t)
		disk := f.o.FS.(*sim.Disk)
		f.wants("example.org", "v=TLSRPTv1; rua=mailto:reports@example.org")
		f.Session(session(opportunistic("example.org"), ""))
		if err := f.save(); err != nil {
			t.Fatal(err)
		}
		f.clock.Advance(12*time.Hour + jitterMax)
		disk.CrashAt(n)
		f.round(t.Context())
		first := f.mails["reports@example.org"]
		disk.Crash(sim.Any)
		f.start(t)
		f.clock.Advance(jitterMax)
		f.pass(t.Context())
		second := f.mails["reports@example.org"]
		a, err := tlsrpt.ParseMessage(first)
		if err != nil {
			t.Fatal(err)
		}
		b, err := tlsrpt.ParseMessage(second)
		if err != nil || a.ID != b.ID || f.count > 2 {
			t.Errorf("step %d: %v, ids %s and %s, %d attempts", n, err, a.ID, b.ID, f.count)
		}
	}
}

func TestReports_endOfContext(t *testing.T) {
	f := newFixture(t)
	f.wants("example.org", "v=TLSRPTv1; rua=mailto:reports@example.org")
	f.Session(session(opportunistic("example.org"), ""))
	f.clock.Advance(12*time.Hour + jitterMax)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f.pass(ctx)
	if len(f.tally.domains) != 1 {
		t.Error("a report that was not sent is forgotten")
	}
	if err := f.Run(ctx); err != nil {
		t.Error(err)
	}
	f.start(t)
	f.clock.Advance(retryPause)
	if f.pass(t.Context()); len(f.tally.domains) != 0 || len(f.Sent()) != 1 {
		t.Error("it was not sent later")
	}
}

// TestReports_boundedOctets: failures that are all different are counted, and
// told apart as far as there is room.
func TestReports_boundedOctets(t *testing.T) {
	f := newFixture(t)
	const nearly = octetsMax - 100_000 // as if others took it
	f.tally.octets = nearly
	for i := range 20 {
		for j := range policiesMax * failuresMax {
			p := opportunistic(message.Domain(fmt.Sprintf("d%d.example", i)))
			p.Text = []string{fmt.Sprint(j / failuresMax)}
			s := session(p, tlspolicy.ValidationFailure)
			s.Helo = fmt.Sprint(j) + strings.Repeat("x", 1000)
			f.Session(s)
		}
	}
	if n := f.tally.octets; n < octetsMax || n > octetsMax+1000 || len(f.tally.domains) == 20 {
		t.Errorf("%d octets of %d domains", n, len(f.tally.domains))
	}
	p := opportunistic("d0.example")
	p.Text = []string{"0"}
	a := f.tally.domains[key{"2026-03-01", "d0.example"}]
	before := a.Policies[0].Summary.Failed
	f.Session(session(p, tlspolicy.CertificateExpired))
	if got := a.Policies[0].Summary.Failed; got != before+1 {
		t.Errorf("%d failures, want %d", got, before+1)
	}
	f.clock.Advance(12*time.Hour + jitterMax)
	f.round(t.Context())
	if f.tally.octets != nearly || len(f.tally.domains) != 0 {
		t.Errorf("%d octets of %d domains are left", f.tally.octets-nearly, len(f.tally.domains))
	}
}

// TestReports_wear: the file is not written every minute where it is large, but
// what was sent is remembered at once.
func TestReports_wear(t *testing.T) {
	f := newFixture(t)
	const domains = 2000
	for i := range domains {
		f.Session(session(opportunistic(message.Domain(fmt.Sprintf("d%d.example", i))), tlspolicy.StartTLSNotSupported))
	}
	h := &writes{FS: f.o.FS}
	f.Reports.o.FS = h
	const minutes = 10
	for range minutes {
		f.Session(session(opportunistic("d1.example"), ""))
		f.round(t.Context())
		f.clock.Advance(runEvery)
	}
	if got := h.octets / (60 * minutes); got > saveOctetsASecond || h.octets == 0 {
		t.Errorf("%d octets a second, want at most %d", got, saveOctetsASecond)
	}
	f.clock.Advance(12*time.Hour + jitterMax)
	f.wants("d7.example", "v=TLSRPTv1; rua=mailto:reports@example.org")
	f.round(t.Context())
	f.start(t)
	f.round(t.Context())
	if f.count != 1 {
		t.Errorf("%d reports, want 1", f.count)
	}
}

// writes counts the octets of what is written.
type writes struct {
	sys.FS
	octets int
}

func (w *writes) Open(name string, flag int, mode fs.FileMode) (sys.File, error) {
	f, err := w.FS.Open(name, flag, mode)
	return &written{File: f, of: w}, err
}

type written struct {
	sys.File
	of *writes
}

func (w *written) WriteAt(b []byte, off int64) (int, error) {
	w.of.octets += len(b)
	return w.File.WriteAt(b, off)
}

// TestReports_ofReports: two hosts do not tell each other for ever of the
// connections by which they told.
func TestReports_ofReports(t *testing.T) {
	f := newFixture(t)
	s := session(opportunistic("example.org"), tlspolicy.StartTLSNotSupported)
	s.Report = true
	f.Session(s)
	if len(f.tally.domains) != 0 {
		t.Error("a report alone makes a report")
	}
	f.Session(session(opportunistic("example.org"), ""))
	f.Session(s)
	if sum := f.tally.domains[key{"2026-03-01", "example.org"}].Policies[0].Summary; sum.Failed != 1 || sum.Successful != 1 {
		t.Errorf("got %+v", sum)
	}
}

func TestReports_bounded(t *testing.T) {
	f := newFixture(t)
	for i := range domainsMax + 5 {
		f.Session(session(opportunistic(message.Domain(fmt.Sprintf("d%d.example", i))), ""))
	}
	p := opportunistic("d1.example")
	for i := range 100 {
		s := session(p, tlspolicy.ValidationFailure)
		s.Helo = fmt.Sprintf("host%d%s", i, strings.Repeat("x", 1000))
		f.Session(s)
		// DANE policies that change all the time.
		f.Session(tlspolicy.Session{Policy: &tlspolicy.Policy{Domain: "d2.example"}, Failure: &tlspolicy.Failure{
			Policy: p, Type: tlspolicy.Result(fmt.Sprint(i)), Err: errors.New(strings.Repeat("y", 10_000))}})
	}
	if len(f.tally.domains) != domainsMax {
		t.Errorf("%d domains, want %d", len(f.tally.domains), domainsMax)
	}
	a := f.tally.domains[key{"2026-03-01", "d1.example"}]
	if r := a.Policies[0]; len(r.Failures) != failuresMax || r.Summary.Failed != 100 || len(r.Failures[0].Helo) > reasonOctetsMax {
		t.Errorf("%d kinds of %d failures", len(r.Failures), r.Summary.Failed)
	}
	if err := f.save(); err != nil {
		t.Fatal(err)
	}
	f.start(t)
	if len(f.tally.domains) != domainsMax {
		t.Errorf("%d domains after a restart, want %d", len(f.tally.domains), domainsMax)
	}
}

func TestReports_policies(t *testing.T) {
	var a account
	for i := range policiesMax + 1 {
		p := a.policy(tlsrpt.Policy{Type: "tlsa", Text: tlsrpt.Lines{tlsrpt.Text(fmt.Sprint(i))}}, true)
		if (p == nil) != (i == policiesMax) {
			t.Errorf("policy %d: %v", i, p)
		}
	}
	if p := a.policy(tlsrpt.Policy{Type: "tlsa", Text: tlsrpt.Lines{"3"}}, true); p != &a.Policies[3] {
		t.Error("a known policy was not found")
	}
}

func TestReports_refusesOptions(t *testing.T) {
	f := newFixture(t)
	for _, o := range []Options{{}, {Hostname: "a.example"}, {From: address(t, "a@b.example")}} {
		if _, err := New(o, f.outside, f.outside, nil); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
	if _, err := New(f.o, nil, f.outside, nil); err == nil {
		t.Error("no resolver was taken")
	}
}

func TestReports_damagedFile(t *testing.T) {
	for _, text := range []string{"{", `{"version":9}`, `{"version":1,"pending":[{"date":"x","domain":"a.example"}]}`, `{"version":1,"pending":[{"date":"2026-03-01","domain":"a b"}]}`} {
		f := newFixture(t)
		if err := snapshot(f.o.FS, "tally.json").Replace([]byte(text)); err != nil {
			t.Fatal(err)
		}
		f.start(t)
		if _, err := f.o.FS.Stat("tally.json.aside"); err != nil || len(f.tally.domains) != 0 {
			t.Errorf("%s: %v, %d domains", text, err, len(f.tally.domains))
		}
		f.Session(session(opportunistic("example.org"), ""))
	}
}

func build(t testing.TB, r *tlsrpt.Report) []byte {
	t.Helper()
	m := tlsrpt.Mail{ID: "a", Now: noon(), From: address(t, "reports@example.org"), To: address(t, "postmaster@demo.test"), Domain: "demo.test", Submitter: "mx.example.org", Report: r}
	raw, err := m.Build()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestArchive(t *testing.T) {
	clock := sim.NewClock(noon())
	o := ArchiveOptions{FS: sim.NewDisk(1), Path: "received.json", Clock: clock}
	a := OpenArchive(o)
	report := func(id string) *tlsrpt.Report {
		return &tlsrpt.Report{Organization: "Example", ID: id, Policies: tlsrpt.Policies{{
			Policy: tlsrpt.Policy{Type: "sts", Domain: "demo.test"}, Summary: tlsrpt.Summary{Successful: 7, Failed: 1},
			Failures: tlsrpt.Failures{{Type: "certificate-expired", Sessions: 1}},
		}}}
	}
	collect := func(raw []byte) Received {
		t.Helper()
		got, err := a.Collect(bytes.NewReader(raw), int64(len(raw)))
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	first := collect(build(t, report("one")))
	want := Received{ID: "1", At: noon(), Organization: "Example", From: "reports@example.org", Domains: []message.Domain{"demo.test"}, Successful: 7, Failed: 1}
	if d := cmp.Diff(want, first); d != "" {
		t.Errorf("got (+), want (-):\n%s", d)
	}
	collect(build(t, report("two")))
	collect(build(t, report("one"))) // again
	if err := a.save(); err != nil {
		t.Fatal(err)
	}
	a = OpenArchive(o)
	if l := a.List(); len(l) != 2 || l[0].ID != "3" || l[1].ID != "2" {
		t.Errorf("got %+v, want reports 3 and 2", l)
	}
	sum, r, err := a.Show("2")
	if err != nil || sum.ID != "2" || r.ID != "two" || r.Policies[0].Failures[0].Type != "certificate-expired" {
		t.Errorf("got %+v %+v %v", sum, r, err)
	}
	if _, _, err := a.Show("1"); !errors.Is(err, ErrNoReport) {
		t.Errorf("got %v, want %v", err, ErrNoReport)
	}
	for _, raw := range []string{"", "Subject: x\r\n\r\nhello"} {
		if _, err := a.Collect(strings.NewReader(raw), int64(len(raw))); !errors.Is(err, tlsrpt.ErrReport) {
			t.Errorf("got %v, want %v", err, tlsrpt.ErrReport)
		}
	}
	if _, err := a.Collect(strings.NewReader(""), 1<<40); !errors.Is(err, tlsrpt.ErrReport) {
		t.Errorf("got %v for a huge message, want %v", err, tlsrpt.ErrReport)
	}
	for i := range receivedMax + 5 {
		collect(build(t, report(fmt.Sprint(i))))
	}
	if n := len(a.List()); n != receivedMax {
		t.Errorf("%d reports, want %d", n, receivedMax)
	}
}

func TestArchive_trims(t *testing.T) {
	long := tlsrpt.Text(strings.Repeat("<", 500))
	big := &tlsrpt.Report{ID: "big"}
	for range 100 {
		p := tlsrpt.PolicyResult{Policy: tlsrpt.Policy{Domain: "demo.test", Text: slices.Repeat(tlsrpt.Lines{long}, 50)}, Summary: tlsrpt.Summary{Failed: 200}}
		for range 200 {
			p.Failures = append(p.Failures, tlsrpt.Failure{Reason: long, Sessions: 1})
		}
		big.Policies = append(big.Policies, p)
	}
	e, err := archive(big)
	if err != nil || len(e.Report) > receivedOctetsMax || !e.Trimmed || e.Failed != 100*200 {
		t.Errorf("got %d octets, trimmed %v, %d failures, %v", len(e.Report), e.Trimmed, e.Failed, err)
	}
	if _, err := tlsrpt.DecodeReport(e.Report); err != nil {
		t.Error(err)
	}
}

func FuzzTally(f *testing.F) {
	f.Add([]byte(`{"version":1,"pending":[{"date":"2026-03-01","domain":"a.example","policies":[{"policy":{"policy-type":"sts"}}]}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := decodeTally(b)
		if err != nil {
			return
		}
		all := got.copy()
		text, err := all.encode()
		if err != nil {
			return // a year that no JSON has
		}
		if again, err := decodeTally(text); err != nil || len(again.domains) != len(got.domains) {
			t.Fatalf("%d domains become %d: %v", len(got.domains), len(again.domains), err)
		}
		got.due(noon(), func() time.Duration { return 0 })
	})
}
