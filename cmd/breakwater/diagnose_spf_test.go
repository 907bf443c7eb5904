package main

import (
	"bytes"
	"encoding/json"
	"net"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// serveDNS answers from a zone over UDP and TCP, and returns its address.
func serveDNS(t *testing.T, zone string) string {
	t.Helper()
	var records []dns.RR
	for line := range strings.Lines(zone) {
		rr, err := dns.NewRR(strings.TrimSpace(line))
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, rr)
	}
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetRcode(q, dns.RcodeNameError)
		for _, rr := range records {
			if !strings.EqualFold(rr.Header().Name, q.Question[0].Name) {
				continue
			}
			m.Rcode = dns.RcodeSuccess
			if rr.Header().Rrtype == q.Question[0].Qtype {
				m.Answer = append(m.Answer, rr)
			}
		}
		if w.RemoteAddr().Network() == "udp" {
			m.Truncate(dns.MinMsgSize)
		}
		w.WriteMsg(m) //nolint:errcheck // the client asks again
	})
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	stream, err := net.Listen("tcp", packets.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*dns.Server{{PacketConn: packets, Handler: handler}, {Listener: stream, Handler: handler}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go s.ActivateAndServe() //nolint:errcheck // it ends with the test
		<-started
		t.Cleanup(func() { s.Shutdown() }) //nolint:errcheck // it ends with the test
	}
	return packets.LocalAddr().String()
}

func TestDiagnoseSPF(t *testing.T) {
	long := strings.Repeat("ip4:192.0.2.77 ", 60) // more than fits into a packet: asked again over TCP
	server := serveDNS(t, `example.test. 60 TXT "v=spf1 mx include:long.test -all exp=why.example.test"
example.test. 60 MX 10 mail.example.test.
mail.example.test. 60 A 192.0.2.1
mail.example.test. 60 TXT "v=spf1 a -all"
why.example.test. 60 TXT "%{i} does not send for %{d}"
long.test. 60 TXT "v=spf1 `+long[:180]+`" "`+long[180:420]+`" "`+long[420:660]+`" "`+long[660:]+` ip6:2001:db8::/32"`)
	for _, c := range []struct {
		args                           []string
		result, mechanism, explanation string
		questions                      int
	}{
		{[]string{"--ip=192.0.2.1", "--helo=x", "--from=one@example.test"}, "pass", "mx", "", 3},
		{[]string{"--ip=2001:db8::1", "--from=<one@example.test>"}, "pass", "include:long.test", "", 4},
		{[]string{"--ip=192.0.2.2", "--from=one@example.test"}, "fail", "-all", "192.0.2.2 does not send for example.test", 5},
		{[]string{"--ip=192.0.2.1", "--helo=mail.example.test", "--from=<>"}, "pass", "a", "", 2},
		{[]string{"--ip=192.0.2.1", "--from=one@nowhere.test"}, "none", "", "", 1},
	} {
		var out, errs bytes.Buffer
		args := append([]string{"diagnose", "spf", "--dns", server}, c.args...)
		if status := run(console{t.Context(), nil, &out, &errs}, args); status != 0 {
			t.Errorf("%s: got status %d: %s", c.args, status, errs.String())
			continue
		}
		var got spfReport
		if err := json.Unmarshal(out.Bytes(), &got); err != nil {
			t.Errorf("%s: %v in %s", c.args, err, out.String())
			continue
		}
		questions := 0
		for _, step := range got.Trace {
			questions += len(step.Questions)
		}
		if string(got.Result) != c.result || got.Mechanism != c.mechanism || got.Explanation != c.explanation || questions != c.questions ||
			!strings.HasPrefix(got.ReceivedSPF, "Received-SPF: "+c.result+" (") {
			t.Errorf("%s: got %s\nwant %s by %q, %q, %d questions", c.args, out.String(), c.result, c.mechanism, c.explanation, c.questions)
		}
	}
}
