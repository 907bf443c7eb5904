package host

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/ops/admin"
	"github.com/breakwater-mail/breakwater/internal/ops/dkim"
	"github.com/breakwater-mail/breakwater/internal/spool/delivery"
)

const (
	hopWaitMax      = 5 * time.Second  // for one next hop: one on another continent takes half a second
	outWaitMax      = 20 * time.Second // for all that is asked about outgoing mail
	domainsCheckMax = 50               // domains whose records are looked up: some questions each
)

// checkOut looks at what outgoing mail needs: next hops, secrets, those who are
// told of alarms, and, for a host of the internet, the DNS. The domains are the
// running host's; without one those that have keys.
func checkOut(ctx context.Context, c Config, running bool) []Finding {
	ctx, cancel := context.WithTimeout(ctx, outWaitMax)
	defer cancel()
	fs := append(checkWayOut(ctx, c), checkSecrets(c)...)
	fs = append(fs, checkAlarms(c))
	if onlyLoopback(c.Listen.SMTP) || !c.DNS.Enabled {
		return fs
	}
	client, err := c.resolver()
	if err != nil {
		return append(fs, Finding{What: "resolver", Detail: err.Error()})
	}
	defer client.Close()
	keys, err := dkim.Open(dkim.Options{Dir: c.DirPath(c.DKIM.Dir)})
	if err != nil {
		fs = append(fs, Finding{What: "DKIM", Detail: err.Error()})
	}
	domains := keyedDomains(keys)
	if running {
		domains = append(domains, hostedDomains(ctx, c)...)
	}
	seen := map[message.Domain]bool{}
	for _, d := range domains {
		if !seen[d] && len(seen) < domainsCheckMax {
			seen[d] = true
			fs = append(fs, checkSender(ctx, client, keys, d)...)
		}
	}
	return append(fs, checkBounces(ctx, client, c))
}

// resolver is one that asks as the host does.
func (c *Config) resolver() (*dns.Client, error) {
	servers, err := c.resolvers()
	if err != nil {
		return nil, err
	}
	return dns.New(dns.Options{Servers: servers, TrustAD: c.trustAD()})
}

// checkWayOut says where outgoing mail goes, and whether those hosts answer.
func checkWayOut(ctx context.Context, c Config) []Finding {
	f := Finding{What: "outgoing mail", OK: true, Detail: "goes to each domain's own MX hosts; let this machine connect to port 25 of any host"}
	relay, err := c.relayHop()
	switch {
	case err != nil:
		f.OK, f.Detail = false, err.Error()
	case relay != nil:
		f.Detail = "goes to " + relay.String()
	case c.Delivery.Hold:
		f.Detail = "is held (delivery.hold); `breakwater queue list` shows it, delivery.relay names a next hop"
	case !c.DNS.Enabled:
		f.OK, f.Detail = false, "is held: without DNS (dns.enabled) no other host is found; name a next hop with delivery.relay"
	}
	fs := []Finding{f}
	routes, err := c.routes()
	if err != nil {
		return append(fs, Finding{What: "routes", Detail: err.Error()})
	}
	asked := map[string]bool{}
	hops := make([]delivery.Hop, 0, len(routes)+1)
	if relay != nil {
		hops = append(hops, *relay)
	}
	for _, r := range routes {
		hops = append(hops, r.Hop)
	}
	for _, h := range hops {
		if !asked[h.String()] {
			asked[h.String()] = true
			fs = append(fs, checkHop(ctx, h))
		}
	}
	return fs
}

// checkHop connects to a next hop, and says nothing to it.
func checkHop(ctx context.Context, h delivery.Hop) Finding {
	f := Finding{What: "next hop", OK: true, Detail: h.String()}
	network, addr := h.Address()
	d := net.Dialer{Timeout: hopWaitMax}
	conn, err := d.DialContext(ctx, network, addr)
	if err != nil {
		why := "Does it run, and does a firewall let this machine through?"
		if network == "unix" {
			why = "Does it run, and may this user write to its socket?"
		}
		f.OK, f.Detail = false, fmt.Sprintf("%s cannot be reached: %v; mail for it waits. %s", h, err, why)
		return f
	}
	_ = conn.Close() // nothing was said
	return f
}

// checkSecrets looks at the files with passwords: they are outside of the data
// directory, perhaps, and for nobody else.
func checkSecrets(c Config) []Finding {
	var fs []Finding
	for _, s := range []struct{ key, file string }{
		{"delivery.relay_password_file", c.Delivery.RelayPasswordFile}, {"alarm.webhook_secret_file", c.Alarm.WebhookSecretFile},
	} {
		if s.file == "" {
			continue
		}
		f := Finding{What: "secret", OK: true, Detail: c.DirPath(s.file)}
		info, err := os.Stat(c.DirPath(s.file))
		switch {
		case err != nil:
			f.OK, f.Detail = false, fmt.Sprintf("%s: %v", s.key, err)
		case info.Mode().Perm()&0o077 != 0:
			f.OK, f.Detail = false, fmt.Sprintf("%s: others may read %s (mode %04o); chmod 600", s.key, c.DirPath(s.file), info.Mode().Perm())
		}
		fs = append(fs, f)
	}
	return fs
}

// checkAlarms says who is told when something is wrong.
func checkAlarms(c Config) Finding {
	f := Finding{What: "alarms", OK: true, Detail: "only the log is told; name alarm.webhook, alarm.exec or alarm.syslog, and try it with `breakwater alarm test`"}
	sinks, err := c.alarmSinks()
	switch {
	case err != nil:
		f.OK, f.Detail = false, err.Error()
	case len(sinks) > 0:
		names := make([]string, len(sinks))
		for i, s := range sinks {
			names[i] = s.Name()
		}
		f.Detail = "go to " + strings.Join(names, ", ") + "; `breakwater alarm test` tries it"
	}
	return f
}

func keyedDomains(keys *dkim.Store) (out []message.Domain) {
	for _, k := range keys.List("") {
		out = append(out, k.Domain)
	}
	return out
}

// hostedDomains asks the running host for its domains. That it does not answer
// is another finding.
func hostedDomains(ctx context.Context, c Config) (out []message.Domain) {
	a, err := admin.Client{Dir: c.Dir}.Do(ctx, admin.Request{Op: admin.DomainList})
	if err != nil {
		return nil
	}
	for _, d := range a.Domains {
		out = append(out, message.Domain(d.Name))
	}
	return out
}

// checkSender looks at what other hosts judge the mail of one of our domains by.
func checkSender(ctx context.Context, client *dns.Client, keys *dkim.Store, d message.Domain) []Finding {
	fs := []Finding{
		checkText(ctx, client, "SPF", string(d), "v=spf1", `"v=spf1 mx -all"`),
		checkText(ctx, client, "DMARC", "_dmarc."+string(d), "v=DMARC1", `"v=DMARC1; p=quarantine"`),
	}
	found := keys.Look(ctx, client, d)
	if len(found) == 0 {
		return append(fs, Finding{What: "DKIM", Detail: fmt.Sprintf("%s has no keys, so its mail is not signed; breakwater dkim add %s", d, d)})
	}
	for _, k := range found {
		f := Finding{What: "DKIM", OK: k.Published, Detail: k.Name()}
		if !k.Published {
			f.Detail = fmt.Sprintf("%s: %s; `breakwater dkim records %s` prints what to publish", k.Name(), k.Problem, d)
		}
		fs = append(fs, f)
	}
	return fs
}

// checkText looks for a TXT record that begins so.
func checkText(ctx context.Context, client *dns.Client, what, name, begins, example string) Finding {
	f := Finding{What: what, Detail: name}
	a := client.Lookup(ctx, dns.Question{Name: name, Type: dns.TXT})
	if a.Failed() {
		f.Detail = fmt.Sprintf("%s: the DNS did not answer (%v %v)", name, a.RCode, a.Err)
		return f
	}
	n := 0
	for _, text := range a.Texts {
		if len(text) >= len(begins) && strings.EqualFold(text[:len(begins)], begins) {
			n++
		}
	}
	switch n {
	case 0:
		f.Detail = fmt.Sprintf("%s has no such record; many hosts take its mail for spam then. Publish TXT %s", name, example)
	case 1:
		f.OK = true
	default:
		f.Detail = fmt.Sprintf("%s has %d such records, which is as good as none; keep one", name, n)
	}
	return f
}

// checkBounces looks whether bounces of forwarded mail find their way back.
func checkBounces(ctx context.Context, client *dns.Client, c Config) Finding {
	name := c.SRS.Domain
	if name == "" {
		name = c.Hostname
	}
	f := Finding{What: "SRS", Detail: name}
	d, err := message.ParseDomain(name)
	if err != nil {
		f.Detail = fmt.Sprintf("srs.domain: %v", err)
		return f
	}
	for _, t := range []dns.Type{dns.MX, dns.A, dns.AAAA} {
		a := client.Lookup(ctx, dns.Question{Name: string(d), Type: t})
		f.OK = f.OK || len(a.MX)+len(a.Addrs) > 0
	}
	if !f.OK {
		f.Detail = fmt.Sprintf("%s has neither MX nor address, so bounces of forwarded mail are lost; publish one that leads here, or set srs.domain", name)
	}
	return f
}
