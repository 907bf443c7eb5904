package sasl

import (
	"bytes"
	"context"
)

// plain is RFC 4616: [authzid] NUL authcid NUL passwd.
type plain struct {
	backend Backend
	asked   bool
	over    bool
	id      Identity
}

func (p *plain) Identity() Identity { return p.id }

func (p *plain) Next(ctx context.Context, response []byte) ([]byte, bool, error) {
	if p.over {
		return nil, false, malformed("exchange is over")
	}
	if response == nil && !p.asked {
		p.asked = true
		return []byte{}, false, nil
	}
	p.over = true
	if len(response) > MaxResponse {
		return nil, false, malformed("response too long")
	}
	parts := bytes.Split(response, []byte{0})
	if len(parts) != 3 {
		return nil, false, malformed("PLAIN wants three fields")
	}
	if len(parts[0]) > 0 {
		if err := checkText(parts[0], MaxName); err != nil {
			return nil, false, err
		}
	}
	if err := checkText(parts[1], MaxName); err != nil {
		return nil, false, err
	}
	if err := checkText(parts[2], MaxPassword); err != nil {
		return nil, false, err
	}
	id, err := p.backend.Password(ctx, string(parts[1]), string(parts[2]))
	if err != nil {
		return nil, false, err
	}
	if err := checkAuthzid(string(parts[0]), string(parts[1]), id); err != nil {
		return nil, false, err
	}
	p.id = id
	return nil, true, nil
}
