package host

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/edge/ban"
	"github.com/breakwater-mail/breakwater/internal/edge/dnsbl"
	"github.com/breakwater-mail/breakwater/internal/edge/greylist"
	"github.com/breakwater-mail/breakwater/internal/edge/lobby"
	"github.com/breakwater-mail/breakwater/internal/edge/policy"
	"github.com/breakwater-mail/breakwater/internal/ops/admin"
)

// edgeAdmin answers operators' questions about the edge from its parts.
type edgeAdmin struct {
	hostname string
	lobby    *lobby.Lobby   // nil: nothing listens on port 25
	dns      *dns.Client    // nil: DNS is off
	lists    *dnsbl.Checker // nil: there are none
	bans     *ban.List
	grey     *greylist.Table
	policy   *policy.Policy
	clock    sys.Clock
}

// Bans implements admin.Edge.
func (e edgeAdmin) Bans(limit int) (admin.Bans, error) {
	var out admin.Bans
	out.Kernel, out.Detail = e.bans.State()
	all := e.bans.Entries()
	out.Total = len(all)
	if limit > 0 && len(all) > limit {
		all = all[:limit]
	}
	out.Bans = make([]admin.Ban, len(all))
	for i, b := range all {
		out.Bans[i] = adminBan(b)
	}
	return out, nil
}

func adminBan(b ban.Entry) admin.Ban {
	return admin.Ban{
		Network: admin.NetworkName(b.Prefix), Since: b.Since.UTC(), Until: b.Until.UTC(),
		Count: b.Count, Fixed: b.Fixed, Kernel: b.Kernel, Reason: b.Why,
	}
}

// Ban implements admin.Edge.
func (e edgeAdmin) Ban(q admin.BanRequest) (admin.BanAnswer, error) {
	switch q.Op {
	case admin.BanAdd:
		return admin.BanAnswer{Done: true}, e.bans.Add(q.Network, q.Reason, q.For)
	case admin.BanRemove:
		ended, err := e.bans.Remove(q.Network)
		a := admin.BanAnswer{Done: len(ended) > 0}
		for _, p := range ended {
			a.Ended = append(a.Ended, admin.NetworkName(p))
		}
		return a, err
	}
	entry, detail, ok := e.bans.Why(q.Network)
	if !ok {
		return admin.BanAnswer{Detail: detail}, nil
	}
	b := adminBan(entry)
	a := admin.BanAnswer{Done: true, Ban: &b}
	if kernel, why := e.bans.State(); !kernel {
		a.Detail = why
	}
	return a, nil
}

// Explain implements admin.Edge.
func (e edgeAdmin) Explain(ctx context.Context, q admin.Query) (admin.Report, error) {
	if q.Session == "" {
		x := e.policy.Explain(ctx, policy.Query{IP: q.IP, Helo: q.Helo, From: q.From, Rcpt: q.Rcpt})
		return reportOf(x, x.String())
	}
	if x, ok := e.policy.ExplainSession(q.Session); ok {
		return reportOf(x, x.String())
	}
	if e.lobby != nil {
		for _, g := range e.lobby.Guests(e.lobby.Stats().Guests) {
			if g.ID == q.Session {
				return reportOf(g, guestText(g, e.clock.Now()))
			}
		}
	}
	return admin.Report{}, fmt.Errorf("no session %q here: neither is it a guest now, nor does the history of verdicts go back to it", q.Session)
}

// guestText tells of a guest on which there is no verdict yet.
func guestText(g lobby.GuestInfo, now time.Time) string {
	return fmt.Sprintf("guest %s, client [%s], HELO %q, from <%s>\nis here since %s, in state %s, %s; no verdict yet\n",
		g.ID, g.Addr, g.Helo, g.From, now.Sub(g.Arrived).Round(time.Second), g.State, g.Rank)
}

// Report implements admin.Edge.
func (e edgeAdmin) Report(what admin.Op) (admin.Report, error) {
	switch what {
	case admin.GreylistReport:
		r := e.grey.Report(e.clock.Now())
		return reportOf(r, r.Text())
	case admin.ShadowReport:
		r := e.policy.Shadow()
		if r.Checks == nil {
			r.Checks = []policy.ShadowCheck{} // an empty list, for those who read JSON
		}
		return reportOf(r, shadowText(r))
	}
	return admin.Report{}, fmt.Errorf("no report %q", what)
}

func reportOf(v any, text string) (admin.Report, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return admin.Report{}, fmt.Errorf("encode report: %w", err)
	}
	return admin.Report{JSON: b, Text: text}, nil
}

// shadowText renders what checks in shadow would have done.
func shadowText(r policy.ShadowReport) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Checks in shadow, since %s:\n", r.Since.UTC().Format(time.RFC3339))
	if len(r.Checks) == 0 {
		b.WriteString("none has had anything to say; policy.shadow in the configuration names them\n")
	}
	for _, c := range r.Checks {
		fmt.Fprintf(&b, "\n%s: had something to say of %d sessions; it would have refused %d and deferred %d, of which %d were good (a message was accepted)\n",
			c.Check, c.Saw, c.WouldRefuse, c.WouldDefer, c.Good)
		for _, x := range c.Examples {
			good := ""
			if x.Good {
				good = ", GOOD"
			}
			fmt.Fprintf(&b, "  %s %s [%s] HELO %q from <%s>: would %s%s\n", x.At.UTC().Format(time.RFC3339), x.Session, x.IP, x.Helo, x.From, x.Would, good)
		}
	}
	return b.String()
}

// Top implements admin.Edge.
func (e edgeAdmin) Top(n int) (admin.Top, error) {
	p := e.policy.Top(n)
	t := admin.Top{
		At: e.clock.Now().UTC(), Hostname: e.hostname, Level: p.Level, Since: p.Since.UTC(), Arrivals: p.Arrivals,
		Minute: admin.TopCounts(p.Minute), Total: admin.TopCounts(p.Total), By: p.By,
		Process: processNow(), Lists: []admin.TopList{}, Networks: networks(p, n), Live: []admin.TopGuest{},
	}
	t.Bans.Now = e.bans.Len()
	t.Bans.Kernel, t.Bans.Detail = e.bans.State()
	if e.dns != nil {
		s := e.dns.Stats()
		t.DNS = admin.TopDNS{
			Asked: int64(s.Asked), Answered: int64(s.Answered), Timeouts: int64(s.Timeouts),
			Cached: int64(s.Cached), Busy: int64(s.Busy), InFlight: s.InFlight,
		}
	}
	if e.lists != nil {
		for _, h := range e.lists.Health() {
			t.Lists = append(t.Lists, admin.TopList{
				Zone: h.Zone, State: h.State, Detail: h.Why, Since: h.Since.UTC(),
				Asked: int64(h.Asked), Silent: int64(h.Silent), Listed: int64(h.Listed),
			})
		}
	}
	if e.lobby != nil {
		e.topLobby(&t, n)
	}
	return t, nil
}

func (e edgeAdmin) topLobby(t *admin.Top, n int) {
	s := e.lobby.Stats()
	t.Guests = admin.TopGuests{
		Now: s.Guests, Max: s.Strangers, States: s.States, Ranks: s.Ranks,
		Bytes: s.Price, BytesMax: s.Budget, Sessions: s.Sessions, TLS: s.TLS,
	}
	t.Evicted, t.Early, t.Octets = int64(s.Evicted), int64(s.Early), int64(s.Octets)
	for _, g := range e.lobby.Guests(n) {
		t.Live = append(t.Live, admin.TopGuest{
			ID: g.ID, Addr: g.Addr.String(), State: g.State, Arrived: g.Arrived.UTC(), Helo: g.Helo, From: g.From, To: g.To,
			Rank: g.Rank, Octets: g.Octets, CPU: g.CPU, Questions: g.Questions, Bytes: g.Price,
		})
	}
}

// networks joins the policy's tables of costly networks into one. A network
// stands as high as its shares of each table's greatest figure add up to.
func networks(p policy.Top, n int) []admin.TopNetwork {
	all := map[netip.Prefix]*admin.TopNetwork{}
	score := map[string]float64{}
	join := func(list []policy.Source, set func(*admin.TopNetwork, int64)) {
		most := int64(1)
		for _, s := range list {
			most = max(most, s.Amount)
		}
		for _, s := range list {
			row := all[s.Network]
			if row == nil {
				row = &admin.TopNetwork{Network: s.Network.String()}
				all[s.Network] = row
			}
			set(row, s.Amount)
			score[row.Network] += float64(s.Amount) / float64(most)
		}
	}
	join(p.Connections, func(r *admin.TopNetwork, v int64) { r.Connections = v })
	join(p.Refusals, func(r *admin.TopNetwork, v int64) { r.Refusals = v })
	join(p.Octets, func(r *admin.TopNetwork, v int64) { r.Octets = v })
	join(p.CPU, func(r *admin.TopNetwork, v int64) { r.CPU = time.Duration(v) * time.Microsecond })
	join(p.Questions, func(r *admin.TopNetwork, v int64) { r.Questions = v })
	out := make([]admin.TopNetwork, 0, len(all))
	for _, row := range all {
		out = append(out, *row)
	}
	slices.SortFunc(out, func(a, b admin.TopNetwork) int {
		return cmp.Or(cmp.Compare(score[b.Network], score[a.Network]), cmp.Compare(a.Network, b.Network))
	})
	return out[:min(n, len(out))]
}

// processNow measures the process. What the system does not tell is 0.
func processNow() admin.TopProcess {
	p := admin.TopProcess{Goroutines: runtime.NumGoroutine(), Processors: runtime.GOMAXPROCS(0)}
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) == nil {
		p.CPU = time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	heap := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(heap)
	if heap[0].Value.Kind() == metrics.KindUint64 {
		p.Heap = int64(heap[0].Value.Uint64())
	}
	// proc(5): size and resident, in pages.
	if b, err := os.ReadFile("/proc/self/statm"); err == nil {
		if f := strings.Fields(string(b)); len(f) > 1 {
			pages, _ := strconv.ParseInt(f[1], 10, 64) // 0 if it is no number
			p.RSS = pages * int64(os.Getpagesize())
		}
	}
	return p
}
