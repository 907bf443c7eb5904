package delivery

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path"
	"strconv"
	"strings"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// ErrHop is wrapped by [ParseHop].
var ErrHop = errors.New("malformed next hop")

// Scheme is how a next hop is spoken to.
type Scheme uint8

// The schemes.
const (
	SMTP  Scheme = iota // STARTTLS where it is offered
	SMTPS               // TLS from the first octet (RFC 8314 §3.3)
	LMTP                // RFC 2033: the next hop answers for each recipient, and has it then
)

// String is the scheme as in an URL.
func (s Scheme) String() string { return [...]string{"smtp", "smtps", "lmtp"}[s] }

// Security is what TLS with a next hop has to be like.
type Security uint8

// The choices. A hop with a login is under Require, whatever is said.
const (
	IfOffered Security = iota // with any certificate
	Never
	Require // verified
)

// Hop is a next hop.
type Hop struct {
	Scheme   Scheme
	Host     string // a name, or an address; "" of a Socket
	Port     uint16 // by the scheme if 0: 25, 465, 24
	Socket   string // the path of a Unix socket of this machine, for LMTP
	TLS      Security
	User     string // to log in with; "" for none
	Password string
}

const (
	// hopOctetsMax bounds the text of a next hop: a name has 253 octets.
	hopOctetsMax = 300
	// socketOctetsMax of the path of a socket: unix(7) has room for 108, and one
	// of them is the end.
	socketOctetsMax = 107
)

// ParseHop reads "smtp://host:port", "smtps://…", "lmtp://…" or "host:port",
// which is SMTP; the port may be left out, but not from the last. With a path
// for the host, "lmtp:///run/dovecot/lmtp", it is a socket of this machine.
func ParseHop(s string) (Hop, error) {
	var h Hop
	if len(s) > hopOctetsMax {
		return h, fmt.Errorf("%w: too long", ErrHop)
	}
	scheme, rest, found := strings.Cut(s, "://")
	switch strings.ToLower(scheme) {
	case "smtp":
	case "smtps":
		h.Scheme = SMTPS
	case "lmtp":
		h.Scheme = LMTP
	default:
		if found {
			return h, fmt.Errorf("%w: %q is none of smtp, smtps and lmtp", ErrHop, scheme)
		}
		rest = s
	}
	if h.Scheme == LMTP && strings.HasPrefix(rest, "/") {
		h.Socket, h.TLS = rest, Never
		return h, soundPath(rest)
	}
	rest = strings.TrimSuffix(rest, "/")
	host, port, err := net.SplitHostPort(rest)
	switch {
	case err == nil:
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return h, fmt.Errorf("%w: port %q", ErrHop, port)
		}
		h.Port = uint16(n)
	case !found:
		return h, fmt.Errorf("%w: %q is not HOST:PORT", ErrHop, s)
	default:
		host = strings.TrimSuffix(strings.TrimPrefix(rest, "["), "]")
	}
	if a, err := netip.ParseAddr(host); err == nil && a.Zone() == "" {
		h.Host = a.String()
		return h, nil
	}
	d, err := message.ParseDomain(strings.TrimSuffix(host, "."))
	if err != nil {
		return h, fmt.Errorf("%w: %w", ErrHop, err)
	}
	h.Host = string(d)
	return h, nil
}

// soundPath wants a path as short as it could be written, that breaks no line
// of a configuration or log.
func soundPath(p string) error {
	switch {
	case len(p) > socketOctetsMax:
		return fmt.Errorf("%w: the path of the socket has more than %d octets", ErrHop, socketOctetsMax)
	case path.Clean(p) != p || p == "/":
		return fmt.Errorf("%w: %q is not the path of a socket", ErrHop, p)
	case strings.ContainsFunc(p, func(r rune) bool { return r <= ' ' || r > '~' }):
		return fmt.Errorf("%w: the path of the socket is not all of printable ASCII without spaces", ErrHop)
	}
	return nil
}

// String is the hop as an URL, without the login.
func (h Hop) String() string {
	_, addr := h.Address()
	return h.Scheme.String() + "://" + addr
}

// Address is where a hop listens: "unix" and a path, or "tcp" and host:port.
func (h Hop) Address() (network, address string) {
	if h.Socket != "" {
		return "unix", h.Socket
	}
	return "tcp", net.JoinHostPort(h.Host, strconv.Itoa(int(h.port())))
}

func (h Hop) port() uint16 {
	if h.Port != 0 {
		return h.Port
	}
	return [...]uint16{25, 465, 24}[h.Scheme]
}

// ParseRoute reads "DOMAIN URL", where "tls=require" or "tls=no" may follow. A
// domain with a leading dot means all below it.
func ParseRoute(s string) (Route, error) {
	f := strings.Fields(s)
	if len(f) < 2 || len(f) > 3 {
		return Route{}, fmt.Errorf("%w: %q is not DOMAIN URL", ErrHop, s)
	}
	name, below := strings.CutPrefix(f[0], ".")
	d, err := message.ParseDomain(name)
	if err != nil {
		return Route{}, fmt.Errorf("%w: %w", ErrHop, err)
	}
	h, err := ParseHop(f[1])
	if err != nil {
		return Route{}, err
	}
	if len(f) == 3 {
		if h.Socket != "" {
			return Route{}, fmt.Errorf("%w: there is no TLS at a socket of this machine: %q", ErrHop, f[2])
		}
		switch f[2] {
		case "tls=require":
			h.TLS = Require
		case "tls=no":
			h.TLS = Never
		default:
			return Route{}, fmt.Errorf("%w: %q is neither tls=require nor tls=no", ErrHop, f[2])
		}
		if h.Scheme == SMTPS && h.TLS == Never {
			return Route{}, fmt.Errorf("%w: smtps is TLS from the beginning", ErrHop)
		}
	}
	name = string(d)
	if below {
		name = "." + name
	}
	return Route{Domains: []string{name}, Hop: h}, nil
}
