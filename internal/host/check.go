package host

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/ops/admin"
	"github.com/breakwater-mail/breakwater/internal/ops/certs"
)

const (
	dnsWaitMax   = 5 * time.Second // for all DNS questions of a check together
	freeBytesMin = 1 << 30         // below this, "disk" is wrong
)

// Finding is one thing that Check looked at.
type Finding struct {
	What   string `json:"what"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"` // what is wrong and how to mend it, or what was found
}

// Check looks at everything that a host needs from its surroundings. It
// changes nothing, and works beside a running host.
func Check(ctx context.Context, c Config) []Finding {
	running := errors.Is(lockProbe(c), sys.ErrLocked)
	fs := []Finding{{What: "configuration", OK: true, Detail: c.Path()}}
	fs = append(fs, checkDir(c), checkDisk(c))
	fs = append(fs, checkCertificate(c)...)
	fs = append(fs, checkPorts(c, running)...)
	fs = append(fs, checkEdge(ctx, c)...)
	fs = append(fs, checkOut(ctx, c, running)...)
	if running {
		fs = append(fs, checkHost(ctx, c))
	}
	return append(fs, checkDNS(ctx, c)...)
}

// lockProbe tells whether a host runs on the directory.
func lockProbe(c Config) error {
	if _, err := os.Stat(c.DirPath("journal")); err != nil {
		return err
	}
	l, err := sys.OSFS().Lock(c.DirPath("journal", "lock"))
	if err != nil {
		return err
	}
	return l.Close()
}

func checkDir(c Config) Finding {
	f := Finding{What: "directory", Detail: c.Dir}
	info, err := os.Stat(c.Dir)
	switch {
	case err != nil:
		f.Detail = err.Error()
	case !info.IsDir():
		f.Detail = c.Dir + " is not a directory"
	case info.Mode().Perm()&0o077 != 0:
		f.Detail = fmt.Sprintf("%s: others may look inside (mode %04o); chmod 700", c.Dir, info.Mode().Perm())
	default:
		f.OK = true
	}
	return f
}

func checkDisk(c Config) Finding {
	free, err := sys.OSFS().Free(c.Dir)
	if err != nil {
		return Finding{What: "disk", Detail: err.Error()}
	}
	f := Finding{What: "disk", OK: free >= freeBytesMin, Detail: fmt.Sprintf("%d MiB free", free>>20)}
	if !f.OK {
		f.Detail += "; mail is refused with 452 when it is full: make room"
	}
	return f
}

func checkCertificate(c Config) []Finding {
	cert, key := c.DirPath(c.TLS.Certificate), c.DirPath(c.TLS.Key)
	var fs []Finding
	for _, p := range certs.Problems(cert, key, c.Hostname, time.Now()) {
		fs = append(fs, Finding{What: "certificate", Detail: p.Error()})
	}
	if len(fs) > 0 {
		return fs
	}
	f := Finding{What: "certificate", OK: true, Detail: cert}
	if s, err := certs.Open(cert, key); err == nil && s.SelfIssued() {
		f.Detail += " (self-made: mail programs ask before they trust it)"
	}
	return []Finding{f}
}

// checkPorts tries to bind what the host would bind. Beside a running host
// the ports are in use, and should be.
func checkPorts(c Config, running bool) []Finding {
	var fs []Finding
	for _, l := range c.Listen.all() {
		for _, addr := range l.addrs {
			f := Finding{What: "port " + l.name, Detail: addr}
			ln, err := net.Listen("tcp", addr)
			switch {
			case err == nil:
				f.OK = !running
				if running {
					f.Detail += ": the running host does not listen there; restart it"
				}
				_ = ln.Close() // nothing was accepted from it
			case errors.Is(err, syscall.EADDRINUSE) && running:
				f.OK = true
			case errors.Is(err, syscall.EADDRINUSE):
				f.Detail += ": another program listens there; stop it or change listen." + l.name
			case errors.Is(err, syscall.EACCES):
				f.Detail += ": no permission; give the service CAP_NET_BIND_SERVICE, or start as root with user = \"…\""
			default:
				f.Detail += ": " + err.Error()
			}
			fs = append(fs, f)
		}
	}
	return fs
}

func checkHost(ctx context.Context, c Config) Finding {
	f := Finding{What: "running host", Detail: "answers on " + admin.SocketPath(c.Dir)}
	_, err := admin.Client{Dir: c.Dir}.Do(ctx, admin.Request{Op: admin.DomainList})
	if err != nil {
		f.Detail = err.Error()
		return f
	}
	f.OK = true
	return f
}

// checkDNS asks for what other hosts will ask for. A host on loopback, such
// as the demo, is nobody's business but its own.
func checkDNS(ctx context.Context, c Config) []Finding {
	if onlyLoopback(c.Listen.SMTP) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, dnsWaitMax)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupHost(ctx, c.Hostname)
	if err != nil {
		return []Finding{{What: "DNS address", Detail: fmt.Sprintf("%s has no A or AAAA record (%v); publish one", c.Hostname, err)}}
	}
	fs := []Finding{{What: "DNS address", OK: true, Detail: c.Hostname + " is " + strings.Join(addrs, " ")}}
	for _, a := range addrs {
		f := Finding{What: "DNS reverse", Detail: a}
		names, err := net.DefaultResolver.LookupAddr(ctx, a)
		for _, n := range names {
			f.OK = f.OK || strings.EqualFold(strings.TrimSuffix(n, "."), c.Hostname)
		}
		if !f.OK {
			f.Detail = fmt.Sprintf("PTR of %s is %q (%v), not %s; many hosts refuse mail then: ask your provider to set it", a, names, err, c.Hostname)
		}
		fs = append(fs, f)
	}
	return fs
}

func onlyLoopback(addrs []string) bool {
	for _, a := range addrs {
		h, _, err := net.SplitHostPort(a)
		if ip := net.ParseIP(h); err != nil || h != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return false
		}
	}
	return true
}
