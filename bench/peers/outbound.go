package peers

import (
	"context"
	"net"
)

// StartPostfixRelay starts a Postfix that sends all it gets to nextHop
// (host:port), below dir. ErrMissing if it is not here.
func StartPostfixRelay(ctx context.Context, dir, nextHop string) (*Server, error) {
	host, port, err := net.SplitHostPort(nextHop)
	if err != nil {
		return nil, err
	}
	s := &Server{Name: "postfix"}
	return s, s.runPostfix(ctx, "relay", values{Dir: dir, NextHop: "[" + host + "]:" + port}, "/usr/sbin/postfix")
}
