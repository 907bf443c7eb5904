package host

import (
	"net"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// serveLists answers for test addresses of lists until the test ends: what a
// zone lists is in says, "refused" refuses.
func serveLists(t *testing.T, says map[string]string) string {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		a := new(dns.Msg).SetReply(q)
		name := q.Question[0].Name
		last, zone, _ := strings.Cut(name, ".0.0.127.")
		lists := says[zone]
		switch {
		case lists == "refused":
			a.Rcode = dns.RcodeRefused
		case strings.Contains(lists, last):
			rr, err := dns.NewRR(name + " 60 A 127.0.0.2")
			if err != nil {
				t.Error(err)
			}
			a.Answer = append(a.Answer, rr)
		default:
			a.Rcode = dns.RcodeNameError
		}
		if err := w.WriteMsg(a); err != nil {
			t.Error(err)
		}
	})}
	done := make(chan error, 1)
	go func() { done <- srv.ActivateAndServe() }()
	t.Cleanup(func() {
		if err := srv.Shutdown(); err != nil {
			t.Error(err)
		}
		<-done
	})
	return pc.LocalAddr().String()
}

func TestCheckEdge_lists(t *testing.T) {
	server := serveLists(t, map[string]string{"good.test.": "2", "all.test.": "12", "none.test.": "-", "no.test.": "refused"})
	c := Default()
	c.DNS.Servers = []string{server}
	c.Ban.Kernel = "off"
	want := []struct {
		zone   string
		ok     bool
		detail string
	}{
		{"good.test", true, "lists its test address"},
		{"all.test", false, "would list everybody"},
		{"none.test", true, "does not list its test address"},
		{"no.test", false, "use one of your own"},
	}
	for _, w := range want {
		c.DNSBL.Lists = append(c.DNSBL.Lists, DNSList{Zone: w.zone, Weight: 3})
	}
	got := checkEdge(t.Context(), c)
	if len(got) != 1+len(want) || got[0].What != "bans" || !got[0].OK || !strings.Contains(got[0].Detail, "off") {
		t.Fatalf("findings %+v", got)
	}
	for i, w := range want {
		f := got[i+1]
		if f.What != "list "+w.zone || f.OK != w.ok || !strings.Contains(f.Detail, w.detail) {
			t.Errorf("%+v; want list %s, ok %v, %q", f, w.zone, w.ok, w.detail)
		}
	}
}
