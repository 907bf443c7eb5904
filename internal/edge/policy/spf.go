package policy

import (
	"context"
	"net/netip"
	"strings"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/mail/mailauth"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// NewSPF asks a resolver for sender policies. receiver is this server's name.
func NewSPF(r mailauth.Resolver, receiver string, clock sys.Clock) SPF {
	return &resolved{r, receiver, clock}
}

type resolved struct {
	r        mailauth.Resolver
	receiver string
	clock    sys.Clock
}

func (s *resolved) Networks(ctx context.Context, d message.Domain) ([]netip.Prefix, error) {
	return mailauth.SPFNetworks(ctx, s.r, d)
}

func (s *resolved) Check(ctx context.Context, a netip.Addr, helo string, from message.Address) SPFFinding {
	got := mailauth.CheckSPF(ctx, s.r, mailauth.SPFInput{IP: a, Helo: helo, From: from, Receiver: s.receiver, Now: s.clock.Now()})
	out := SPFFinding{Result: string(got.Result), Domain: got.Domain, Mechanism: got.Mechanism, Problem: got.Problem}
	for _, step := range got.Trace {
		line := strings.Repeat("  ", step.Depth) + step.Domain + ": "
		switch {
		case step.Term != "":
			line += step.Term + ": "
		case step.Record != "":
			line += step.Record + ": "
		}
		line += step.Outcome
		for _, q := range step.Questions {
			line += "; " + q.Name + " " + q.Type + " → " + strings.Join(q.Answers, ", ") + q.Problem
		}
		out.Steps = append(out.Steps, line)
	}
	return out
}
