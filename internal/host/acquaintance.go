package host

import (
	"time"

	"github.com/breakwater-mail/breakwater/internal/edge/greylist"
	"github.com/breakwater-mail/breakwater/internal/edge/policy"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// acquaintance is a greylist as the policy asks it; the two packages do not
// know each other.
type acquaintance struct {
	*greylist.Table
	hostname string
}

// Known implements policy.Acquaintance.
func (a acquaintance) Known(s policy.Sender, now time.Time) bool {
	return a.Table.Known(greylist.Sender(s), now)
}

// Check implements policy.Acquaintance.
func (a acquaintance) Check(s policy.Sender, to message.Address, now time.Time) policy.Waiting {
	return a.waiting(a.Table.Check(greylist.Sender(s), to, now), now)
}

// Peek implements policy.Acquaintance.
func (a acquaintance) Peek(s policy.Sender, to message.Address, now time.Time) policy.Waiting {
	return a.waiting(a.Table.Peek(greylist.Sender(s), to, now), now)
}

// Accepted implements policy.Acquaintance.
func (a acquaintance) Accepted(s policy.Sender, now time.Time) {
	a.Table.Accepted(greylist.Sender(s), now)
}

func (a acquaintance) waiting(d greylist.Decision, now time.Time) policy.Waiting {
	return policy.Waiting{
		Pass: d.Pass, First: d.First, Retry: d.Retry, Waited: d.Waited, Attempts: d.Attempts,
		Header: a.Table.Header(d, a.hostname, now),
	}
}
