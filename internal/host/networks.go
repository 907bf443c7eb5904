package host

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/ops/alarm"
	"github.com/breakwater-mail/breakwater/internal/spool/restraint"
	"github.com/breakwater-mail/breakwater/internal/store/account"
)

const (
	// networksEvery is how often the networks are looked at that accounts send
	// from: an alarm that comes later is of less use.
	networksEvery = 15 * time.Second
	// networkAlarmsMax bounds the networks that alarms are about: more at a time
	// say nothing more.
	networkAlarmsMax = 20
	// networkNamesMax bounds the accounts that one of them names.
	networkNamesMax = 20
)

// origins tells the operators of networks from which too much is sent, or by too
// many. It belongs to one goroutine.
type origins struct {
	networks func() []restraint.Network
	name     func(context.Context, account.ID) (message.Address, error)
	alarms   interface {
		Raise(key string, s alarm.Severity, text string, facts alarm.Facts)
		Clear(key string)
	}
	up map[string]bool // by key
}

// run looks at them until ctx ends.
func (p *origins) run(ctx context.Context) error {
	tick := time.NewTicker(networksEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			p.look(ctx)
		}
	}
}

func (p *origins) look(ctx context.Context) {
	now := map[string]bool{}
	crowdsFirst := func(a, b restraint.Network) int { return rank(b) - rank(a) }
	for _, n := range slices.SortedStableFunc(slices.Values(p.networks()), crowdsFirst) {
		if len(now) == networkAlarmsMax {
			break
		}
		if !n.Crowded && !n.Limited() {
			continue
		}
		key := alarm.KeyNetwork + n.Network.String()
		now[key] = true
		text, names := p.describe(ctx, n)
		p.alarms.Raise(key, alarm.Warning, text, alarm.Facts{
			"network": n.Network.String(), "hour": fmt.Sprint(n.Hour), "day": fmt.Sprint(n.Day), "accounts": names,
		})
	}
	for key := range p.up {
		if !now[key] {
			p.alarms.Clear(key)
		}
	}
	p.up = now
}

// rank tells how much an alarm about a network says: of thieves, who keep quiet,
// more than of those who are busy.
func rank(n restraint.Network) int {
	if n.Crowded {
		return 1
	}
	return 0
}

// describe says what is wrong with a network, and which accounts are new there.
func (p *origins) describe(ctx context.Context, n restraint.Network) (text, names string) {
	var list []string
	for _, id := range n.Newcomers[:min(len(n.Newcomers), networkNamesMax)] {
		if a, err := p.name(ctx, id); err == nil { // else it is no more
			list = append(list, a.String())
		}
	}
	names = strings.Join(list, " ")
	if n.Crowded {
		return fmt.Sprintf("%d accounts began within a day to send from %s to people they never wrote to: their passwords may be in wrong hands; `breakwater account networks` says more",
			len(n.Newcomers), n.Network), names
	}
	return fmt.Sprintf("the limit of %s is reached: %d recipients in the last hour (of %d), %d in the last day (of %d) from all accounts; if that is as it should be, name it in submission.exempt_networks",
		n.Network, n.Hour, n.HourLimit, n.Day, n.DayLimit), names
}
