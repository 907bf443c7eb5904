package mailauth

import (
	"context"
	"errors"
	"net/netip"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// ErrSPF is wrapped by the errors of SPFNetworks.
var ErrSPF = errors.New("SPF")

// SPFNetworks returns every network that a domain's record lets send.
func SPFNetworks(ctx context.Context, r Resolver, domain message.Domain) ([]netip.Prefix, error) {
	return nil, ErrSPF
}
