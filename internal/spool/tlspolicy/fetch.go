package tlspolicy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// Bounds of HTTPS with servers that strangers name.
const (
	// fetchTimeout of one request, from the question for an address to the last
	// octet. RFC 8461 §3.3 suggests a minute at most; mail waits for it.
	fetchTimeout = 30 * time.Second
	// dialTimeout of one address.
	dialTimeout = 10 * time.Second
	// addressesMax of a host are tried.
	addressesMax = 4
	// answerHeaderOctetsMax of an HTTP answer.
	answerHeaderOctetsMax = 16 << 10
)

// Web is an HTTPS client for servers that strangers name: it resolves through
// our own resolver, goes to public addresses only, follows no redirects, and
// knows no proxies, cookies or caches.
type Web struct {
	o      WebOptions
	r      Resolver
	client *http.Client
}

// WebOptions of a [Web].
type WebOptions struct {
	Dial          func(ctx context.Context, to netip.AddrPort) (net.Conn, error)
	AllowNetworks []netip.Prefix // that may be gone to though they are not public
	Roots         *x509.CertPool // the system's if nil
	Clock         sys.Clock
}

// NewWeb makes a client.
func NewWeb(o WebOptions, r Resolver) *Web {
	if o.Clock == nil {
		o.Clock = sys.RealClock()
	}
	w := &Web{o: o, r: r}
	w.client = &http.Client{
		Transport: &http.Transport{
			DialContext:            w.dial,
			TLSClientConfig:        &tls.Config{RootCAs: o.Roots, MinVersion: tls.VersionTLS12, Time: o.Clock.Now},
			DisableKeepAlives:      true,
			DisableCompression:     true,
			MaxResponseHeaderBytes: answerHeaderOctetsMax,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return w
}

// Do sends a request, whose context bounds it; the caller closes the body.
func (w *Web) Do(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" {
		return nil, fmt.Errorf("%s is no scheme that is spoken here", r.URL.Scheme)
	}
	return w.client.Do(r)
}

// dial connects to a host by the name's addresses. The transport lets it go on
// when the request has ended, hence a time of its own.
func (w *Web) dial(ctx context.Context, _, hostport string) (net.Conn, error) {
	ctx, stop := context.WithTimeout(ctx, fetchTimeout)
	defer stop()
	host, portText, err := net.SplitHostPort(hostport)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, err
	}
	if w.o.Dial == nil {
		return nil, errors.New("no way out")
	}
	addrs, err := w.addresses(ctx, host)
	for _, a := range addrs {
		var conn net.Conn
		one, cancel := context.WithTimeout(ctx, dialTimeout)
		conn, err = w.o.Dial(one, netip.AddrPortFrom(a, uint16(port)))
		cancel()
		if err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// addresses gives those of a host that may be gone to; the error says why
// there are none.
func (w *Web) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return w.permitted(host, []netip.Addr{a})
	}
	var all []netip.Addr
	var failed *dns.Answer
	for _, typ := range []dns.Type{dns.AAAA, dns.A} {
		a := w.r.Lookup(ctx, dns.Question{Name: host, Type: typ})
		if a.Failed() {
			failed = &a
		}
		all = append(all, a.Addrs...)
	}
	if len(all) == 0 && failed != nil {
		if failed.Err != nil {
			return nil, fmt.Errorf("resolve %s: %w", host, failed.Err)
		}
		return nil, fmt.Errorf("resolve %s: %s", host, failed.RCode)
	}
	return w.permitted(host, all)
}

func (w *Web) permitted(host string, all []netip.Addr) ([]netip.Addr, error) {
	if len(all) == 0 {
		return nil, fmt.Errorf("%s has no address", host)
	}
	var out []netip.Addr
	for _, a := range all {
		if len(out) < addressesMax && dns.Reachable(a, w.o.AllowNetworks) {
			out = append(out, a)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s is at %s, which is no public address", host, all[0])
	}
	return out, nil
}

// fetch gets a domain's policy (RFC 8461 §3.3).
func (w *Web) fetch(ctx context.Context, domain message.Domain) (*STSPolicy, Result, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://mta-sts."+string(domain)+"/.well-known/mta-sts.txt", nil)
	if err != nil {
		return nil, STSPolicyFetchError, err
	}
	r.Header.Set("User-Agent", "breakwater")
	answer, err := w.Do(r)
	if err != nil {
		var cert *tls.CertificateVerificationError
		if errors.As(err, &cert) {
			return nil, STSWebPKIInvalid, err
		}
		return nil, STSPolicyFetchError, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, STSPolicyFetchError, fmt.Errorf("the policy host answers %d", answer.StatusCode)
	}
	// RFC 8461 §3.2: what users may upload there is not taken for a policy.
	if kind, _, err := mime.ParseMediaType(answer.Header.Get("Content-Type")); err != nil || kind != "text/plain" {
		return nil, STSPolicyFetchError, fmt.Errorf("the policy is not text/plain but %.80q", answer.Header.Get("Content-Type"))
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, policyOctetsMax+1))
	if err != nil {
		return nil, STSPolicyFetchError, err
	}
	p, err := ParsePolicy(text)
	if err != nil {
		return nil, STSPolicyInvalid, err
	}
	return p, "", nil
}
