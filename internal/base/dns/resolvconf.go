package dns

import (
	"net/netip"
	"os"
	"strings"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
)

const (
	resolvConf = "/etc/resolv.conf"
	// resolvOctetsMax of the file are read; a few lines are usual.
	resolvOctetsMax = 64 << 10
)

// thisHost is asked if nobody else is named, as resolv.conf(5) says.
func thisHost() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 53)
}

// SystemServers returns the name servers of /etc/resolv.conf, or that of this
// host if it names none.
func SystemServers(fs sys.FS) []netip.AddrPort {
	servers := []netip.AddrPort{thisHost()}
	f, err := fs.Open(resolvConf, os.O_RDONLY, 0)
	if err != nil {
		return servers
	}
	defer f.Close()
	text := make([]byte, resolvOctetsMax)
	n, _ := f.ReadAt(text, 0) // what could be read counts
	if found := parseResolvConf(string(text[:n])); len(found) > 0 {
		servers = found
	}
	return servers
}

// parseResolvConf gives the first servers that the file names.
func parseResolvConf(text string) []netip.AddrPort {
	var servers []netip.AddrPort
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" || len(servers) == serversMax {
			continue
		}
		if a, err := netip.ParseAddr(fields[1]); err == nil {
			servers = append(servers, netip.AddrPortFrom(a, 53))
		}
	}
	return servers
}
