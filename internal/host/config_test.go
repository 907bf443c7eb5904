package host

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite golden files")

func TestParseSize(t *testing.T) {
	tests := []struct {
		in   string
		want Size
		ok   bool
	}{
		{"0", 0, true},
		{"1B", 1, true},
		{"64KiB", 64 << 10, true},
		{"50MiB", 50 << 20, true},
		{"2 GiB", 2 << 30, true},
		{"100MB", 100e6, true},
		{"50", 0, false},
		{"-1MiB", 0, false},
		{"MiB", 0, false},
		{"9999999999TiB", 0, false},
		{"1.5GiB", 0, false},
	}
	for _, tt := range tests {
		got, err := ParseSize(tt.in)
		if got != tt.want || (err == nil) != tt.ok {
			t.Errorf("ParseSize(%q) = %v, %v; want %v, ok %v", tt.in, got, err, tt.want, tt.ok)
		}
		if err == nil {
			if again, err := ParseSize(got.String()); again != got || err != nil {
				t.Errorf("ParseSize(%q.String() = %q) = %v, %v", tt.in, got.String(), again, err)
			}
		}
	}
}

func FuzzParseSize(f *testing.F) {
	f.Add("50MiB")
	f.Add("0")
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseSize(s)
		if err != nil {
			return
		}
		if again, err := ParseSize(n.String()); again != n || err != nil {
			t.Errorf("ParseSize(%q) = %v, printed %q, read again %v, %v", s, int64(n), n.String(), again, err)
		}
	})
}

func TestParseDuration(t *testing.T) {
	tests := []struct {
		in   string
		want time.Duration
		out  string
		ok   bool
	}{
		{"10s", 10 * time.Second, "10s", true},
		{"90s", 90 * time.Second, "1m30s", true},
		{"5m", 5 * time.Minute, "5m", true},
		{"20h", 20 * time.Hour, "20h", true},
		{"14d", 14 * 24 * time.Hour, "14d", true},
		{"0s", 0, "0s", true},
		{"14", 0, "", false},
		{"-5m", 0, "", false},
		{"-1d", 0, "", false},
	}
	for _, tt := range tests {
		got, err := ParseDuration(tt.in)
		if got.Std() != tt.want || (err == nil) != tt.ok {
			t.Errorf("ParseDuration(%q) = %v, %v; want %v, ok %v", tt.in, got, err, tt.want, tt.ok)
		}
		if tt.ok && got.String() != tt.out {
			t.Errorf("ParseDuration(%q).String() = %q, want %q", tt.in, got.String(), tt.out)
		}
	}
}

func FuzzParseDuration(f *testing.F) {
	f.Add("14d")
	f.Add("1h30m")
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDuration(s)
		if err != nil {
			return
		}
		if again, err := ParseDuration(d.String()); again != d || err != nil {
			t.Errorf("ParseDuration(%q) = %v, printed %q, read again %v, %v", s, d.Std(), d.String(), again, err)
		}
	})
}

// What init writes must be what Load reads: the same effective values.
func TestWriteTOML_loadsAgain(t *testing.T) {
	c := Default()
	c.Hostname = "mail.example.org"
	c.Listen.IMAP = []string{"127.0.0.1:2143", "[::1]:2143"}
	c.Mailbox.Retention = Duration(36 * time.Hour)
	path := filepath.Join(t.TempDir(), ConfigName)
	var b strings.Builder
	if err := c.WriteTOML(&b); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := Load(path)
	if err != nil {
		t.Fatalf("%v\n%s", err, b.String())
	}
	want := c.Keys()
	for i, k := range got.Keys() {
		if k.Name == "dir" {
			continue // made absolute
		}
		if k.Value != want[i].Value {
			t.Errorf("%s = %s, want %s", k.Name, k.Value, want[i].Value)
		}
	}
}

// The reference is made from the same struct as the parser.
// TestNeedStart: whoever has SIGHUP read a file is told what it did not change.
func TestNeedStart(t *testing.T) {
	was, fresh := Default(), Default()
	if got := needStart(&was, &fresh); got != nil {
		t.Errorf("nothing has changed: %q", got)
	}
	fresh.Log.Level, fresh.Policy.Wait = "debug", 0
	fresh.Submission.PerHour, fresh.Delivery.Relay = 7, "smtp://relay.example.org"
	if got := needStart(&was, &fresh); !slices.Equal(got, []string{"submission.recipients_per_hour", "delivery.relay"}) {
		t.Errorf("got %q", got)
	}
}

func TestReference_isFresh(t *testing.T) {
	const path = "../../docs/operations/config.md"
	var b strings.Builder
	b.WriteString("# Configuration\n\nOne TOML file, a section for each part. Every key has a default: a file with only `hostname` runs.\n" +
		"Sizes and durations are strings with a unit (`\"50MiB\"`, `\"14d\"`). An unknown key is an error that names its line.\n" +
		"`breakwater check --keys` prints the effective values and where each comes from.\n\n" +
		"On SIGHUP a running host reads the certificate and its key, `[policy]` and `log.level` again. All other keys, those of\n" +
		"sending (`[submission]`, `[queue]`, `[delivery]`, `[alarm]` …) among them, take effect at the next start: the log names\n" +
		"those that have changed. What is in the store needs neither: accounts, aliases, forwards, an account's own limits and\n" +
		"holds act at once, signing keys (`breakwater dkim`) within a minute. The password at the relay and the webhook's secret\n" +
		"are read at the start.\n\n" +
		"This table is made from the program: `go test ./internal/host -run Reference -update`.\n\n")
	if err := WriteReference(&b); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != b.String() {
		t.Errorf("%s is stale (%v); run: go test ./internal/host -run Reference -update", path, err)
	}
}
