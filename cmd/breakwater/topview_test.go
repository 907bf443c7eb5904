package main

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/breakwater-mail/breakwater/internal/ops/admin"
)

var update = flag.Bool("update", false, "write golden files anew")

func snapshot() admin.Top {
	at := time.Date(2026, 11, 22, 3, 0, 10, 0, time.UTC)
	return admin.Top{
		At: at, Hostname: "mail.example.org", Level: "stormy", Since: at.Add(-252 * time.Second), Arrivals: 611.04,
		Guests: admin.TopGuests{
			Now: 17_981, Max: 20_000, States: map[string]int{"waiting": 812, "talking": 17_169, "proxy": 0},
			Ranks: map[string]int{"refused": 17_012, "listed": 912, "unscored": 57}, Bytes: 4_100_000, BytesMax: 32 << 20, Sessions: 12, TLS: 2,
		},
		Minute:  admin.TopCounts{Arrived: 36_662, Turned: 120, Admitted: 60, Passed: 66, Refused: 35_000, Deferred: 3, Accepted: 64},
		Total:   admin.TopCounts{Arrived: 1_036_662, Turned: 1120, Admitted: 560, Passed: 666, Refused: 935_000, Deferred: 33, Accepted: 640},
		By:      map[string]int{"dnsbl": 934_000, "pregreet": 1000, "greylist": 33},
		Evicted: 7, Early: 1200, Octets: 700 << 20,
		Process: admin.TopProcess{CPU: 95 * time.Second, RSS: 61 << 20, Heap: 23 << 20, Goroutines: 212, Processors: 2},
		DNS:     admin.TopDNS{Asked: 1_040_000, Answered: 1_039_000, Timeouts: 31, Cached: 120_000, InFlight: 812},
		Lists: []admin.TopList{
			{Zone: "bl.example", State: "ok", Asked: 1_040_000, Listed: 1_000_000},
			{Zone: "bad.example", State: "poisoned", Detail: "it lists 127.0.0.1", Since: at.Add(-3 * time.Hour), Asked: 5, Silent: 5},
		},
		Bans: admin.TopBans{Now: 512, Kernel: true},
		Networks: []admin.TopNetwork{
			{Network: "198.51.100.0/24", Connections: 912, Refusals: 900, Octets: 1_200_000, CPU: 91 * time.Millisecond, Questions: 1800},
			{Network: "2001:db8:1:2::/64", Connections: 12, CPU: 12 * time.Second},
		},
		Live: []admin.TopGuest{
			{ID: "k4qz7w2m5x3ra", Addr: "198.51.100.7", State: "talking", Arrived: at.Add(-95 * time.Second), Helo: "evil\x1b[2J.example", From: "a@example.com", Rank: "refused", Octets: 1234, CPU: 180 * time.Microsecond, Questions: 2},
			{ID: "k4qz7w2m5x3rb", Addr: "2001:db8:1:2::3", State: "waiting", Rank: "unscored", Arrived: at},
		},
	}
}

// golden compares a text with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
}

func TestViewTop(t *testing.T) {
	now := snapshot()
	golden(t, "top_first.golden", viewTop(now, nil, 0))
	before := snapshot()
	before.At = now.At.Add(-2 * time.Second)
	before.Total.Arrived -= 1222
	before.Total.Refused -= 1190
	before.Octets -= 3 << 20
	before.Process.CPU -= 800 * time.Millisecond
	before.DNS.Asked -= 1300
	text := viewTop(now, &before, 0)
	golden(t, "top_next.golden", text)
	if strings.ContainsRune(text, 0x1b) {
		t.Error("a stranger's escape sequence reaches the terminal")
	}
	for line := range strings.Lines(viewTop(now, &before, 60)) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 60 {
			t.Errorf("line of %d columns, want at most 60: %q", n, line)
		}
	}
	// A host that began anew meanwhile has smaller totals.
	if text := viewTop(admin.Top{At: now.At.Add(time.Second)}, &now, 0); strings.Contains(text, " -") {
		t.Errorf("negative figures after a restart:\n%s", text)
	}
	_ = viewTop(admin.Top{}, &admin.Top{}, 80) // no time between the two
}

func TestUnits(t *testing.T) {
	for _, tt := range []struct{ got, want string }{
		{count(0), "0"}, {count(999), "999"}, {count(1000), "1,000"}, {count(int64(1234567)), "1,234,567"}, {count(-1234), "-1,234"}, {count(-123), "-123"},
		{octets(9999), "9,999 B"}, {octets(10 << 10), "10.0 KiB"}, {octets(3 << 20), "3.0 MiB"}, {octets(5 << 30), "5.0 GiB"},
		{age(-time.Second), "0s"}, {age(59 * time.Second), "59s"}, {age(61 * time.Second), "1m01s"}, {age(3 * time.Hour), "3h00m"}, {age(49 * time.Hour), "2d01h"},
		{spent(180 * time.Microsecond), "0.2 ms"}, {spent(75 * time.Second), "1m15s"},
	} {
		if tt.got != tt.want {
			t.Errorf("got %q, want %q", tt.got, tt.want)
		}
	}
}

func TestWhyText(t *testing.T) {
	at := time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)
	tests := []struct {
		a    admin.BanAnswer
		want string
	}{
		{admin.BanAnswer{}, "192.0.2.1 is not banned\n"},
		{admin.BanAnswer{Detail: "not banned"}, "192.0.2.1 is not banned\n"},
		{admin.BanAnswer{Detail: "it is in policy.allow"}, "192.0.2.1 is not banned: it is in policy.allow\n"},
		{
			admin.BanAnswer{Done: true, Ban: &admin.Ban{Network: "192.0.2.1", Since: at, Until: at.Add(time.Minute), Count: 3, Kernel: true, Reason: "2 refusals"}},
			"192.0.2.1 is banned: 2 refusals\n  since 2026-11-22T03:00:00Z, until 2026-11-22T03:01:00Z unless it sends again; 3 times\n  the kernel drops what it sends\n",
		},
		{
			admin.BanAnswer{Done: true, Detail: "no permission", Ban: &admin.Ban{Network: "192.0.2.0/24", Since: at, Until: at, Count: 1, Fixed: true, Reason: "by an operator"}},
			"192.0.2.1 is banned with 192.0.2.0/24: by an operator\n  since 2026-11-22T03:00:00Z, until 2026-11-22T03:00:00Z\n  the host turns it away: no permission\n",
		},
	}
	for _, tt := range tests {
		if got := whyText("192.0.2.1", tt.a); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}
