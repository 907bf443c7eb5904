package peers

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/breakwater-mail/breakwater/bench/proc"
)

// StartPostfixRelay starts a Postfix that sends all it gets to nextHop
// (host:port), below dir. ErrMissing if it is not here.
func StartPostfixRelay(ctx context.Context, dir, nextHop string) (*Server, error) {
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("%w: Postfix needs root", ErrMissing)
	}
	if _, err := os.Stat("/usr/sbin/postfix"); err != nil {
		return nil, fmt.Errorf("%w: no /usr/sbin/postfix (interop/install peers)", ErrMissing)
	}
	host, port, err := net.SplitHostPort(nextHop)
	if err != nil {
		return nil, err
	}
	s := &Server{Name: "postfix"}
	if s.SMTP, err = freePort(); err != nil {
		return nil, err
	}
	for _, f := range []struct{ name, owner string }{{"etc", "root"}, {"spool", "root"}, {"data", "postfix"}} {
		if err := ownedFolder(filepath.Join(dir, f.name), f.owner); err != nil {
			return nil, err
		}
	}
	v := values{Dir: dir, SMTP: s.SMTP, NextHop: "[" + host + "]:" + port}
	for from, to := range map[string]string{"relay-main.cf": "etc/main.cf", "relay-master.cf": "etc/master.cf"} {
		if err := fill(filepath.Join(dir, to), from, v); err != nil {
			return nil, err
		}
	}
	c, err := proc.Start("postfix", filepath.Join(dir, "postfix.out"), exec.Command("/usr/sbin/postfix", "-c", filepath.Join(dir, "etc"), "start-fg"))
	if err != nil {
		return nil, err
	}
	s.children = append(s.children, c)
	if err := waitPort(ctx, s.SMTP, c); err != nil {
		return nil, joinStop(err, s)
	}
	return s, nil
}

func joinStop(err error, s *Server) error {
	if stopped := s.Stop(); stopped != nil {
		return fmt.Errorf("%w; %w", err, stopped)
	}
	return err
}
