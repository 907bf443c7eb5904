package dkim

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/mail/mailauth"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// clock stands until it is set.
type clock struct{ t time.Time }

func (c *clock) Now() time.Time                     { return c.t }
func (*clock) After(time.Duration) <-chan time.Time { return nil }

func newClock() *clock { return &clock{time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)} }

// zone answers TXT questions.
type zone struct {
	mu      sync.Mutex
	records map[string][]string
	down    bool
	asked   int
}

func (z *zone) publish(rs []Record) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.records == nil {
		z.records = map[string][]string{}
	}
	for _, r := range rs {
		z.records[r.Name] = []string{strings.Join(r.Strings, "")}
	}
}

func (z *zone) questions() int {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.asked
}

func (z *zone) Lookup(_ context.Context, q dns.Question) dns.Answer {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.asked++
	a := dns.Answer{Question: q, Texts: z.records[q.Name]}
	switch {
	case z.down:
		a.Texts, a.Err = nil, errors.New("time-out")
	case a.Texts == nil:
		a.RCode = dns.NXDomain
	}
	return a
}

func open(t testing.TB, dir string, c sys.Clock) *Store {
	t.Helper()
	s, err := Open(Options{Dir: dir, Clock: c})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func records(t testing.TB, s *Store, d message.Domain) []Record {
	t.Helper()
	rs, err := s.Records(d)
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

// selectors are those of the keys that sign.
func selectors(s *Store, d message.Domain, now time.Time) string {
	var out []string
	for _, k := range s.Active(d, now) {
		out = append(out, k.Selector)
	}
	return strings.Join(out, " ")
}

func states(s *Store, d message.Domain) string {
	var out []string
	for _, k := range s.List(d) {
		out = append(out, k.Selector+":"+string(k.State))
	}
	return strings.Join(out, " ")
}

// life is a domain's keys, with a second Store on the same folder, as the host
// is to the command line.
type life struct {
	t       *testing.T
	c       *clock
	z       *zone
	s, host *Store
}

func newLife(t *testing.T) *life {
	dir, c := t.TempDir(), newClock()
	return &life{t, c, &zone{}, open(t, dir, c), open(t, dir, c)}
}

// expect says which keys sign, and what all are.
func (l *life) expect(what, active, list string) {
	l.t.Helper()
	if err := l.host.Reload(); err != nil {
		l.t.Fatalf("%s: %v", what, err)
	}
	for _, s := range []*Store{l.s, l.host} {
		if got := selectors(s, "example.org", l.c.t); got != active {
			l.t.Errorf("%s: got active %q, want %q", what, got, active)
		}
		if got := states(s, "example.org"); got != list {
			l.t.Errorf("%s: got %q, want %q", what, got, list)
		}
	}
}

// do runs a change that must succeed.
func (l *life) do(change func(message.Domain) ([]Key, error)) {
	l.t.Helper()
	if _, err := change("example.org"); err != nil {
		l.t.Fatal(err)
	}
}

func (l *life) check() {
	l.t.Helper()
	if _, err := l.s.Check(l.t.Context(), l.z, ""); err != nil {
		l.t.Fatal(err)
	}
}

func TestStore_Waits(t *testing.T) {
	l := newLife(t)
	l.expect("empty", "", "")
	l.do(l.s.Add)
	l.expect("added", "", "e20261122:waiting r20261122:waiting")
	l.check()
	l.expect("not published", "", "e20261122:waiting r20261122:waiting")
	l.z.publish(records(t, l.s, "example.org")[:1])
	l.check()
	l.expect("one published", "e20261122", "e20261122:signing r20261122:waiting")
	if _, err := l.s.Rotate("example.org"); err == nil {
		t.Error("rotated while a key waits")
	}
	l.z.publish(records(t, l.s, ""))
	l.check()
	l.expect("published", "r20261122 e20261122", "e20261122:signing r20261122:signing")
}

func (l *life) force(d message.Domain) ([]Key, error) { return l.s.Force(d) }

func TestStore_Retires(t *testing.T) {
	l := newLife(t)
	l.do(l.s.Add)
	l.do(l.force)
	l.c.t = l.c.t.AddDate(0, 6, 0)
	l.do(l.s.Rotate)
	l.expect("rotated", "r20261122 e20261122", "e20261122:signing r20261122:signing e20270522:waiting r20270522:waiting")
	if err := l.s.Retire("example.org", "r20261122", false); err == nil {
		t.Error("a key that signs was retired")
	}
	l.do(l.force)
	l.expect("forced", "r20270522 e20270522", "e20261122:replaced r20261122:replaced e20270522:signing r20270522:signing")
	if err := l.s.Retire("example.org", "r20261122", false); err == nil || !strings.Contains(err.Error(), "until 2027-06-05") {
		t.Errorf("retired at once: %v", err)
	}
	l.c.t = l.c.t.Add(keepPublished)
	if err := l.s.Retire("example.org", "r20261122", false); err != nil {
		t.Fatal(err)
	}
	l.expect("retired", "r20270522 e20270522", "e20261122:replaced r20261122:retired e20270522:signing r20270522:signing")
	if got := len(records(t, l.s, "example.org")); got != 3 {
		t.Errorf("got %d records", got)
	}
	if _, err := os.Stat(l.s.path("example.org", "r20261122.pem")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the key's file: %v", err)
	}
	if err := l.s.Retire("example.org", "r20261122", true); err == nil {
		t.Error("retired twice")
	}
	if err := l.s.Retire("example.org", "r20270522", true); err != nil {
		t.Fatal(err)
	}
	l.expect("retired by force", "e20270522", "e20261122:replaced r20261122:retired e20270522:signing r20270522:retired")
}

// TestStore_Signs signs by a Store's keys and verifies by its records.
func TestStore_Signs(t *testing.T) {
	c, z := newClock(), &zone{}
	s := open(t, t.TempDir(), c)
	if _, err := s.Add("example.org"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Force("example.org"); err != nil {
		t.Fatal(err)
	}
	z.publish(records(t, s, ""))
	const header, body = "From: one@example.org\r\n", "Hello\r\n"
	h := mailauth.NewBodyHash()
	h.Write([]byte(body))
	fields, err := mailauth.SignDKIM(s.Active("example.org", c.t), []byte(header), h, c.t, sys.Rand())
	if err != nil {
		t.Fatal(err)
	}
	msg := fields + header + "\r\n" + body
	got, err := mailauth.VerifyDKIM(t.Context(), z, strings.NewReader(msg), int64(len(msg)), c.t)
	if err != nil || len(got) != 2 || got[0].Outcome != mailauth.DKIMPass || got[1].Outcome != mailauth.DKIMPass || got[0].KeyBits != rsaBits {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestStore_Records(t *testing.T) {
	s := open(t, t.TempDir(), newClock())
	for _, d := range []message.Domain{"b.test", "a.test"} {
		if _, err := s.Add(d); err != nil {
			t.Fatal(err)
		}
	}
	rs := records(t, s, "")
	if len(rs) != 4 || rs[0].Name != "e20261122._domainkey.a.test" || rs[3].Name != "r20261122._domainkey.b.test" {
		t.Fatalf("got %+v", rs)
	}
	for _, r := range rs {
		text := strings.Join(r.Strings, "")
		if !strings.HasPrefix(text, "v=DKIM1; k=") || strings.HasPrefix(r.Name, "r") != (len(r.Strings) == 2) {
			t.Errorf("got %+v", r)
		}
		for _, part := range r.Strings {
			if len(part) > 255 {
				t.Errorf("string of %d octets", len(part))
			}
		}
	}
	if got, want := rs[0].String(), "e20261122._domainkey.a.test. IN TXT ( \"v=DKIM1; k=ed25519; p="; !strings.HasPrefix(got, want) || !strings.HasSuffix(got, `" )`) {
		t.Errorf("got %s", got)
	}
	if got := records(t, s, "c.test"); got != nil {
		t.Errorf("got %+v", got)
	}
}

func TestStore_Check(t *testing.T) {
	c, z := newClock(), &zone{}
	s := open(t, t.TempDir(), c)
	if _, err := s.Add("example.org"); err != nil {
		t.Fatal(err)
	}
	z.publish(records(t, s, ""))
	name := "e20261122._domainkey.example.org"
	good := z.records[name][0]
	other := open(t, t.TempDir(), c)
	if _, err := other.Add("example.org"); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		texts   []string
		down    bool
		problem string
	}{
		{nil, true, "did not answer: time-out"},
		{nil, false, "no such record"},
		{[]string{good, good}, false, "more than one"},
		{[]string{"v=DKIM1; k=ed25519; p="}, false, "revoked"},
		{[]string{"hello"}, false, "cannot be used"},
		{records(t, other, "")[0].Strings, false, "another key"},
		{[]string{strings.Replace(good, "v=DKIM1; ", "", 1)}, false, ""},
	} {
		z.records[name], z.down = tc.texts, tc.down
		got, err := s.Check(t.Context(), z, "example.org")
		if err != nil || len(got) != 2 || got[0].Published != (tc.problem == "") || !strings.Contains(got[0].Problem, tc.problem) {
			t.Errorf("%v: got %+v, %v", tc.texts, got, err)
		}
		if got[0].Published != (got[0].State == Signing) {
			t.Errorf("%v: got %+v", tc.texts, got[0])
		}
	}
}

func TestStore_Refuses(t *testing.T) {
	dir, c := t.TempDir(), newClock()
	s := open(t, dir, c)
	for _, d := range []message.Domain{"", "[192.0.2.1]", "../x", "Example.ORG", "a/b.test"} {
		if _, err := s.Add(d); err == nil {
			t.Errorf("%q: added", d)
		}
	}
	if _, err := s.Rotate("example.org"); err == nil {
		t.Error("rotated without keys")
	}
	if _, err := s.Force("example.org"); err == nil {
		t.Error("forced without keys")
	}
	if err := s.Retire("example.org", "a", true); err == nil {
		t.Error("retired without keys")
	}
	if _, err := s.Add("example.org"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Add("example.org"); err == nil {
		t.Error("added twice")
	}
	lock, err := sys.OSFS().Lock(filepath.Join(dir, ".lock"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Force("example.org"); err == nil || !strings.Contains(err.Error(), "somebody else") {
		t.Errorf("locked: got %v", err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestNewSelector(t *testing.T) {
	var keys domainKeys
	for _, want := range []string{"r20261122", "r20261122b", "r20261122c", "r20261122d", "r20261122e", "r20261122f", "r20261122g", "r20261122h", ""} {
		got, err := keys.newSelector("r", newClock().t)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
		keys = append(keys, entry{Selector: got})
	}
}

// TestStore_Files: keys are for their owner only, and given to him; damage of
// one domain leaves the others, and what was read before.
func TestStore_Files(t *testing.T) {
	dir, c := filepath.Join(t.TempDir(), "dkim"), newClock()
	var owned []string
	s, err := Open(Options{Dir: dir, Clock: c, Own: func(name string) error {
		owned = append(owned, filepath.Base(name))
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []message.Domain{"a.test", "b.test"} {
		if _, err := s.Add(d); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Force(d); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(owned[:6], " "); got != "dkim .lock a.test r20261122.pem e20261122.pem keys.json" {
		t.Errorf("given to the host: %s", got)
	}
	for _, name := range []string{"r20261122.pem", "e20261122.pem", "keys.json"} {
		info, err := os.Stat(filepath.Join(dir, "a.test", name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: got %v, %v", name, info.Mode(), err)
		}
	}
	state, err := os.ReadFile(filepath.Join(dir, "a.test", "keys.json"))
	if err != nil || bytes.Contains(state, []byte("PRIVATE")) {
		t.Errorf("got %s, %v", state, err)
	}
	for name, damage := range map[string]string{
		"r20261122.pem": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
		"e20261122.pem": "rubbish",
		"keys.json":     `{"keys":[{"selector":"../../etc/x"}]}`,
	} {
		path := filepath.Join(dir, "a.test", name)
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		write := func(b []byte) {
			t.Helper()
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write([]byte(damage))
		if err := s.Reload(); err == nil || !strings.Contains(err.Error(), "a.test") || strings.Contains(err.Error(), "b.test") {
			t.Errorf("%s: got %v", name, err)
		}
		if got := selectors(s, "a.test", c.t) + selectors(s, "b.test", c.t); got != strings.Repeat("r20261122 e20261122", 2) {
			t.Errorf("%s: got %s", name, got)
		}
		if _, err := Open(Options{Dir: dir, Clock: c}); err == nil {
			t.Errorf("%s: opened", name)
		}
		write(good)
	}
	write := os.WriteFile(filepath.Join(dir, "a.test", "keys.json"), bytes.Repeat([]byte(" "), fileOctetsMax+1), 0o600)
	if err := s.Reload(); write != nil || err == nil {
		t.Errorf("large file: %v, %v", write, err)
	}
}

// TestStore_Run: a host finds what the command line has made, and what the DNS
// has come to publish.
func TestStore_Run(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		z := &zone{}
		host := open(t, dir, sys.RealClock())
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- host.Run(ctx, z) }()
		s := open(t, dir, sys.RealClock())
		if _, err := s.Add("example.org"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3*lookEvery + time.Second)
		if got := states(host, "example.org"); strings.Count(got, "waiting") != 2 || z.questions() != 6 {
			t.Errorf("got %s after %d questions", got, z.questions())
		}
		z.publish(records(t, s, ""))
		time.Sleep(3 * lookEvery)
		if got := host.Active("example.org", time.Now()); len(got) != 2 || z.questions() != 8 {
			t.Errorf("got %d keys that sign, after %d questions", len(got), z.questions())
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}
