package host

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// DNSConfig names the resolvers.
type DNSConfig struct {
	Enabled bool     `toml:"enabled" doc:"Ask DNS at all. Without it no list is asked and no SPF record read."`
	Servers []string `toml:"servers" doc:"Resolvers, such as \"127.0.0.1:53\". Empty: those of /etc/resolv.conf. Use one of your own: public ones are refused by most lists."`
}

// DNSBLConfig names the lists of addresses.
type DNSBLConfig struct {
	Lists   []DNSList `toml:"lists" doc:"DNS lists, such as \"zen.spamhaus.org weight=3 url=https://check.spamhaus.org/results/?query={ip}\"; a negative weight makes a white list. After the zone: weight=N (3 if unstated), codes=127.0.0.2/31,127.0.0.4 (the answers that count), url=URL ({ip} is replaced), text=WORDS to the end of the line."`
	Timeout Duration  `toml:"timeout" doc:"How long a list may take; one that takes longer does not count."`
}

// LobbyConfig has what strangers on port 25 may use.
type LobbyConfig struct {
	MaxGuests int  `toml:"max_guests" doc:"Strangers held at a time. At the limit the oldest of the worst leaves. The limit of open files bounds it too."`
	Memory    Size `toml:"memory" doc:"What the state of all strangers may take."`
	Stutter   bool `toml:"stutter" doc:"Answer refused guests slowly, while load allows."`
	TLSGuests int  `toml:"tls_guests" doc:"Strangers under TLS at a time who have not proved anything yet: TLS costs 25 KB each."`
}

// PolicyConfig has what decides about a stranger.
type PolicyConfig struct {
	Wait           Duration `toml:"wait" doc:"How long a stranger waits for the banner. Who talks before it gives itself away."`
	Allow          []string `toml:"allow" doc:"Networks that are trusted: no wait, no test, no ban."`
	Deny           []string `toml:"deny" doc:"Networks that are refused."`
	TrustedDomains []string `toml:"trusted_domains" doc:"Domains that your users write to: networks that their SPF records authorise skip the wait."`
	RefuseAt       int      `toml:"refuse_at" doc:"Score from which a guest is refused: the sum of the weights of the lists and faults."`
	SuspectAt      int      `toml:"suspect_at" doc:"Score from which a guest is greylisted."`
	Shadow         []string `toml:"shadow" doc:"Checks that only say what they would have done; see breakwater shadow report."`
}

// BanConfig has what becomes of those who come back after a refusal.
type BanConfig struct {
	Kernel       string   `toml:"kernel" doc:"auto: drop the packets of banned sources in the kernel (nftables) if that can be had, else refuse them at accept; require: do not start without; off: at accept only."`
	Timeout      Duration `toml:"timeout" doc:"How long a ban lasts after the last packet."`
	Max          int      `toml:"max" doc:"Banned sources at most."`
	Table        string   `toml:"table" doc:"Name of the nftables table."`
	RemoveAtExit bool     `toml:"remove_at_exit" doc:"Lift all bans when the host stops."`
}

// GreylistConfig has whom greylisting delays, and how long.
type GreylistConfig struct {
	Enabled bool     `toml:"enabled" doc:"Delay senders with a middling score until they have come back once."`
	Wait    Duration `toml:"wait" doc:"How long a sender has to wait before it comes back."`
	Window  Duration `toml:"window" doc:"How long it may take to come back."`
	Keep    Duration `toml:"keep" doc:"How long a sender who has passed stays known."`
}

// RelayConfig is edge mode.
type RelayConfig struct {
	To              string   `toml:"to" doc:"Edge mode: hand all mail on port 25 to this SMTP server, in the same session. Empty: keep it here."`
	Facts           string   `toml:"facts" doc:"How the inner server learns who the client is: xclient, proxy (PROXY protocol version 2) or none."`
	StartTLS        string   `toml:"starttls" doc:"TLS to the inner server: no, if_offered, or require (its certificate is verified)."`
	CA              string   `toml:"ca" doc:"Certificates that the inner server's is verified against, PEM. Empty: the system's."`
	MaxConns        int      `toml:"max_connections" doc:"Connections to the inner server."`
	Domains         []string `toml:"domains" doc:"Domains of recipients that are handed on. Empty: any, as the inner server decides; if it would relay for strangers it gets no mail."`
	WhenDown        string   `toml:"when_down" doc:"What becomes of mail while the inner server does not answer: defer (450, its sender comes again) or queue (it is taken and kept until the server is back; needs relay.domains, since nobody can say which recipients exist: what the server refuses later goes back to its sender)."`
	RememberRefused Duration `toml:"remember_refused" doc:"How long a recipient that the inner server refused is refused without asking again; 0: never."`
}

// edgeDefaults fills the edge's sections.
func edgeDefaults(c *Config) {
	c.DNS = DNSConfig{Enabled: true}
	c.DNSBL = DNSBLConfig{Timeout: Duration(2e9)}
	c.Lobby = LobbyConfig{MaxGuests: 20000, Memory: 32 << 20, Stutter: true, TLSGuests: 200}
	c.Policy = PolicyConfig{
		Wait: Duration(4e9), Allow: []string{"127.0.0.1/32", "::1/128"}, RefuseAt: 3, SuspectAt: 2,
	}
	c.Ban = BanConfig{Kernel: "auto", Timeout: Duration(600e9), Max: 1 << 20, Table: "breakwater"}
	c.Greylist = GreylistConfig{Enabled: true, Wait: Duration(60e9), Window: Duration(48 * 3600e9), Keep: Duration(60 * 24 * 3600e9)}
	c.Relay = RelayConfig{Facts: "xclient", StartTLS: "if_offered", WhenDown: "defer", MaxConns: 100, RememberRefused: Duration(120e9)}
}

// validateEdge reports the first thing in the edge's sections that cannot
// work.
func (c *Config) validateEdge() error {
	for _, l := range []struct {
		key   string
		items []string
	}{{"policy.allow", c.Policy.Allow}, {"policy.deny", c.Policy.Deny}} {
		if _, err := parsePrefixes(l.items); err != nil {
			return fmt.Errorf("%s: %w", l.key, err)
		}
	}
	if _, err := c.dnsServers(); err != nil {
		return fmt.Errorf("dns.servers: %w", err)
	}
	for _, p := range []struct {
		key      string
		n        int64
		min, max int64
	}{
		{"lobby.max_guests", int64(c.Lobby.MaxGuests), 10, 1 << 20},
		{"lobby.memory", int64(c.Lobby.Memory), 1 << 20, 1 << 34},
		{"lobby.tls_guests", int64(c.Lobby.TLSGuests), 1, 1 << 16},
		{"policy.refuse_at", int64(c.Policy.RefuseAt), 1, 1000},
		{"policy.suspect_at", int64(c.Policy.SuspectAt), 1, int64(c.Policy.RefuseAt)},
		{"ban.max", int64(c.Ban.Max), 1000, 1 << 20},
		{"relay.max_connections", int64(c.Relay.MaxConns), 1, 10000},
	} {
		if p.n < p.min || p.n > p.max {
			return fmt.Errorf("%s: %d is out of bounds; from %d to %d", p.key, p.n, p.min, p.max)
		}
	}
	for _, o := range []struct {
		key, value string
		of         []string
	}{
		{"ban.kernel", c.Ban.Kernel, []string{"auto", "require", "off"}},
		{"relay.facts", c.Relay.Facts, []string{"xclient", "proxy", "none"}},
		{"relay.starttls", c.Relay.StartTLS, []string{"no", "if_offered", "require"}},
		{"relay.when_down", c.Relay.WhenDown, []string{"defer", "queue"}},
	} {
		if err := oneOf(o.value, o.of); err != nil {
			return fmt.Errorf("%s: %w", o.key, err)
		}
	}
	if _, err := parseDomains(c.Relay.Domains); err != nil {
		return fmt.Errorf("relay.domains: %w", err)
	}
	if c.Relay.To != "" && c.Relay.WhenDown == "queue" && len(c.Relay.Domains) == 0 {
		return errors.New("relay.when_down: queue needs relay.domains: else this host would take mail for the whole world while the inner server is down")
	}
	if c.Relay.To != "" {
		if _, _, err := net.SplitHostPort(c.Relay.To); err != nil {
			return fmt.Errorf("relay.to: %q is no address; write \"127.0.0.1:10025\"", c.Relay.To)
		}
		if slices.Contains(c.Listen.SMTP, c.Relay.To) {
			return fmt.Errorf("relay.to: %s is this host's own listen.smtp; name the server behind it", c.Relay.To)
		}
	}
	return nil
}

// edgeMode turns off what a host in front of another server has no use for,
// unless the file says otherwise.
func (c *Config) edgeMode() {
	for _, s := range []struct {
		key   string
		addrs *[]string
	}{
		{"submission", &c.Listen.Submission}, {"submissions", &c.Listen.Submissions}, {"imap", &c.Listen.IMAP},
		{"imaps", &c.Listen.IMAPS}, {"pop3", &c.Listen.POP3}, {"pop3s", &c.Listen.POP3S},
	} {
		if !c.set["listen."+s.key] {
			*s.addrs = nil
		}
	}
}

func oneOf(value string, of []string) error {
	for _, o := range of {
		if value == o {
			return nil
		}
	}
	return fmt.Errorf("%q is none of %s", value, strings.Join(of, ", "))
}

// parsePrefixes reads networks; an address alone is one of its own.
func parsePrefixes(items []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, s := range items {
		if a, err := netip.ParseAddr(s); err == nil {
			out = append(out, netip.PrefixFrom(a, a.BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("%q is no network; write \"192.0.2.0/24\" or \"2001:db8::/32\"", s)
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

// dnsServers are the configured resolvers; an address alone has port 53.
func (c *Config) dnsServers() ([]netip.AddrPort, error) {
	var out []netip.AddrPort
	for _, s := range c.DNS.Servers {
		a, err := parseServer(s)
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

func parseServer(s string) (netip.AddrPort, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.AddrPortFrom(a, 53), nil
	}
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		return a, fmt.Errorf("%q is no address; write \"127.0.0.1:53\"", s)
	}
	return a, nil
}

// DNSList is one list of addresses, written in the configuration as its zone
// and what is to be known of it.
type DNSList struct {
	Zone   string
	Weight int
	Codes  []netip.Prefix
	URL    string
	Text   string
}

// listWeightDefault refuses alone, by the default threshold.
const listWeightDefault = 3

// ParseDNSList reads "zone [weight=N] [codes=A,B] [url=URL] [text=WORDS]".
func ParseDNSList(s string) (DNSList, error) {
	l := DNSList{Weight: listWeightDefault}
	s, l.Text, _ = strings.Cut(s, " text=")
	l.Text = strings.TrimSpace(l.Text)
	fields := strings.Fields(s)
	if len(fields) == 0 {
		return l, fmt.Errorf("list: a zone is missing; write \"zen.spamhaus.org weight=3\"")
	}
	l.Zone = strings.TrimSuffix(strings.ToLower(fields[0]), ".")
	if _, err := message.ParseDomain(l.Zone); err != nil || !strings.Contains(l.Zone, ".") {
		return l, fmt.Errorf("list %q: %q is no zone; write \"zen.spamhaus.org weight=3\"", s, l.Zone)
	}
	for _, f := range fields[1:] {
		key, value, _ := strings.Cut(f, "=")
		var err error
		switch key {
		case "weight":
			l.Weight, err = strconv.Atoi(value)
			if err != nil || l.Weight == 0 || l.Weight < -1000 || l.Weight > 1000 {
				err = fmt.Errorf("list %s: weight %q is no number from -1000 to 1000 but 0", l.Zone, value)
			}
		case "codes":
			l.Codes, err = parsePrefixes(strings.Split(value, ","))
		case "url":
			l.URL = value
		default:
			err = fmt.Errorf("list %s: %q is none of weight=, codes=, url=, text=", l.Zone, f)
		}
		if err != nil {
			return l, err
		}
	}
	return l, nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *DNSList) UnmarshalText(b []byte) error {
	v, err := ParseDNSList(string(b))
	if err != nil {
		return err
	}
	*l = v
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (l DNSList) MarshalText() ([]byte, error) {
	b := []byte(l.Zone)
	if l.Weight != listWeightDefault {
		b = fmt.Appendf(b, " weight=%d", l.Weight)
	}
	for i, c := range l.Codes {
		sep := ","
		if i == 0 {
			sep = " codes="
		}
		b = fmt.Appendf(b, "%s%s", sep, c)
	}
	if l.URL != "" {
		b = append(b, " url="+l.URL...)
	}
	if l.Text != "" {
		b = append(b, " text="+l.Text...)
	}
	return b, nil
}

// AskDNS turns DNS on with a resolver, unless server is "", and adds lists:
// what the demo's flags say.
func (c *Config) AskDNS(server string, lists []string) error {
	if server != "" {
		if _, err := parseServer(server); err != nil {
			return fmt.Errorf("--dns: %w", err)
		}
		c.DNS = DNSConfig{Enabled: true, Servers: []string{server}}
	}
	if len(lists) > 0 && !c.DNS.Enabled {
		return errors.New("--dnsbl: a list is asked by DNS; name a resolver with --dns")
	}
	for _, s := range lists {
		l, err := ParseDNSList(s)
		if err != nil {
			return fmt.Errorf("--dnsbl: %w", err)
		}
		c.DNSBL.Lists = append(c.DNSBL.Lists, l)
	}
	return nil
}
