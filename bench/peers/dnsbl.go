package peers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/breakwater-mail/breakwater/bench/proc"
)

// DNSBL is Debian's rbldnsd with a list of the wave's strangers, which is also
// the resolver of every program in this mount namespace.
type DNSBL struct {
	Zone string // of the list
	Addr string // host:port

	child   *proc.Child
	mounted bool
}

// strangers are 127.16.0.0 to 127.254.255.255, and what a list is tested with.
const strangers = `$SOA 3600 ns.bl.test hostmaster.bl.test 1 3600 600 86400 600
$NS 3600 ns.bl.test
:127.0.0.2:Listed, see http://bl.test/?ip=$
127.0.0.2
127.16.0.0/12
127.32.0.0/11
127.64.0.0/10
127.128.0.0/10
127.192.0.0/11
127.224.0.0/12
127.240.0.0/13
127.248.0.0/14
127.252.0.0/15
127.254.0.0/16
`

// empty is a zone without names: asking for those of our senders must not take
// the time of a resolver without servers.
const empty = "$SOA 3600 ns.bl.test hostmaster.bl.test 1 3600 600 86400 600\n$NS 3600 ns.bl.test\n"

// StartDNSBL serves the list from dir and has /etc/resolv.conf name it. It is to
// be called inside a fence (proc.Isolate): the mount is everybody's otherwise.
func StartDNSBL(ctx context.Context, dir string) (*DNSBL, error) {
	const program = "/usr/sbin/rbldnsd"
	if _, err := os.Stat(program); err != nil {
		return nil, fmt.Errorf("%w: no %s (interop/install peers)", ErrMissing, program)
	}
	for name, text := range map[string]string{"strangers": strangers, "empty": empty, "resolv.conf": "nameserver 127.0.0.1\noptions timeout:2\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	d := &DNSBL{Zone: "bl.test", Addr: "127.0.0.1:53"}
	if err := unix.Mount(filepath.Join(dir, "resolv.conf"), "/etc/resolv.conf", "", unix.MS_BIND, ""); err != nil {
		return nil, fmt.Errorf("mount a resolv.conf of its own: %w", err)
	}
	d.mounted = true
	var err error
	d.child, err = proc.Start("rbldnsd", filepath.Join(dir, "rbldnsd.log"), exec.Command(program, "-n", "-4", "-b", "127.0.0.1/53", "-w", dir,
		"bl.test:ip4set:strangers", "127.in-addr.arpa:generic:empty", "test:generic:empty"))
	if err == nil {
		err = d.wait(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, d.Stop())
	}
	return d, nil
}

// wait waits until the list lists the first stranger and not a good sender.
func (d *DNSBL) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyWait)
	defer cancel()
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var dialer net.Dialer
		return dialer.DialContext(ctx, "udp", d.Addr)
	}}
	for {
		found, err := r.LookupHost(ctx, "1.0.16.127."+d.Zone+".")
		if err == nil && len(found) > 0 {
			break
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("rbldnsd does not answer: %w", err)
		case <-d.child.Done():
			return errors.New("rbldnsd ended before it answered")
		case <-time.After(pollEvery):
		}
	}
	if found, err := r.LookupHost(ctx, "25.0.1.127."+d.Zone+"."); err == nil {
		return fmt.Errorf("rbldnsd lists a good sender: %v", found)
	}
	return nil
}

// Stop ends it and takes the mount away.
func (d *DNSBL) Stop() error {
	var err error
	if d.child != nil {
		err = d.child.Stop(stopWait)
	}
	if d.mounted {
		d.mounted = false
		err = errors.Join(err, unix.Unmount("/etc/resolv.conf", unix.MNT_DETACH))
	}
	return err
}
