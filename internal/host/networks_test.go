package host

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/ops/alarm"
	"github.com/breakwater-mail/breakwater/internal/spool/restraint"
	"github.com/breakwater-mail/breakwater/internal/store/account"
)

// bells are alarms that are noted.
type bells struct{ rung []string }

func (b *bells) Raise(key string, _ alarm.Severity, text string, facts alarm.Facts) {
	b.rung = append(b.rung, key+": "+text+"; "+facts["accounts"])
}

func (b *bells) Clear(key string) { b.rung = append(b.rung, key+" is over") }

// TestOrigins: a network from which too much is sent, or by too many, is an alarm
// for as long as that is so.
func TestOrigins(t *testing.T) {
	all := []restraint.Network{
		{Network: netip.MustParsePrefix("192.0.2.0/24"), Hour: 3, Day: 9, HourLimit: 100, DayLimit: 200},
		{Network: netip.MustParsePrefix("198.51.100.0/24"), Hour: 100, Day: 120, HourLimit: 100, DayLimit: 200},
		{Network: netip.MustParsePrefix("2001:db8::/48"), Hour: 3, Day: 9, HourLimit: 100, DayLimit: 200, Crowded: true, Newcomers: []account.ID{1, 2, 9}},
	}
	b := &bells{}
	p := &origins{alarms: b, networks: func() []restraint.Network { return all }, name: func(_ context.Context, id account.ID) (message.Address, error) {
		if id == 9 {
			return message.Address{}, account.ErrNoSuchUser
		}
		return message.Address{Local: []string{"", "one", "two"}[id], Domain: "demo.test"}, nil
	}}
	p.look(t.Context())
	all = all[:2]
	all[1].Hour = 99
	p.look(t.Context())
	p.look(t.Context())
	if len(b.rung) != 4 ||
		!strings.HasPrefix(b.rung[1], "network:198.51.100.0/24: the limit of 198.51.100.0/24 is reached: 100 recipients in the last hour (of 100), 120 in the last day (of 200)") ||
		!strings.HasPrefix(b.rung[0], "network:2001:db8::/48: 3 accounts began within a day") || !strings.HasSuffix(b.rung[0], "; one@demo.test two@demo.test") {
		t.Fatalf("%q", b.rung)
	}
	over := b.rung[2:]
	slices.Sort(over)
	if !slices.Equal(over, []string{"network:198.51.100.0/24 is over", "network:2001:db8::/48 is over"}) {
		t.Errorf("%q", over)
	}
	all = nil
	for n := range 2 * networkAlarmsMax {
		all = append(all, restraint.Network{Network: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(n), 0}), 24), Crowded: true})
	}
	b.rung = nil
	p.look(t.Context())
	if len(b.rung) != networkAlarmsMax {
		t.Errorf("%d alarms", len(b.rung))
	}
	// A crowd, which keeps quiet, is told of however many networks are busy.
	for n := range all[:len(all)-1] {
		all[n].Crowded, all[n].Hour, all[n].HourLimit = false, 9, 9
	}
	p.up, b.rung = nil, nil
	p.look(t.Context())
	if len(b.rung) != networkAlarmsMax || !strings.HasPrefix(b.rung[0], "network:10.0.39.0/24: ") {
		t.Errorf("%q", b.rung)
	}
}
