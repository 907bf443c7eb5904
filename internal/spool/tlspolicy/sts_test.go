package tlspolicy

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/breakwater-mail/breakwater/internal/base/sim"
)

func TestParseRecord(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"v=STSv1; id=20160831085700Z;", "20160831085700Z"}, {"v=STSv1;id=1", "1"}, {"v=STSv1 ;\tid = a1 ; x=y; ", "a1"},
		{"v=STSv1; x=y; id=1; id=2", "1"}, {"v=STSv1; id=1;;", "1"},
		{"", ""}, {"v=STSv1", ""}, {"v=STSv1;", ""}, {"v=STSv1; id=", ""}, {"v=STSv2; id=1", ""}, {"V=STSv1; id=1", ""}, {"id=1; v=STSv1", ""},
		{"v=STSv1; id=a-b", ""}, {"v=STSv1; id=" + strings.Repeat("a", 33), ""}, {"v=STSv1; id=1; x", ""}, {"v=STSv1; id=1;" + strings.Repeat(" ", 1024) + "x=y", ""},
	} {
		got, err := ParseRecord(c.in)
		if got != c.want || (err == nil) != (c.want != "") || err != nil && !errors.Is(err, ErrSTS) {
			t.Errorf("%q: got %q %v, want %q", c.in, got, err, c.want)
		}
	}
}

func TestParsePolicy(t *testing.T) {
	const head = "version: STSv1\nmode: enforce\n"
	many := ""
	for i := range patternsMax {
		many += fmt.Sprintf("mx: mx%d.example.org\n", i)
	}
	for _, c := range []struct{ in, want string }{
		{"version: STSv1\r\nmode: enforce\r\nmx: MX.example.org\r\nmx: *.example.net\r\nmax_age: 604800\r\n", "enforce mx.example.org,*.example.net 168h0m0s"},
		{"max_age:60\nmx:a.example\n\nmode:testing  \n version : STSv1", "testing a.example 1m0s"},
		{"version: STSv1\nmode: none\nmax_age: 60\n", "none  1m0s"},
		{head + "mx: a.example\nmx: a.example\nmax_age: 1\nmax_age: 2\nmode: none\nfuture: x\n", "enforce a.example 1s"},
		{head + "mx: bücher.example\nmax_age: 1", "enforce xn--bcher-kva.example 1s"},
		{head + "mx: a.example.\nmax_age: 9999999999", "enforce a.example 8766h0m0s"},
		{head + many + "max_age: 1", "enforce many 1s"},
		{head + many + "mx: one.more.example\nmax_age: 1", ""},
		{head + "max_age: 1", ""}, {head + "mx: a.example", ""}, {"mode: enforce\nmx: a.example\nmax_age: 1", ""},
		{"version: STSv1\nmx: a.example\nmax_age: 1", ""}, {"version: STSv2\nmode: none\nmax_age: 1", ""},
		{"version: STSv1\nmode: Enforce\nmx: a.example\nmax_age: 1", ""}, {head + "mx: a.example\nmax_age: -1", ""},
		{head + "mx: a.example\nmax_age: 1s", ""}, {head + "mx: a.example\nmax_age: 99999999999", ""}, {head + "mx: *\nmax_age: 1", ""},
		{head + "mx: a.*.example\nmax_age: 1", ""}, {head + "mx: *.*.example\nmax_age: 1", ""}, {head + "mx: [192.0.2.1]\nmax_age: 1", ""},
		{head + "mx: a b\nmax_age: 1", ""}, {head + "mx:\nmax_age: 1", ""}, {head + "<html>\nmax_age: 1", ""}, {"", ""},
		{head + "mx: a.example\nmax_age: 1\n" + strings.Repeat("x: y\n", linesMax), ""}, {strings.Repeat("\n", policyOctetsMax+1), ""},
	} {
		p, err := ParsePolicy([]byte(c.in))
		got := ""
		if err == nil {
			mx := strings.Join(p.MX, ",")
			if len(p.MX) == patternsMax {
				mx = "many"
			}
			got = fmt.Sprintf("%s %s %s", p.Mode, mx, p.MaxAge)
		} else if !errors.Is(err, ErrSTS) {
			t.Errorf("got %v, want it to wrap %v", err, ErrSTS)
		}
		if got != c.want {
			t.Errorf("%.60q: got %q %v, want %q", c.in, got, err, c.want)
		}
	}
}

func TestSTSPolicy_matches(t *testing.T) {
	p := STSPolicy{MX: []string{"mx.example.org", "*.example.net"}}
	for host, want := range map[string]bool{
		"mx.example.org": true, "MX.Example.ORG.": true, "a.example.net": true, "A.EXAMPLE.NET": true,
		"example.org": false, "a.mx.example.org": false, "example.net": false, "a.b.example.net": false, ".example.net": false,
		"mx.example.org.evil.example": false, "aexample.net": false, "": false, "203.0.113.5": false,
	} {
		if got := p.Matches(host); got != want {
			t.Errorf("%q: got %v, want %v", host, got, want)
		}
	}
}

const enforced = "version: STSv1\nmode: enforce\nmx: mx.example.org\nmax_age: 604800\n"

// stage is example.org with an MTA-STS policy.
type stage struct {
	*names
	*site
	root *authority
	o    Options
}

func newStage(t *testing.T, certNames ...string) *stage {
	s := &stage{names: newNames(t), root: newAuthority(t, "root", nil)}
	if len(certNames) == 0 {
		certNames = []string{"mta-sts.example.org"}
	}
	s.site = newSite(t, s.root.issue(named(certNames...), s.root))
	s.site.set(enforced)
	s.names.add(`_mta-sts.example.org. 60 IN TXT "v=STSv1; id=1;"`, "mta-sts.example.org. 60 IN A 1.1.1.1")
	s.o = Options{Dial: s.site.dial, Roots: s.root.pool(), Path: "dir/policies.json", FS: sim.NewDisk(1)}
	if err := s.o.FS.MkdirAll("dir", 0o700); err != nil {
		t.Fatal(err)
	}
	return s
}

// id changes the record at _mta-sts; "" takes it away.
func (s *stage) id(id string) {
	s.names.drop("_mta-sts.example.org", mdns.TypeTXT)
	if id != "" {
		s.names.add(`_mta-sts.example.org. 60 IN TXT "v=STSv1; id=` + id + `;"`)
	}
}

func TestSTS_certificates(t *testing.T) {
	s := newStage(t)
	other := newAuthority(t, "other", nil)
	p, _ := open(t, s.names, s.o)
	policy, err := policy(t, p, MX{Domain: "example.org"}, "mx.example.org")
	if err != nil {
		t.Fatal(err)
	}
	if policy.Kind != STS || !policy.Must() || policy.Type() != TypeSTS || policy.ServerName() != "mx.example.org" ||
		!slices.Equal(policy.Text, strings.Split(strings.TrimSpace(enforced), "\n")) {
		t.Errorf("got %+v, want an enforced policy", policy)
	}
	middle := newAuthority(t, "middle", s.root)
	for name, c := range map[string]struct {
		change func() (err error)
		want   Result
	}{
		"good":     {func() error { _, err := shake(t, policy.Config(), s.root.issue(named("mx.example.org"))); return err }, ""},
		"wildcard": {func() error { _, err := shake(t, policy.Config(), s.root.issue(named("*.example.org"))); return err }, ""},
		"with a chain": {func() error {
			_, err := shake(t, policy.Config(), middle.issue(named("mx.example.org"), middle))
			return err
		}, ""},
		"without its chain": {func() error { _, err := shake(t, policy.Config(), middle.issue(named("mx.example.org"))); return err }, CertificateNotTrusted},
		"wrong chain": {func() error {
			_, err := shake(t, policy.Config(), middle.issue(named("mx.example.org"), other))
			return err
		}, CertificateNotTrusted},
		"wrong name": {func() error { _, err := shake(t, policy.Config(), s.root.issue(named("example.org"))); return err }, CertificateHostMismatch},
		"common name only": {func() error {
			_, err := shake(t, policy.Config(), newAuthorityLeaf(s.root))
			return err
		}, CertificateHostMismatch},
		"unknown authority": {func() error {
			_, err := shake(t, policy.Config(), other.issue(named("mx.example.org"), other))
			return err
		}, CertificateNotTrusted},
		"expired": {func() error {
			_, err := shake(t, policy.Config(), s.root.issue(expiredFor("mx.example.org")))
			return err
		}, CertificateExpired},
		"SHA-1": {func() error { _, err := shake(t, policy.Config(), weak(t)); return err }, CertificateNotTrusted},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.change()
			if (err == nil) != (c.want == "") {
				t.Fatalf("got %v, want %q", err, c.want)
			}
			if f := policy.Failure(err); err != nil && (f.Type != c.want || f.Policy != policy) {
				t.Errorf("got %v, want %s", f, c.want)
			}
		})
	}
}

func TestSTS_testing(t *testing.T) {
	s := newStage(t)
	s.site.set(strings.Replace(enforced, "enforce", "testing", 1))
	p, _ := open(t, s.names, s.o)
	good, err := policy(t, p, MX{Domain: "example.org"}, "mx.example.org")
	if err != nil || good.Must() || !good.Testing || good.Describe() != "mta-sts (testing)" {
		t.Fatalf("got %+v %v, want a policy that is tested", good, err)
	}
	state, err := shake(t, good.Config(), s.root.issue(named("wrong.example.org")))
	if err != nil {
		t.Fatalf("refused: %v", err)
	}
	if f := good.Check(state); f == nil || f.Type != CertificateHostMismatch {
		t.Errorf("got %v, want %s to be reported", f, CertificateHostMismatch)
	}
	strict, f := good.RequireTLS()
	if f != nil || !strict.Must() || strict.Check(state) == nil {
		t.Errorf("got %v %v, want an enforced policy for REQUIRETLS", strict, f)
	}
	other, err := policy(t, p, MX{Domain: "example.org"}, "other.example.org")
	if err != nil {
		t.Fatal(err)
	}
	if state, err = shake(t, other.Config(), s.root.issue(named("other.example.org"))); err != nil {
		t.Fatalf("refused: %v", err)
	}
	if f := other.Check(state); f == nil || f.Type != ValidationFailure {
		t.Errorf("got %v, want that the host is not in the policy", f)
	}
	if _, f := other.RequireTLS(); f == nil {
		t.Error("a host that is not in the policy will do for REQUIRETLS, want not")
	}
}

func TestSTS_hostNotInPolicy(t *testing.T) {
	s := newStage(t)
	p, _ := open(t, s.names, s.o)
	_, err := policy(t, p, MX{Domain: "example.org"}, "evil.example.net")
	var f *Failure
	if !errors.As(err, &f) || f.Type != ValidationFailure || f.Policy.Type() != TypeSTS {
		t.Errorf("got %v, want a failure", err)
	}
}

func TestSTS_whenDANE(t *testing.T) {
	s := newStage(t)
	s.names.add("mx.example.org. 60 IN A 203.0.113.5", "other.example.org. 60 IN A 203.0.113.6", tlsaName+" 60 IN TLSA "+tlsa(3, 1, 1, s.root.cert),
		"_25._tcp.other.example.org. 60 IN TLSA 1 1 1 "+fmt.Sprintf("%064x", 1))
	s.names.sign("mx.example.org", "other.example.org", tlsaName, "_25._tcp.other.example.org")
	s.site.set("version: STSv1\nmode: enforce\nmx: other.example.org\nmax_age: 604800\n")
	p, _ := open(t, s.names, s.o)
	if p, err := policy(t, p, signedMX(), "mx.example.org"); err != nil || p.Kind != DANE {
		t.Errorf("got %v %v, want DANE, though the MTA-STS policy does not have the host", p, err)
	}
	if p, err := policy(t, p, signedMX(), "other.example.org"); err != nil || p.Kind != STS || p.Testing || p.Trouble == nil {
		t.Errorf("got %v %v, want MTA-STS where no TLSA record can be used", p, err)
	}
}

func TestSTS_remembered(t *testing.T) {
	s := newStage(t)
	p, clock := open(t, s.names, s.o)
	mx := MX{Domain: "example.org"}
	ask := func(what string, want Kind, hits int) *Policy {
		t.Helper()
		got, err := policy(t, p, mx, "mx.example.org")
		if err != nil || got.Kind != want || s.site.count() != hits {
			t.Fatalf("%s: got %v %v after %d fetches, want %s after %d", what, got, err, s.site.count(), want, hits)
		}
		return got
	}
	ask("first", STS, 1)
	ask("same id", STS, 1)
	s.id("")
	ask("no record", STS, 1)
	s.names.fail("_mta-sts.example.org", mdns.TypeTXT, mdns.RcodeServerFailure)
	ask("record fails", STS, 1)
	s.names.mend("_mta-sts.example.org", mdns.TypeTXT)
	s.names.add(`_mta-sts.example.org. 60 IN TXT "v=STSv1; id=2;"`)
	s.site.handle(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	if got := ask("new id, no policy", STS, 2); got.Trouble == nil || got.Trouble.Type != STSPolicyFetchError {
		t.Errorf("got trouble %v, want %s", got.Trouble, STSPolicyFetchError)
	}
	s.site.handle(nil)
	ask("soon after", STS, 2)
	clock.Advance(failurePause)
	if got := ask("later", STS, 3); got.Trouble != nil {
		t.Errorf("got trouble %v, want none", got.Trouble)
	}
	if err := p.save(); err != nil {
		t.Fatal(err)
	}
	p, clock = open(t, s.names, s.o)
	if k := p.Known(); len(k) != 1 || k[0].Domain != "example.org" || k[0].ID != "2" || k[0].Mode != ModeEnforce {
		t.Fatalf("got %v after a restart, want one policy", k)
	}
	ask("after a restart", STS, 3)
	s.id("")
	clock.Advance(7*24*time.Hour - time.Second)
	ask("at the end of its age", STS, 3)
	clock.Advance(time.Minute + failurePause)
	ask("after its age", Opportunistic, 3)
	s.id("2")
	ask("there again", STS, 4)
	s.site.set("version: STSv1\nmode: none\nmax_age: 60\n")
	s.id("3")
	ask("withdrawn", Opportunistic, 5)
	ask("withdrawn, remembered", Opportunistic, 5)
}

func TestSTS_records(t *testing.T) {
	for name, c := range map[string]struct {
		records []string
		want    Kind
	}{
		"none":       {nil, Opportunistic},
		"two":        {[]string{"v=STSv1; id=1;", "v=STSv1; id=2;"}, Opportunistic},
		"and others": {[]string{"v=spf1 -all", "v=STSv1; id=1;", "something", "v=STSv10; id=2;", "v=STSv1"}, STS},
		"malformed":  {[]string{"v=STSv1; id=;"}, Opportunistic},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			s.id("")
			for _, r := range c.records {
				s.names.add(fmt.Sprintf("_mta-sts.example.org. 60 IN TXT %q", r))
			}
			p, _ := open(t, s.names, s.o)
			if got, err := policy(t, p, MX{Domain: "example.org"}, "mx.example.org"); err != nil || got.Kind != c.want {
				t.Errorf("got %v %v, want %s", got, err, c.want)
			}
		})
	}
}

func TestSTS_hostileSites(t *testing.T) {
	say := func(kind, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			_, _ = io.WriteString(w, body)
		}
	}
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		addr    string
		names   []string
		want    Result
	}{
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://mta-sts.example.org/.well-known/mta-sts.txt?", http.StatusFound)
		}, "", nil, STSPolicyFetchError},
		"not found": {http.NotFound, "", nil, STSPolicyFetchError},
		"HTML":      {say("text/html", enforced), "", nil, STSPolicyFetchError},
		"no type":   {say("", enforced), "", nil, STSPolicyFetchError},
		"no policy": {say("text/plain", "hello\n"), "", nil, STSPolicyInvalid},
		"too long":  {say("text/plain", enforced+strings.Repeat("x: y\n", policyOctetsMax/5)), "", nil, STSPolicyInvalid},
		"broken off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, enforced)
		}, "", nil, STSPolicyFetchError},
		"long header": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("x", 2*answerHeaderOctetsMax))
		}, "", nil, STSPolicyFetchError},
		"wrong name":       {nil, "", []string{"www.example.org"}, STSWebPKIInvalid},
		"loopback":         {nil, "127.0.0.1", nil, STSPolicyFetchError},
		"private":          {nil, "10.1.2.3", nil, STSPolicyFetchError},
		"metadata":         {nil, "169.254.169.254", nil, STSPolicyFetchError},
		"private, allowed": {nil, "10.9.2.3", nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, c.names...)
			s.site.handle(c.handler)
			if c.addr != "" {
				s.names.drop("mta-sts.example.org", mdns.TypeA)
				s.names.add("mta-sts.example.org. 60 IN A " + c.addr)
			}
			s.o.AllowNetworks = []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")}
			p, _ := open(t, s.names, s.o)
			got, err := policy(t, p, MX{Domain: "example.org"}, "mx.example.org")
			if err != nil {
				t.Fatal(err)
			}
			if c.want == "" {
				if got.Kind != STS {
					t.Fatalf("got %+v, want a policy", got)
				}
				return
			}
			if got.Kind != Opportunistic || got.Trouble == nil || got.Trouble.Type != c.want || got.Trouble.Policy.Type() != TypeSTS {
				t.Fatalf("got %s, trouble %v, want %s", got.Kind, got.Trouble, c.want)
			}
			if hits := s.site.count(); hits > 1 || c.addr != "" && hits > 0 {
				t.Errorf("%d requests", hits)
			}
		})
	}
}
