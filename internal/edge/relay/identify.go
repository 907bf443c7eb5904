package relay

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/breakwater-mail/breakwater/internal/edge/listen"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

// client names the client of an envelope, as far as the inner server is told:
// a connection that knows it need not hear it again.
func client(e *smtp.Envelope) string {
	return e.Session + " " + e.RemoteIP.String() + " " + e.Helo + " " + e.Protocol
}

// hello greets the inner server by the name that it shall believe in: ours, or
// that of a client, who is then the one that it refuses.
func (r *Relay) hello(ctx context.Context, c *inner, name string) error {
	re, err := c.command(ctx, r.o.Times.Banner, "EHLO "+name)
	if err == nil && (re.Code == 500 || re.Code == 502) {
		if re, err = c.command(ctx, r.o.Times.Banner, "HELO "+name); err == nil {
			re.Text = "" // nothing is offered
		}
	}
	switch {
	case err != nil:
		return r.early(err)
	case re.Code != 250 && name == r.o.Hostname && r.o.Facts != Proxy:
		return misfit(said(&re))
	case re.Code != 250:
		return verdict(&re)
	}
	c.x = re.Extensions()
	return nil
}

// helo is the client's name as an argument: the dialogue has seen to it that
// it is one, this is the second wall.
func helo(e *smtp.Envelope) string {
	if e.Helo == "" || strings.ContainsFunc(e.Helo, func(c rune) bool { return c <= ' ' || c == 0x7f }) {
		return "unknown"
	}
	return e.Helo
}

// introduce tells the inner server who the client of a transaction is, by
// XCLIENT, and greets as the client would.
func (r *Relay) introduce(ctx context.Context, c *inner, e *smtp.Envelope) error {
	if c.open {
		re, err := c.command(ctx, r.o.Times.Command, "RSET")
		switch {
		case err != nil:
			return gone(err)
		case re.Code != 250:
			return gone(said(&re))
		}
		c.open = false
	}
	if r.o.Facts != XCLIENT || c.who == client(e) {
		return nil
	}
	if c.x.XCLIENT == nil {
		return misfit(errFacts)
	}
	re, err := c.command(ctx, r.o.Times.Banner, xclient(c.x.XCLIENT, e, r.name(ctx, e.RemoteIP)))
	switch {
	case err != nil:
		return gone(err)
	case re.Code == 554, re.Code/100 == 4: // what this client would have heard instead of a banner
		return verdict(&re)
	case re.Code != 220:
		return misfit(said(&re))
	}
	if err := r.hello(ctx, c, helo(e)); err != nil {
		return err
	}
	c.who = client(e)
	return nil
}

func (r *Relay) name(ctx context.Context, a netip.Addr) string {
	if r.o.Name == nil || !a.IsValid() {
		return ""
	}
	return r.o.Name(ctx, a)
}

// unavailable is XCLIENT's word for what is not known.
const unavailable = "[UNAVAILABLE]"

// xclient is the command with those attributes that are offered.
func xclient(offered []string, e *smtp.Envelope, name string) string {
	if name == "" {
		name = unavailable
	}
	addr, port, proto := unavailable, unavailable, "ESMTP"
	if ip := e.RemoteIP.Unmap().WithZone(""); ip.IsValid() {
		addr = ip.String()
		if ip.Is6() {
			addr = "IPV6:" + addr
		}
	}
	if e.Port != 0 {
		port = strconv.Itoa(int(e.Port))
	}
	if e.Protocol == "SMTP" {
		proto = "SMTP"
	}
	var b strings.Builder
	b.WriteString("XCLIENT")
	for _, attr := range [...]struct{ key, value string }{
		{"NAME", name}, {"ADDR", addr}, {"PORT", port}, {"PROTO", proto}, {"HELO", helo(e)},
	} {
		if slices.Contains(offered, attr.key) {
			b.WriteString(" " + attr.key + "=")
			writeXtext(&b, attr.value)
		}
	}
	return b.String()
}

// writeXtext writes RFC 3461 §4 xtext.
func writeXtext(b *strings.Builder, s string) {
	const hex = "0123456789ABCDEF"
	for i := range len(s) {
		if c := s[i]; c < '!' || c > '~' || c == '+' || c == '=' {
			b.Write([]byte{'+', hex[c>>4], hex[c&15]})
		} else {
			b.WriteByte(c)
		}
	}
}

// proxyHeader is what precedes a connection for the client of an envelope. The
// destination is the inner server as we see it, where that is of the same
// family; receivers seldom look at it, but it has to be one.
func proxyHeader(e *smtp.Envelope, nc net.Conn) []byte {
	src := netip.AddrPortFrom(e.RemoteIP.Unmap().WithZone(""), e.Port)
	dst := netip.AddrPort{}
	if tcp, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		dst = tcp.AddrPort()
		dst = netip.AddrPortFrom(dst.Addr().Unmap().WithZone(""), dst.Port())
	}
	switch {
	case !src.IsValid() || dst.IsValid() && dst.Addr().Is4() == src.Addr().Is4():
	case src.Addr().Is4():
		dst = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), dst.Port())
	default:
		dst = netip.AddrPortFrom(netip.IPv6Loopback(), dst.Port())
	}
	return listen.AppendProxy(nil, listen.ProxyHeader{Source: src, Destination: dst})
}
