package host

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
	"github.com/breakwater-mail/breakwater/internal/edge/ban"
)

// checkEdge looks at what the edge needs from its surroundings: the kernel's
// packet filter, resolvers, lists.
func checkEdge(ctx context.Context, c Config) []Finding {
	fs := []Finding{checkBans(c)}
	if !c.DNS.Enabled || len(c.DNSBL.Lists) == 0 {
		return fs
	}
	client, err := c.resolver()
	if err != nil {
		return append(fs, Finding{What: "resolver", Detail: err.Error()})
	}
	defer client.Close()
	for _, l := range c.DNSBL.Lists {
		fs = append(fs, checkList(ctx, client, l.Zone))
	}
	return fs
}

// checkBans says where bans act. It is in order that the kernel cannot help,
// unless it has to.
func checkBans(c Config) Finding {
	f := Finding{What: "bans", OK: true, Detail: "at accept: ban.kernel is off"}
	mode := banMode(c.Ban.Kernel)
	if mode == ban.Off {
		return f
	}
	err := ban.Probe(ban.Options{Kernel: mode, Table: c.Ban.Table})
	if err == nil {
		f.Detail = "in the kernel"
		return f
	}
	f.OK = mode != ban.Require
	f.Detail = fmt.Sprintf("at accept only, the kernel's packet filter cannot be had: %v", err)
	return f
}

// checkList asks a list for the two addresses of which the answer is known
// (RFC 5782 §5): 127.0.0.2 is always listed, 127.0.0.1 never.
func checkList(ctx context.Context, client *dns.Client, zone string) Finding {
	f := Finding{What: "list " + zone}
	ask := func(last byte) dns.Answer {
		name := dns.ReverseName(netip.AddrFrom4([4]byte{127, 0, 0, last})) + "." + zone
		return client.Lookup(ctx, dns.Question{Name: name, Type: dns.A})
	}
	bad, good := ask(1), ask(2)
	switch {
	case good.Err != nil:
		f.Detail = fmt.Sprintf("%v; it is left out until it answers. Does the resolver in dns.servers work?", good.Err)
	case good.Failed():
		f.Detail = fmt.Sprintf("the resolver answers %v; some lists refuse public resolvers: use one of your own", good.RCode)
	case len(bad.Addrs) > 0:
		f.Detail = "it lists 127.0.0.1, so it would list everybody; it is left out. Is the list still run?"
	case len(good.Addrs) == 0:
		f.OK, f.Detail = true, "answers, but does not list its test address 127.0.0.2"
	default:
		f.OK, f.Detail = true, fmt.Sprintf("lists its test address, in %v", good.Took.Round(100*time.Microsecond))
	}
	return f
}
