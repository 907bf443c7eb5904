package host

import (
	"encoding/json"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/edge/ban"
	"github.com/breakwater-mail/breakwater/internal/edge/greylist"
	"github.com/breakwater-mail/breakwater/internal/edge/policy"
	"github.com/breakwater-mail/breakwater/internal/ops/admin"
)

// Every question about the edge is answered by its real parts.
func TestEdgeAdmin(t *testing.T) {
	bans, err := ban.New(ban.Options{Kernel: ban.Off, Never: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
	if err != nil {
		t.Fatal(err)
	}
	grey, err := greylist.Open(sys.OSFS(), filepath.Join(t.TempDir(), "greylist"), greylist.Options{Enabled: true})
	if err != nil {
		t.Fatal(err)
	}
	p := policy.New(policy.Options{Hostname: "mail.example.org"}, policy.Parts{Bans: bans})
	x := &admin.Executor{Edge: edgeAdmin{hostname: "mail.example.org", bans: bans, grey: grey, policy: p, clock: sys.RealClock()}}
	do := func(q admin.Request) admin.Answer {
		t.Helper()
		a := x.Do(t.Context(), q)
		if a.Error != "" {
			t.Fatalf("%s: %s", q.Op, a.Error)
		}
		return a
	}
	one, from := netip.MustParseAddr("198.51.100.7"), "one@example.com"
	net := netip.PrefixFrom(one, 24)
	do(admin.Request{Op: admin.BanAdd, Ban: &admin.BanRequest{Network: net, For: time.Hour, Reason: "wave"}})
	list := do(admin.Request{Op: admin.BanList}).Bans
	if list.Total != 1 || list.Kernel || list.Bans[0].Network != "198.51.100.0/24" || list.Bans[0].Reason != "wave" || !list.Bans[0].Fixed {
		t.Errorf("ban list = %+v", list)
	}
	why := func(a netip.Addr) *admin.BanAnswer {
		return do(admin.Request{Op: admin.BanWhy, Ban: &admin.BanRequest{Network: netip.PrefixFrom(a, 32)}}).Ban
	}
	if a := why(one); !a.Done || a.Ban == nil || a.Ban.Reason != "wave" {
		t.Errorf("ban why = %+v", a)
	}
	if a := x.Do(t.Context(), admin.Request{Op: admin.BanAdd, Ban: &admin.BanRequest{Network: netip.MustParsePrefix("192.0.2.1/32"), For: time.Hour}}); a.Error == "" {
		t.Error("a network that is never banned was banned")
	}
	if top := do(admin.Request{Op: admin.TopNow, Limit: 5}).Top; top.Bans.Now != 1 || top.Level != "calm" || top.Hostname != "mail.example.org" || top.Process.CPU <= 0 {
		t.Errorf("top = %+v", top)
	}
	do(admin.Request{Op: admin.BanRemove, Ban: &admin.BanRequest{Network: net}})
	if a := why(one); a.Done || a.Ban != nil {
		t.Errorf("ban why after its end = %+v", a)
	}
	home := netip.MustParsePrefix("2001:db8:0:1::/64")
	bans.Ban(netip.MustParseAddr("2001:db8:0:1::5"), home, "refused twice")
	six := netip.PrefixFrom(netip.MustParseAddr("2001:db8:0:1::6"), 128)
	if a := do(admin.Request{Op: admin.BanWhy, Ban: &admin.BanRequest{Network: six}}).Ban; a.Ban == nil || a.Ban.Network != home.String() || a.Ban.Reason != "refused twice" {
		t.Errorf("ban why within a /64 = %+v", a)
	}
	if a := do(admin.Request{Op: admin.BanRemove, Ban: &admin.BanRequest{Network: six}}).Ban; !slices.Equal(a.Ended, []string{home.String()}) || bans.Len() != 0 {
		t.Errorf("ban remove within a /64 = %+v, %d are left", a, bans.Len())
	}
	q := admin.Query{IP: one, Helo: "mx.example.com", From: &from, Rcpt: "two@example.org"}
	if r := do(admin.Request{Op: admin.Explain, Explain: &q}).Report; !strings.Contains(r.Text, "198.51.100.7") || !json.Valid(r.JSON) || !strings.Contains(string(r.JSON), `"evidence"`) {
		t.Errorf("explain = %s\n%s", r.JSON, r.Text)
	}
	if a := x.Do(t.Context(), admin.Request{Op: admin.Explain, Explain: &admin.Query{Session: "nobody"}}); !strings.Contains(a.Error, `no session "nobody"`) {
		t.Errorf("explain of an unknown session: %q", a.Error)
	}
	for _, op := range []admin.Op{admin.GreylistReport, admin.ShadowReport} {
		if r := do(admin.Request{Op: op}).Report; r.Text == "" || !json.Valid(r.JSON) {
			t.Errorf("%s = %+v", op, r)
		}
	}
}

func TestNetworks_joinsTheTables(t *testing.T) {
	a, b, c := netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("2001:db8::/64")
	p := policy.Top{
		Connections: []policy.Source{{Network: a, Amount: 100}, {Network: b, Amount: 50}},
		Octets:      []policy.Source{{Network: b, Amount: 4000}, {Network: c, Amount: 1000}},
		CPU:         []policy.Source{{Network: b, Amount: 1500}},
	}
	want := []admin.TopNetwork{
		{Network: "198.51.100.0/24", Connections: 50, Octets: 4000, CPU: 1500 * time.Microsecond},
		{Network: "192.0.2.0/24", Connections: 100},
		{Network: "2001:db8::/64", Octets: 1000},
	}
	if diff := cmp.Diff(want, networks(p, 10)); diff != "" {
		t.Errorf("networks (-want +got):\n%s", diff)
	}
	if got := networks(p, 1); len(got) != 1 {
		t.Errorf("%d rows, want 1", len(got))
	}
}

func TestProcessNow(t *testing.T) {
	p := processNow()
	if p.CPU <= 0 || p.Heap <= 0 || p.Goroutines <= 0 || p.Processors <= 0 {
		t.Errorf("process = %+v, want all but RSS above 0", p)
	}
}

func TestShadowText(t *testing.T) {
	r := policy.ShadowReport{Since: time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)}
	want := "Checks in shadow, since 2026-11-22T03:00:00Z:\nnone has had anything to say; policy.shadow in the configuration names them\n"
	if got := shadowText(r); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	r.Checks = []policy.ShadowCheck{{
		Check: "dnsbl:bl.example", Saw: 5, WouldRefuse: 3, WouldDefer: 1, Good: 1,
		Examples: []policy.ShadowExample{{Session: "abc", At: r.Since, IP: "192.0.2.1", Helo: "x\n", From: "a@example.org", Would: "refuse", Good: true}},
	}}
	want = "Checks in shadow, since 2026-11-22T03:00:00Z:\n\ndnsbl:bl.example: had something to say of 5 sessions; it would have refused 3 and deferred 1, of which 1 were good (a message was accepted)\n" +
		"  2026-11-22T03:00:00Z abc [192.0.2.1] HELO \"x\\n\" from <a@example.org>: would refuse, GOOD\n"
	if got := shadowText(r); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
