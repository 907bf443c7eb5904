package host

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseDNSList(t *testing.T) {
	tests := []struct {
		in, want string // want: written again
		err      string // part of the error; "" for none
	}{
		{"zen.spamhaus.org", "zen.spamhaus.org", ""},
		{"ZEN.Spamhaus.org. weight=3", "zen.spamhaus.org", ""},
		{"list.dnswl.org weight=-2", "list.dnswl.org weight=-2", ""},
		{"bl.test codes=127.0.0.2/31,127.0.0.4 url=https://bl.test/?ip={ip}", "bl.test codes=127.0.0.2/31,127.0.0.4/32 url=https://bl.test/?ip={ip}", ""},
		{"bl.test weight=1 text=open relay, see = here", "bl.test weight=1 text=open relay, see = here", ""},
		{"", "", "zone is missing"},
		{"weight=3", "", "is no zone"},
		{"localhost", "", "is no zone"},
		{"bl.test weight=0", "", "weight"},
		{"bl.test weight=9999", "", "weight"},
		{"bl.test codes=127.0.0.300", "", "is no network"},
		{"bl.test score=3", "", "none of weight="},
	}
	for _, tt := range tests {
		l, err := ParseDNSList(tt.in)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("ParseDNSList(%q): error %v, want one with %q", tt.in, err, tt.err)
			}
			continue
		}
		got, merr := l.MarshalText()
		if err != nil || merr != nil || string(got) != tt.want {
			t.Errorf("ParseDNSList(%q) = %q, %v, %v; want %q", tt.in, got, err, merr, tt.want)
		}
	}
}

func FuzzParseDNSList(f *testing.F) {
	f.Add("zen.spamhaus.org weight=3 codes=127.0.0.2/31 url=u text=a b")
	f.Add("..")
	f.Fuzz(func(t *testing.T, s string) {
		l, err := ParseDNSList(s)
		if err != nil {
			return
		}
		text, err := l.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseDNSList(string(text))
		if err != nil {
			t.Fatalf("%q is written as %q, which is refused: %v", s, text, err)
		}
		if twice, _ := again.MarshalText(); string(twice) != string(text) {
			t.Errorf("%q is written as %q, then as %q", s, text, twice)
		}
	})
}

// TestLoad_edge: what is wrong in the edge's sections is named by its key.
func TestLoad_edge(t *testing.T) {
	tests := []struct{ toml, err string }{
		{"[dnsbl]\nlists = [\"zen.spamhaus.org\", \"list.dnswl.org weight=-2\"]", ""},
		{"[dnsbl]\nlists = [\"zen\"]", "is no zone"},
		{"[dns]\nservers = [\"127.0.0.1\", \"[::1]:5353\"]", ""},
		{"[dns]\nservers = [\"dns.example\"]", "dns.servers"},
		{"[policy]\nallow = [\"10.0.0.0/8\", \"192.0.2.1\"]", ""},
		{"[policy]\nallow = [\"10.0.0.0/40\"]", "policy.allow"},
		{"[policy]\nsuspect_at = 5", "policy.suspect_at"},
		{"[ban]\nkernel = \"maybe\"", "ban.kernel"},
		{"[lobby]\nmax_guests = 2", "lobby.max_guests"},
		{"[relay]\nto = \"10025\"", "relay.to"},
		{"[relay]\nto = \"127.0.0.1:10025\"", ""},
		{"[relay]\nto = \"127.0.0.1:2525\"\n[listen]\nsmtp = [\"127.0.0.1:2525\"]", "own listen.smtp"},
	}
	for _, tt := range tests {
		path := filepath.Join(t.TempDir(), ConfigName)
		if err := os.WriteFile(path, []byte("hostname = \"mx.test\"\n"+tt.toml), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Load(path)
		switch {
		case tt.err == "" && err != nil:
			t.Errorf("%s: %v", tt.toml, err)
		case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
			t.Errorf("%s: error %v, want one with %q", tt.toml, err, tt.err)
		}
	}
}
