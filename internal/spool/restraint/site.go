package restraint

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/breakwater-mail/breakwater/internal/store/account"
)

// site is a network that accounts send from, and what all of them together do
// there.
type site struct {
	network   netip.Prefix
	last      int64  // when it was last used, in seconds
	hours     window // recipients in the last hour
	days      window // and in the last day
	newcomers []newcomer
	crowded   bool // was a crowd when it was last looked at; counted once
}

// newcomer is an account that began to send from a site lately.
type newcomer struct {
	id        account.ID
	since     int64 // seconds
	strangers int64 // whom it has written to from there
}

// networkOf is what stands for a site: the /24 of IPv4, the /48 of IPv6.
func networkOf(a netip.Addr) (netip.Prefix, bool) {
	a = a.Unmap().WithZone("")
	bits := 48
	if a.Is4() {
		bits = 24
	}
	p, err := a.Prefix(bits)
	return p, err == nil && p.IsValid()
}

// stand is where a recipient's sender stands: which site, if it is one that is
// looked at, and whether the account is new there.
type stand struct {
	site  *site
	fresh bool
	since int64
}

// stand notes where the sender is.
func (r *Restraint) stand(b *book, s Sender, now time.Time) stand {
	network, ok := networkOf(s.IP)
	if !ok {
		return stand{}
	}
	since := b.from(r.secret.network(network), now)
	if r.exempt(s.IP) || r.bulk(s) > 0 {
		return stand{}
	}
	st := stand{site: r.site(network, now), since: since}
	st.fresh = now.Unix()-since < int64(newFor/time.Second) &&
		(now.Unix()-r.born >= int64(learnFor/time.Second) || b.known.hasPast(now.Unix()/daySeconds))
	return st
}

// exempt tells whether addresses like this one are not looked at: what is sent
// by this host itself, and what the operator says.
func (r *Restraint) exempt(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	return a.IsLoopback() || slices.ContainsFunc(r.o.Exempt, func(p netip.Prefix) bool { return p.Contains(a) })
}

// site returns a site, and makes it if there is none.
func (r *Restraint) site(network netip.Prefix, now time.Time) *site {
	at := r.sites[network]
	if at == nil {
		at = &site{network: network, days: window{period: daily}}
		if len(r.sites) >= sitesMax {
			r.sweep(now)
		}
		r.sites[network] = at
		r.o.Metrics.networks.Set(float64(len(r.sites)))
	}
	at.last = max(now.Unix(), 0)
	return at
}

// idle tells whether nothing that is remembered of a site counts any more.
func (n *site) idle(now time.Time) bool { return now.Unix()-n.last > 2*daySeconds }

// sweep makes room for one more site: those that are idle go, or else the one
// that was used longest ago.
func (r *Restraint) sweep(now time.Time) {
	var oldest *site
	for network, at := range r.sites {
		if at.idle(now) {
			delete(r.sites, network)
		} else if oldest == nil || cmp.Or(cmp.Compare(at.last, oldest.last), at.network.Compare(oldest.network)) < 0 {
			oldest = at
		}
	}
	if len(r.sites) >= sitesMax {
		delete(r.sites, oldest.network)
	}
}

// crowd is how many accounts began within a day to write to strangers from
// here.
func (n *site) crowd(now time.Time) int {
	count := 0
	for _, c := range n.newcomers {
		if c.counts(now) {
			count++
		}
	}
	return count
}

func (c *newcomer) counts(now time.Time) bool {
	return c.strangers >= crowdStrangers && now.Unix()-c.since < daySeconds
}

// count notes a recipient that was allowed.
func (st stand) count(r *Restraint, id account.ID, now time.Time, stranger bool) {
	if st.site == nil {
		return
	}
	st.site.hours.add(now, 1)
	st.site.days.add(now, 1)
	if stranger && st.fresh {
		st.site.joins(id, st.since, now)
		crowded := st.site.crowd(now) >= crowdAccounts
		if crowded && !st.site.crowded {
			r.o.Metrics.crowds.Inc()
		}
		st.site.crowded = crowded
	}
}

// joins counts a stranger of a newcomer.
func (n *site) joins(id account.ID, since int64, now time.Time) {
	i := slices.IndexFunc(n.newcomers, func(c newcomer) bool { return c.id == id })
	if i < 0 {
		n.newcomers = slices.DeleteFunc(n.newcomers, func(c newcomer) bool { return now.Unix()-c.since >= daySeconds })
		if len(n.newcomers) >= newcomersMax {
			n.newcomers = slices.Delete(n.newcomers, n.least(), n.least()+1)
		}
		n.newcomers = append(n.newcomers, newcomer{id: id, since: since})
		i = len(n.newcomers) - 1
	}
	n.newcomers[i].strangers++
}

// least is the place of the newcomer who has written to the fewest strangers,
// the latest of those. So most of them stay, and are counted on, when more take
// turns than are remembered.
func (n *site) least() int {
	at := 0
	for i, c := range n.newcomers {
		if c.strangers <= n.newcomers[at].strangers {
			at = i
		}
	}
	return at
}

// share is what a sender's strangers are to be divided by: the newcomers of a
// crowd have together what one of them would have alone.
func (st stand) share(now time.Time) int64 {
	if st.site == nil || !st.fresh {
		return 1
	}
	if n := st.site.crowd(now); n >= crowdAccounts {
		return int64(n)
	}
	return 1
}

// describe is the part of a reason that is about the site.
func (st stand) describe(now time.Time) string {
	if n := st.share(now); n > 1 {
		return fmt.Sprintf("; it is one of %d accounts that began to send from %s within a day", n, st.site.network)
	}
	return ""
}

// Network is how a network stands that accounts send from.
type Network struct {
	Network   netip.Prefix
	Hour      int // recipients of all accounts in the last hour
	Day       int
	HourLimit int
	DayLimit  int
	// Newcomers are the accounts that began within a day to write to strangers
	// from there; Crowded says that they are too many to be chance.
	Newcomers []account.ID
	Crowded   bool
	Last      time.Time // when it was last used
}

// Limited tells whether a limit is reached.
func (n *Network) Limited() bool { return n.Hour >= n.HourLimit || n.Day >= n.DayLimit }

// Networks tells how all networks stand that something was sent from within a
// day, the busiest first.
func (r *Restraint) Networks() []Network {
	now := r.o.Clock.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []Network
	for _, at := range r.sites {
		n := Network{
			Network: at.network, Hour: at.hours.sum(now), Day: at.days.sum(now), HourLimit: r.o.NetworkHour, DayLimit: r.o.NetworkDay,
			Crowded: at.crowd(now) >= crowdAccounts, Last: time.Unix(at.last, 0).UTC(),
		}
		for _, c := range at.newcomers {
			if c.counts(now) {
				n.Newcomers = append(n.Newcomers, c.id)
			}
		}
		if n.Day > 0 || n.Crowded {
			out = append(out, n)
		}
	}
	slices.SortFunc(out, func(a, b Network) int {
		return cmp.Or(cmp.Compare(b.Hour, a.Hour), cmp.Compare(b.Day, a.Day), a.Network.Compare(b.Network))
	})
	return out
}
