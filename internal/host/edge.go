package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/edge/ban"
	"github.com/breakwater-mail/breakwater/internal/edge/dnsbl"
	"github.com/breakwater-mail/breakwater/internal/edge/greylist"
	"github.com/breakwater-mail/breakwater/internal/edge/listen"
	"github.com/breakwater-mail/breakwater/internal/edge/lobby"
	"github.com/breakwater-mail/breakwater/internal/edge/policy"
	"github.com/breakwater-mail/breakwater/internal/edge/session"
	"github.com/breakwater-mail/breakwater/internal/mail/sasl"
	"github.com/breakwater-mail/breakwater/internal/ops/admin"
)

const (
	// edgeDrain is how long sessions of port 25 may go on when the host stops:
	// a third of what a service manager commonly waits before it kills.
	edgeDrain = 30 * time.Second
	// strangersShare of the sessions is open to guests of whom nothing good is
	// known; the rest is kept for those who passed before.
	strangersShare = 0.8
	// cachedAnswers of DNS are those of SPF records: lists have a cache of
	// their own.
	cachedAnswers = 10_000
)

// door is what has to be opened while the process may still be root.
type door struct {
	lobby *lobby.Lobby // nil: nothing listens on port 25
	bans  *ban.List
}

// openDoor binds port 25 and reaches for the kernel's packet filter.
func openDoor(c Config, proxyFrom []netip.Prefix, reg prometheus.Registerer, log *slog.Logger) (d door, err error) {
	allow, err := parsePrefixes(c.Policy.Allow)
	if err != nil {
		return d, fmt.Errorf("policy.allow: %w", err)
	}
	mode, ports := banMode(c.Ban.Kernel), c.smtpPorts()
	if len(ports) == 0 { // to the kernel that would be all ports
		mode = ban.Off
	}
	d.bans, err = ban.New(ban.Options{
		Kernel: mode, Table: c.Ban.Table, Timeout: c.Ban.Timeout.Std(), Max: c.Ban.Max,
		Never: allow, RemoveAtExit: c.Ban.RemoveAtExit, Ports: ports,
		Log: log, Metrics: ban.NewMetrics(reg),
	})
	if err != nil {
		return d, fmt.Errorf("ban.kernel: %w", err)
	}
	if len(c.Listen.SMTP) == 0 {
		return d, nil
	}
	machine := session.New(c.sessionOptions(session.MX), nil, nil).MachineOptions()
	machine.Mechanisms = sasl.Mechanisms(true) // as the sessions' machine has them
	d.lobby, err = lobby.Listen(lobby.Options{
		Addrs: c.Listen.SMTP, Hostname: c.Hostname, Machine: machine, TLS: true, TLSGuests: c.Lobby.TLSGuests,
		ProxyFrom: proxyFrom, Strangers: c.Lobby.MaxGuests, Budget: int64(c.Lobby.Memory),
		Stutter: lobby.Stutter{Off: !c.Lobby.Stutter}, ListedAt: c.Policy.RefuseAt,
		Log: log, Metrics: lobby.NewMetrics(reg),
	})
	if err != nil {
		return d, bindError("smtp", err)
	}
	return d, nil
}

// bound are the addresses of port 25.
func (d door) bound() Bound {
	var b Bound
	if d.lobby != nil {
		for _, a := range d.lobby.Addrs() {
			b = append(b, Listener{"smtp", a.String()})
		}
	}
	return b
}

// banned is what a listener asks about its clients: only where mail is sent
// are the banned turned away.
func (d door) banned(service string) func(netip.Addr) bool {
	if service == "submission" || service == "submissions" {
		return d.bans.Banned
	}
	return nil
}

func banMode(s string) ban.Mode {
	switch s {
	case "off":
		return ban.Off
	case "require":
		return ban.Require
	}
	return ban.Auto
}

// smtpPorts are the ports that are closed to banned sources.
func (c *Config) smtpPorts() []uint16 {
	var ports []uint16
	for _, s := range [][]string{c.Listen.SMTP, c.Listen.Submission, c.Listen.Submissions} {
		for _, a := range s {
			_, p, err := net.SplitHostPort(a)
			n, nerr := strconv.ParseUint(p, 10, 16)
			if err == nil && nerr == nil && n != 0 {
				ports = append(ports, uint16(n))
			}
		}
	}
	return ports
}

// edge is what a stranger on port 25 meets before the mailroom.
type edge struct {
	door
	c       Config
	dns     *dns.Client    // nil: DNS is off
	lists   *dnsbl.Checker // nil: there are none
	grey    *greylist.Table
	policy  *policy.Policy
	pool    *listen.Pool
	facts   listen.Facts // of every connection
	clock   sys.Clock
	log     *slog.Logger
	free    *places
	inner   *innerServer           // nil unless in edge mode
	clients func() *session.Server // that serves the next session
	room    session.Mailroom
}

// openEdge builds what is behind the door. The files are in the data
// directory; they are memories, not the truth: losing them costs a wait.
func openEdge(c Config, d door, reg prometheus.Registerer, log *slog.Logger) (e *edge, err error) {
	e = &edge{door: d, c: c, clock: sys.RealClock(), log: telemetry.Logger(log, "edge"), free: newPlaces(c.Listen.MaxConns)}
	if err := e.openDNS(reg, log); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.closeDNS())
		}
	}()
	fs := sys.OSFS()
	dir := c.DirPath("edge")
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make directory: %w", err)
	}
	e.grey, err = greylist.Open(fs, c.DirPath("edge", "greylist"), greylist.Options{
		Enabled: c.Greylist.Enabled, Wait: c.Greylist.Wait.Std(), Window: c.Greylist.Window.Std(), Keep: c.Greylist.Keep.Std(),
		Log: log, Metrics: greylist.NewMetrics(reg),
	})
	if err != nil {
		return nil, err
	}
	o, err := c.policyOptions()
	if err != nil {
		return nil, err
	}
	o.History.FS, o.History.Dir = fs, c.DirPath("edge", "history")
	o.Log, o.Metrics = log, policy.NewMetrics(reg)
	parts := policy.Parts{Greylist: acquaintance{e.grey, c.Hostname}, Bans: d.bans, WhyBanned: d.whyBanned}
	if e.lists != nil {
		parts.Lists = e.lists
	}
	if e.dns != nil {
		parts.SPF = policy.NewSPF(e.dns, c.Hostname, e.clock)
	}
	e.policy = policy.New(o, parts)
	if e.inner, err = openInner(c, e.dns, reg, log); err != nil {
		return nil, err
	}
	return e, nil
}

func (e *edge) openDNS(reg prometheus.Registerer, log *slog.Logger) error {
	if !e.c.DNS.Enabled {
		return nil
	}
	servers, err := e.c.resolvers()
	if err != nil {
		return err
	}
	e.dns, err = dns.New(dns.Options{
		Servers: servers, TrustAD: e.c.trustAD(), CacheEntries: cachedAnswers, Log: log, Metrics: dns.NewMetrics(reg),
	})
	if err != nil {
		return fmt.Errorf("dns: %w", err)
	}
	if len(e.c.DNSBL.Lists) == 0 {
		return nil
	}
	lists := make([]dnsbl.List, len(e.c.DNSBL.Lists))
	for i, l := range e.c.DNSBL.Lists {
		lists[i] = dnsbl.List{Zone: l.Zone, Weight: l.Weight, Codes: l.Codes, URL: l.URL, Text: l.Text}
	}
	e.lists, err = dnsbl.New(dnsbl.Options{Timeout: e.c.DNSBL.Timeout.Std(), Log: log, Metrics: dnsbl.NewMetrics(reg)}, e.dns, lists)
	if err != nil {
		return errors.Join(fmt.Errorf("dnsbl.lists: %w", err), e.closeDNS())
	}
	return nil
}

// resolvers are those of dns.servers, else the system's.
func (c *Config) resolvers() ([]netip.AddrPort, error) {
	servers, err := c.dnsServers()
	if err != nil {
		return nil, fmt.Errorf("dns.servers: %w", err)
	}
	if len(servers) == 0 {
		servers = dns.SystemServers(sys.OSFS())
	}
	return servers, nil
}

// trustAD says which resolvers are believed about DNSSEC.
func (c *Config) trustAD() dns.Trust {
	switch c.Delivery.TrustAD {
	case "yes":
		return dns.TrustAll
	case "no":
		return dns.TrustNone
	}
	return dns.TrustLoopback
}

func (e *edge) closeDNS() error {
	if e.dns == nil {
		return nil
	}
	return e.dns.Close()
}

// policyOptions are the policy's part of the configuration.
func (c *Config) policyOptions() (o policy.Options, err error) {
	o = policy.Defaults()
	o.Hostname = c.Hostname
	if o.Allow, err = parsePrefixes(c.Policy.Allow); err != nil {
		return o, fmt.Errorf("policy.allow: %w", err)
	}
	if o.Allow == nil {
		o.Allow = []netip.Prefix{} // nobody, which is not the default
	}
	if o.Deny, err = parsePrefixes(c.Policy.Deny); err != nil {
		return o, fmt.Errorf("policy.deny: %w", err)
	}
	o.Wait = c.Policy.Wait.Std()
	o.Scores.Refuse, o.Scores.Suspect = c.Policy.RefuseAt, c.Policy.SuspectAt
	o.Shadow = c.Policy.Shadow
	o.Caps.Network = min(o.Caps.Network, c.Listen.MaxPerNetwork)
	if o.Trusted, err = parseDomains(c.Policy.TrustedDomains); err != nil {
		return o, fmt.Errorf("policy.trusted_domains: %w", err)
	}
	return o, nil
}

func (d door) whyBanned(a netip.Addr) (string, bool) {
	entry, _, ok := d.bans.Why(netip.PrefixFrom(a, a.BitLen()))
	return entry.Why, ok
}

// behind says what serves those who pass: a session of server with room behind
// it, or, in edge mode, the inner server.
func (e *edge) behind(server *session.Server, room session.Mailroom) {
	e.clients, e.room = func() *session.Server { return server }, room
	if e.inner == nil {
		return
	}
	e.clients, e.room = e.inner.server.Load, e.inner
	if e.lobby != nil {
		e.inner.changed = func(s *session.Server) { e.lobby.SetMachine(s.MachineOptions()) }
		e.inner.changed(e.clients())
	}
}

// serve lets guests in until ctx ends.
func (e *edge) serve(ctx context.Context, pool *listen.Pool, facts listen.Facts) error {
	e.pool, e.facts = pool, facts
	g, gctx := errgroup.WithContext(ctx)
	if e.inner != nil {
		g.Go(func() error { return ignoreEnd(gctx, e.inner.Run(gctx)) })
	}
	g.Go(func() error { return ignoreEnd(gctx, e.bans.Run(gctx)) })
	g.Go(func() error { return ignoreEnd(gctx, e.grey.Run(gctx)) })
	g.Go(func() error { return ignoreEnd(gctx, e.policy.Run(gctx)) })
	if e.lists != nil {
		g.Go(func() error { return ignoreEnd(gctx, e.lists.Run(gctx)) })
	}
	if e.lobby != nil {
		g.Go(func() error {
			err := e.lobby.Serve(gctx, e.policy, func(h lobby.Handover) { e.admit(gctx, h) })
			e.pool.Drain(edgeDrain)
			return err
		})
	}
	return g.Wait()
}

// admin is what operators can ask of the edge.
func (e *edge) admin() admin.Edge {
	return edgeAdmin{
		hostname: e.c.Hostname, lobby: e.lobby, dns: e.dns, lists: e.lists,
		bans: e.bans, grey: e.grey, policy: e.policy, clock: e.clock,
	}
}

// onLogin hears of the logins of all protocols.
func (e *edge) onLogin(a netip.Addr, ok bool) {
	if ok {
		e.policy.LoginOK(a)
	} else {
		e.policy.LoginFailed(a)
	}
}

// reload takes over the policy of a fresh configuration, and with it who is
// never banned.
func (e *edge) reload(c Config) error {
	o, err := c.policyOptions()
	if err != nil {
		return err
	}
	e.policy.Reload(o)
	e.bans.Reload(o.Allow)
	return nil
}

// close saves what the edge remembers.
func (e *edge) close() error {
	return errors.Join(e.grey.Close(), e.closeDNS())
}

// admit makes a session of a guest that passed.
func (e *edge) admit(ctx context.Context, h lobby.Handover) {
	f := e.facts
	f.ID, f.Remote = h.ID, h.Remote
	c := listen.NewConn(h.Conn, f)
	v := &visitor{edge: e, guest: h.Guest, headers: h.Verdict.Headers, passed: h.Guest.HasTo, first: h.Guest.HasTo, proved: h.Ended}
	stay := e.free.take(h.Guest.Known)
	e.pool.Go(c, func() {
		if !stay {
			v.turnAway(c)
			return
		}
		e.clients().Serve(ctx, c, session.Beginning{
			Room: v, Resumed: !h.Fresh, Dialogue: h.Dialogue, Unread: h.Unread, Ended: v.ended,
		})
	}, func() {
		if stay {
			e.free.leave(h.Guest.Known)
		}
		h.Ended()
	})
}
