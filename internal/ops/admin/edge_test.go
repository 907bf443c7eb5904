package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

// fakeEdge notes what it is asked.
type fakeEdge struct{ asked []string }

func (f *fakeEdge) note(v ...any) { f.asked = append(f.asked, strings.TrimSpace(fmt.Sprintln(v...))) }

func (f *fakeEdge) Bans(limit int) (Bans, error) {
	f.note("bans", limit)
	return Bans{Kernel: true, Total: 1, Bans: []Ban{{Network: "192.0.2.1", Reason: "wave"}}}, nil
}

func (f *fakeEdge) Ban(q BanRequest) (BanAnswer, error) {
	f.note(q.Op, q.Network, q.For, q.Reason)
	return BanAnswer{Done: q.Op != BanRemove}, nil
}

func (f *fakeEdge) Explain(_ context.Context, q Query) (Report, error) {
	from := "none"
	if q.From != nil {
		from = "<" + *q.From + ">"
	}
	f.note("explain", q.Session, q.IP, q.Helo, from, q.Rcpt)
	return Report{JSON: json.RawMessage(`{"verdict":"pass"}`), Text: "pass\n"}, nil
}

func (f *fakeEdge) Top(n int) (Top, error) {
	f.note("top", n)
	return Top{Level: "calm"}, nil
}

func (f *fakeEdge) Report(what Op) (Report, error) {
	f.note(what)
	return Report{JSON: json.RawMessage(`{}`), Text: "nothing"}, nil
}

// What reaches the edge has been checked, and comes back through the socket.
func TestEdge_requests(t *testing.T) {
	x, dir := newExecutor(t)
	edge := &fakeEdge{}
	x.Edge = edge
	serve(t, x, dir)
	null := ""
	ban := func(op Op, network string, d time.Duration, why string) Request {
		return Request{Op: op, Ban: &BanRequest{Network: netip.MustParsePrefix(network), For: d, Reason: why}}
	}
	ip := netip.MustParseAddr("192.0.2.1")
	steps := []struct {
		q     Request
		want  string // in the error; "" succeeds
		asked string
	}{
		{Request{Op: BanList, Limit: -5}, "", "bans 0"},
		{ban(BanAdd, "192.0.2.77/24", time.Hour, "wave"), "", "ban add 192.0.2.0/24 1h0m0s wave"},
		{ban(BanAdd, "192.0.2.77/32", time.Hour, ""), "", "ban add 192.0.2.77/32 1h0m0s by an operator"},
		{ban(BanAdd, "192.0.2.77/32", 0, ""), "no time", ""},
		{ban(BanAdd, "192.0.2.77/32", 400*24*time.Hour, ""), "at most a year", ""},
		{ban(BanAdd, "192.0.2.77/32", time.Hour, strings.Repeat("x", 201)), "200 octets", ""},
		{Request{Op: BanAdd}, "no address", ""},
		{ban(BanRemove, "192.0.2.77/32", 0, ""), "no ban of 192.0.2.77; ", "ban remove 192.0.2.77/32 0s"},
		{ban(BanWhy, "2001:db8::/64", 0, ""), "", "ban why 2001:db8::/64 0s"},
		{Request{Op: Explain, Explain: &Query{IP: ip, Helo: "a", From: &null}}, "", "explain  192.0.2.1 a <>"},
		{Request{Op: Explain, Explain: &Query{Session: "abc"}}, "", "explain abc invalid IP  none"},
		{Request{Op: Explain, Explain: &Query{Session: "abc", IP: ip}}, "either", ""},
		{Request{Op: Explain}, "either", ""},
		{Request{Op: Explain, Explain: &Query{IP: ip, Helo: strings.Repeat("x", 321)}}, "320 octets", ""},
		{Request{Op: TopNow, Limit: 1e9}, "", "top 1000"},
		{Request{Op: GreylistReport}, "", "greylist report"},
		{Request{Op: ShadowReport}, "", "shadow report"},
	}
	for _, s := range steps {
		edge.asked = nil
		a, err := Client{Dir: dir}.Do(t.Context(), s.q)
		if err != nil {
			t.Fatalf("%s: %v", s.q.Op, err)
		}
		if (a.Error == "") != (s.want == "") || !strings.Contains(a.Error, s.want) {
			t.Errorf("%s %+v: %q, want %q", s.q.Op, s.q.Ban, a.Error, s.want)
		}
		if got := strings.Join(edge.asked, "; "); got != s.asked {
			t.Errorf("%s: edge was asked %q, want %q", s.q.Op, got, s.asked)
		}
		if a.Error != "" && !reflect.DeepEqual(a, Answer{Error: a.Error}) {
			t.Errorf("%s: answer beside an error: %+v", s.q.Op, a)
		}
	}
	a, err := Client{Dir: dir}.Do(t.Context(), Request{Op: Explain, Explain: &Query{Session: "abc"}})
	if err != nil || a.Report == nil || string(a.Report.JSON) != `{"verdict":"pass"}` || a.Report.Text != "pass\n" {
		t.Errorf("report through the socket = %+v, %v", a.Report, err)
	}
}

func TestEdge_none(t *testing.T) {
	x, _ := newExecutor(t)
	for _, op := range []Op{BanList, BanAdd, BanRemove, BanWhy, Explain, TopNow, GreylistReport, ShadowReport} {
		if a := x.Do(t.Context(), Request{Op: op}); a.Error != ErrNoEdge.Error() {
			t.Errorf("%s without a host: %q, want %q", op, a.Error, ErrNoEdge)
		}
	}
}
