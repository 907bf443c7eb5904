package host

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/breakwater-mail/breakwater/internal/ops/dkim"
)

// serveZone answers from lines of a zone file until the test ends.
func serveZone(t *testing.T, lines ...string) string {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var zone []dns.RR
	for _, line := range lines {
		rr, err := dns.NewRR(line)
		if err != nil {
			t.Fatal(err)
		}
		zone = append(zone, rr)
	}
	srv := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		a := new(dns.Msg).SetReply(q)
		for _, rr := range zone {
			if strings.EqualFold(rr.Header().Name, q.Question[0].Name) && rr.Header().Rrtype == q.Question[0].Qtype {
				a.Answer = append(a.Answer, rr)
			}
		}
		a.Truncate(1232)
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

// wantFindings checks that there are such findings, each "ok WHAT: words" or
// "no WHAT: words".
func wantFindings(t *testing.T, fs []Finding, want ...string) {
	t.Helper()
	for _, w := range want {
		mark, rest, _ := strings.Cut(w, " ")
		what, words, _ := strings.Cut(rest, ": ")
		found := false
		for _, f := range fs {
			found = found || f.What == what && f.OK == (mark == "ok") && strings.Contains(f.Detail, words)
		}
		if !found {
			t.Errorf("no finding %q in %+v", w, fs)
		}
	}
}

func TestCheckOut_domains(t *testing.T) {
	c := Default()
	c.Hostname, c.Dir = "mail.example.org", t.TempDir()
	keys, err := dkim.Open(dkim.Options{Dir: c.DirPath(c.DKIM.Dir)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Add("example.org"); err != nil {
		t.Fatal(err)
	}
	records, err := keys.Records("example.org")
	if err != nil {
		t.Fatal(err)
	}
	zone := []string{
		`example.org. 60 IN TXT "v=spf1 mx -all"`, `example.org. 60 IN TXT "V=SPF1 -all"`, `example.org. 60 IN TXT "else"`,
		`_dmarc.example.org. 60 IN TXT "v=DMARC1; p=none"`, "mail.example.org. 60 IN A 192.0.2.1", records[0].String(),
	}
	c.DNS.Servers = []string{serveZone(t, zone...)}
	wantFindings(t, checkOut(t.Context(), c, false),
		"ok outgoing mail: port 25", "ok alarms: only the log", "no SPF: 2 such records", "ok DMARC: _dmarc.example.org",
		"ok DKIM: "+strings.TrimSuffix(strings.Fields(records[0].Name)[0], "."), "no DKIM: breakwater dkim records example.org", "ok SRS: mail.example.org")
	for _, k := range keys.List("") {
		if k.State != dkim.Waiting {
			t.Errorf("a check made %s %s", k.Name(), k.State)
		}
	}
	c.SRS.Domain = "fwd.example.org"
	wantFindings(t, checkOut(t.Context(), c, false), "no SRS: bounces of forwarded mail are lost")
}

// TestCheckOut_ofARunningHost: it knows domains that have no keys.
func TestCheckOut_ofARunningHost(t *testing.T) {
	h := newTestHost(t)
	c := h.cfg
	wantFindings(t, checkOut(t.Context(), c, true), "ok outgoing mail: breakwater queue list")
	c.Listen.SMTP, c.DNS.Enabled, c.DNS.Servers = []string{":25"}, true, []string{serveZone(t)}
	wantFindings(t, checkOut(t.Context(), c, true), "no DKIM: breakwater dkim add demo.test", "no SPF: demo.test")
}

func TestCheckOut_surroundings(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	c := Default()
	c.Listen.SMTP, c.Dir = []string{"127.0.0.1:25"}, t.TempDir()
	c.Delivery.Relay, c.Delivery.RelayUser, c.Delivery.RelayPasswordFile = "smtp://"+l.Addr().String(), "u", "relay.password"
	c.Delivery.Routes = []string{"example.net smtp://" + closed.Addr().String()}
	c.Alarm.Exec = []string{filepath.Join(c.Dir, "no-such-program")}
	wantFindings(t, checkOut(t.Context(), c, false), "no secret: delivery.relay_password_file", "no alarms: exec", "no outgoing mail: relay_password_file")
	if err := os.WriteFile(filepath.Join(c.Dir, "relay.password"), []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	c.Alarm.Exec, c.Alarm.Syslog = nil, "unix:/dev/log"
	fs := checkOut(t.Context(), c, false)
	wantFindings(t, fs, "no secret: chmod 600", "ok alarms: syslog", "ok next hop: "+l.Addr().String(), "no next hop: cannot be reached", "ok outgoing mail: goes to smtp://")
	for _, f := range fs {
		if strings.Contains(f.Detail, "secret\n") || f.Detail == "secret" {
			t.Errorf("tells the secret: %+v", f)
		}
	}
	c = Default()
	c.Listen.SMTP, c.Dir, c.DNS.Enabled = []string{"127.0.0.1:25"}, t.TempDir(), false
	wantFindings(t, checkOut(t.Context(), c, false), "no outgoing mail: dns.enabled")
	c.Delivery.Routes = []string{"example.net smtps://10.0.0.7 tls=no"}
	if err := c.validateOut(); err == nil || !strings.Contains(err.Error(), "delivery.routes") {
		t.Errorf("smtps without TLS: %v", err)
	}
}
