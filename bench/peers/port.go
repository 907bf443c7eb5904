package peers

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// Reserve has the kernel choose a TCP port of an IPv4 address for a server that
// starts later, and maybe again. Until hold is closed nobody is given the port,
// neither a client nor who listens on any; who asks for it by number and sets
// SO_REUSEADDR, as servers do, gets it.
func Reserve(ip string) (addr string, hold *os.File, err error) {
	a, err := netip.ParseAddr(ip)
	if err != nil || !a.Is4() {
		return "", nil, fmt.Errorf("reserve a port of %q: no IPv4 address", ip)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", nil, fmt.Errorf("reserve a port: %w", err)
	}
	hold = os.NewFile(uintptr(fd), "reserved port")
	err = errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1), unix.Bind(fd, &unix.SockaddrInet4{Addr: a.As4()}))
	if err == nil {
		var bound unix.Sockaddr
		if bound, err = unix.Getsockname(fd); err == nil {
			return net.JoinHostPort(ip, fmt.Sprint(bound.(*unix.SockaddrInet4).Port)), hold, nil
		}
	}
	return "", nil, errors.Join(fmt.Errorf("reserve a port: %w", err), hold.Close())
}

// port reserves one of loopback for as long as the server can be reached.
func (s *Server) port() (string, error) {
	addr, hold, err := Reserve("127.0.0.1")
	if err == nil {
		s.holds = append(s.holds, hold)
	}
	return addr, err
}
