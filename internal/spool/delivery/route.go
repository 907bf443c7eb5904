package delivery

import (
	"fmt"
	"strings"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// routes are the operator's next hops. They do not change.
type routes struct {
	exact  map[string]*Hop
	below  map[string]*Hop // by the name with its leading dot
	byName map[string]*Hop // by Hop.String, for overrides
	rest   *Hop
}

func newRoutes(o *Options) routes {
	r := routes{exact: map[string]*Hop{}, below: map[string]*Hop{}, byName: map[string]*Hop{}, rest: o.Default}
	if o.Default != nil {
		r.name(o.Default)
	}
	for i := range o.Routes {
		h := &o.Routes[i].Hop
		r.name(h)
		for _, d := range o.Routes[i].Domains {
			d = strings.ToLower(d)
			if strings.HasPrefix(d, ".") {
				r.below[d] = h
			} else {
				r.exact[d] = h
			}
		}
	}
	return r
}

// name has a hop found by its URL. Where two have the same, an operator who names
// it gets the one that asks for more: a login, or TLS.
func (r *routes) name(h *Hop) {
	if known := r.byName[h.String()]; known == nil || known.level() < h.level() {
		r.byName[h.String()] = h
	}
}

// of finds the next hop of a domain; nil: its MX hosts.
func (r *routes) of(d message.Domain) *Hop {
	name := string(d)
	if h := r.exact[name]; h != nil {
		return h
	}
	for i := strings.IndexByte(name, '.'); i >= 0; {
		if h := r.below[name[i:]]; h != nil {
			return h
		}
		next := strings.IndexByte(name[i+1:], '.')
		if next < 0 {
			break
		}
		i += 1 + next
	}
	return r.rest
}

// override is the next hop that an operator named. Where it is one of the
// configuration, its login and its TLS apply.
func (r *routes) override(s string) (*Hop, error) {
	h, err := ParseHop(s)
	if err != nil {
		return nil, fmt.Errorf("override %q: %w", s, err)
	}
	if known := r.byName[h.String()]; known != nil {
		return known, nil
	}
	return &h, nil
}

// Hop returns the next hop of a domain as an URL, which is what the queue
// groups its recipients by; false: the domain's own MX hosts.
func (d *Delivery) Hop(domain message.Domain) (string, bool) {
	if h := d.routes.of(domain); h != nil {
		return h.String(), true
	}
	return "", false
}
