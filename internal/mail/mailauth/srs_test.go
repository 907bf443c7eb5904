package mailauth

import (
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// fixed is a clock that stands.
type fixed struct{ t time.Time }

func (f *fixed) Now() time.Time                     { return f.t }
func (*fixed) After(time.Duration) <-chan time.Time { return nil }

var (
	srsSecret = []byte("0123456789abcdef")
	srsOther  = []byte("fedcba9876543210")
)

func newSRS(t testing.TB, clock *fixed, domain string, secrets ...[]byte) *SRS {
	t.Helper()
	if len(secrets) == 0 {
		secrets = [][]byte{srsSecret}
	}
	s, err := NewSRS(SRSOptions{Domain: message.Domain(domain), Secrets: secrets, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func address(t testing.TB, s string) message.Address {
	t.Helper()
	a, err := message.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestSRS(t *testing.T) {
	clock := &fixed{dkimNow}
	s := newSRS(t, clock, "fwd.test")
	for _, c := range []struct {
		sender string
		prefix string // of the rewritten local part; "" leaves it as it is
		back   string // "" is the sender
	}{
		{"one@example.org", "SRS0=", ""},
		{"One.Two+three@example.org", "SRS0=", ""},
		{"a=b@example.org", "SRS0=", ""},
		{`"a b"@example.org`, `SRS0=`, ""},
		{"ü@example.org", "SRS0=", ""},
		{"one@[192.0.2.1]", "SRS0=", ""},
		{"srs0@example.org", "SRS0=", ""},
		{"SRS2=a=b=c=d@example.org", "SRS0=", ""},
		{"own@fwd.test", "", ""},
		{"SRS0=HHHH=TT=b.test=one@a.test", "SRS1=", ""},
		{"srs0-hhhh=tt=b.test=one@a.test", "SRS1=", "SRS0-hhhh=tt=b.test=one@a.test"},
		{"SRS1=XXXX=a.test==HHHH=TT=b.test=one@mid.test", "SRS1=", "SRS0=HHHH=TT=b.test=one@a.test"},
		{"SRS1=broken@mid.test", "SRS0=", ""},
	} {
		sender := address(t, c.sender)
		got := s.Forward(sender)
		if c.prefix == "" {
			if got != sender {
				t.Errorf("%s: got %s", c.sender, got)
			}
			continue
		}
		if got.Domain != "fwd.test" || !strings.HasPrefix(got.Local, c.prefix) || !s.Ours(got) {
			t.Errorf("%s: got %s", c.sender, got)
		}
		want := sender
		if c.back != "" {
			want = address(t, c.back)
		}
		if back, err := s.Reverse(got); err != nil || back != want {
			t.Errorf("%s: %s gives %s, %v", c.sender, got, back, err)
		}
	}
	if got := s.Forward(message.Address{}); !got.IsZero() {
		t.Errorf("null sender: got %s", got)
	}
}

// TestSRS_Known holds the form: addresses that are out there must stay good.
func TestSRS_Known(t *testing.T) {
	s := newSRS(t, &fixed{dkimNow}, "fwd.test")
	if got, want := s.Forward(address(t, "one@example.org")).String(), "SRS0=OPBDI5=JL=example.org=one@fwd.test"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestSRS_Reverse_Refuses(t *testing.T) {
	clock := &fixed{dkimNow}
	s := newSRS(t, clock, "fwd.test")
	good := s.Forward(address(t, "one@example.org")).String()
	chain := s.Forward(address(t, "SRS0=HHHH=TT=b.test=one@a.test")).String()
	for _, c := range []struct{ name, addr, problem string }{
		{"ordinary", "one@fwd.test", "neither"},
		{"nothing behind", `"SRS0="@fwd.test`, "neither"},
		{"parts", "SRS0=AAAAAA@fwd.test", "parts"},
		{"other sender", strings.Replace(good, "=one@", "=two@", 1), "hash"},
		{"other domain", strings.Replace(good, "example.org", "example.net", 1), "hash"},
		{"parts moved", strings.Replace(good, "example.org=one", "example.org.one=x", 1), "hash"},
		{"shorter hash", good[:5] + good[6:], "hash"},
		{"no hash", "SRS0==" + strings.SplitN(good, "=", 3)[2], "hash"},
		{"other kind", strings.Replace(good, "SRS0", "SRS1", 1), "hash"},
		{"other hop", strings.Replace(chain, "a.test", "c.test", 1), "hash"},
	} {
		got, err := s.Reverse(address(t, c.addr))
		if !errors.Is(err, ErrSRS) || !strings.Contains(err.Error(), c.problem) || !got.IsZero() {
			t.Errorf("%s: %s gives %s, %v", c.name, c.addr, got, err)
		}
	}
	if _, err := newSRS(t, clock, "fwd.test", srsOther).Reverse(address(t, good)); !errors.Is(err, ErrSRS) {
		t.Errorf("other secret: got %v", err)
	}
}

// TestSRS_Ours: what other forwarders rewrite is for them to undo.
func TestSRS_Ours(t *testing.T) {
	s := newSRS(t, &fixed{dkimNow}, "fwd.test")
	ours := s.Forward(address(t, "one@example.org"))
	for a, want := range map[message.Address]bool{
		ours: true,
		{Local: ours.Local, Domain: "other.test"}:        false,
		{Local: ours.Local, Domain: "sub.fwd.test"}:      false,
		{Local: "SRS1=x", Domain: "fwd.test"}:            true,
		{Local: "one", Domain: "fwd.test"}:               false,
		address(t, "SRS0=HHHH=TT=b.test=one@forward.er"): false,
	} {
		if got := s.Ours(a); got != want {
			t.Errorf("%s: got %v", a, got)
		}
	}
}

// TestSRS_Case: hosts on the way may change the case of a local part.
func TestSRS_Case(t *testing.T) {
	s := newSRS(t, &fixed{dkimNow}, "fwd.test")
	for _, sender := range []string{"one@example.org", "SRS0=HHHH=TT=b.test=one@a.test"} {
		a := s.Forward(address(t, sender))
		for _, local := range []string{strings.ToLower(a.Local), strings.ToUpper(a.Local)} {
			back, err := s.Reverse(message.Address{Local: local, Domain: a.Domain})
			if err != nil || !strings.EqualFold(back.String(), sender) {
				t.Errorf("%s: got %s, %v", local, back, err)
			}
		}
	}
}

func TestSRS_Days(t *testing.T) {
	clock := &fixed{dkimNow}
	s := newSRS(t, clock, "fwd.test")
	// From any day of the round on, over its end too.
	for day := range 2 * srsDaysRound {
		begin := dkimNow.AddDate(0, 0, day)
		clock.t = begin
		a := s.Forward(address(t, "one@example.org"))
		for _, c := range []struct {
			days int
			good bool
		}{{0, true}, {21, true}, {22, false}, {500, false}, {-1, true}, {-2, false}} {
			clock.t = begin.AddDate(0, 0, c.days)
			if _, err := s.Reverse(a); (err == nil) != c.good {
				t.Fatalf("day %d, after %d days: got %v", day, c.days, err)
			}
		}
	}
}

func TestSRS_Secrets(t *testing.T) {
	clock := &fixed{dkimNow}
	old := newSRS(t, clock, "fwd.test").Forward(address(t, "one@example.org"))
	s := newSRS(t, clock, "fwd.test", srsOther, srsSecret)
	if back, err := s.Reverse(old); err != nil || back.String() != "one@example.org" {
		t.Errorf("old secret: got %s, %v", back, err)
	}
	if got := s.Forward(address(t, "one@example.org")); got == old {
		t.Error("the new secret does not sign")
	}
	for _, o := range []SRSOptions{
		{},
		{Domain: "fwd.test", Clock: clock},
		{Domain: "fwd.test", Clock: clock, Secrets: [][]byte{srsSecret, []byte("short")}},
		{Domain: "fwd.test", Secrets: [][]byte{srsSecret}},
	} {
		if _, err := NewSRS(o); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
}

// TestSRS_Long: what does not fit goes out in postmaster's name, and comes
// back to him.
func TestSRS_Long(t *testing.T) {
	clock := &fixed{dkimNow}
	s := newSRS(t, clock, "fwd.test")
	for _, c := range []struct{ sender, want string }{
		{strings.Repeat("a", 37) + "@example.org", ""},
		{strings.Repeat("a", 38) + "@example.org", "postmaster@fwd.test"},
		{"one@" + strings.Repeat("d", 60) + ".test", "postmaster@fwd.test"},
	} {
		a := s.Forward(address(t, c.sender))
		want := c.want
		if want == "" {
			want = c.sender
		}
		if back, err := s.Reverse(a); err != nil || back.String() != want || len(a.Local) > srsLocalOctetsMax {
			t.Errorf("%s: %s gives %s, %v", c.sender, a, back, err)
		}
	}
	long := message.Domain(strings.Repeat("d", 40) + ".test")
	s = newSRS(t, clock, string(long))
	if got := s.Forward(address(t, strings.Repeat("a", 60)+"@example.org")); got != (message.Address{Local: "postmaster", Domain: long}) {
		t.Errorf("long domain: got %s", got)
	}
}

// TestSRS_Model: over any number of forwarders each address fits, and a bounce
// goes back to the first forwarder, and from there to the sender.
func TestSRS_Model(t *testing.T) {
	clock := &fixed{dkimNow}
	local := rapid.StringMatching(`[a-zA-Z0-9=+-]{1,20}`)
	rapid.Check(t, func(rt *rapid.T) {
		sender := message.Address{Local: local.Draw(rt, "local"), Domain: "example.org"}
		if kind, _ := srsKind(sender.Local); kind != 0 {
			return
		}
		first := newSRS(t, clock, "a.test")
		a := first.Forward(sender)
		last := first
		for i := range rapid.IntRange(0, 5).Draw(rt, "hops") {
			last = newSRS(t, clock, string(rune('b'+i))+".test", srsOther)
			a = last.Forward(a)
		}
		if !srsFits(a) {
			rt.Fatalf("%s is too long", a)
		}
		if a.Local == "postmaster" {
			return
		}
		back, err := last.Reverse(a)
		if err == nil && last != first && back.Local != "postmaster" {
			back, err = first.Reverse(back)
		}
		if err != nil || back != sender && back.Local != "postmaster" {
			rt.Fatalf("%s gives %s, %v", a, back, err)
		}
	})
}

// FuzzSRS: nobody makes an address that we take.
func FuzzSRS(f *testing.F) {
	f.Add("SRS0=AAAAAA=JJ=example.org=one")
	f.Add("SRS1=AAAAAA=a.test==HHHH=TT=b.test=one")
	f.Fuzz(func(t *testing.T, local string) {
		s := newSRS(t, &fixed{dkimNow}, "fwd.test")
		a := message.Address{Local: local, Domain: "fwd.test"}
		if back, err := s.Reverse(a); err == nil {
			t.Fatalf("%q gives %s", local, back)
		}
		a.Domain = "example.org"
		out := s.Forward(a)
		if _, err := s.Reverse(out); err != nil && local != "" || !srsFits(out) {
			t.Fatalf("%q: %s, %v", local, out, err)
		}
	})
}
