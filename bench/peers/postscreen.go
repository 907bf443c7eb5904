package peers

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/breakwater-mail/breakwater/bench/proc"
)

// Wall says what a host that stands against the wave is told.
type Wall struct {
	Domain    string // mail for it is taken
	Zone      string // the DNSBL
	Processes int    // at most, where a connection costs one
}

// StartPostscreen starts Postfix with postscreen before its smtpd, below dir.
// What is accepted is queued and then discarded. ErrMissing if it is not here.
func StartPostscreen(ctx context.Context, dir string, w Wall) (*Server, error) {
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("%w: Postfix needs root", ErrMissing)
	}
	for _, name := range []string{"/usr/sbin/postfix", "/usr/lib/postfix/sbin/postscreen"} {
		if _, err := os.Stat(name); err != nil {
			return nil, fmt.Errorf("%w: no %s (interop/install peers)", ErrMissing, name)
		}
	}
	s := &Server{Name: "postscreen", user: func(int) string { return "one@" + w.Domain }}
	var err error
	if s.SMTP, err = freePort(); err != nil {
		return nil, err
	}
	for _, f := range []struct{ name, owner string }{{"etc", "root"}, {"spool", "root"}, {"data", "postfix"}} {
		if err := ownedFolder(filepath.Join(dir, f.name), f.owner); err != nil {
			return nil, err
		}
	}
	v := values{Dir: dir, SMTP: s.SMTP, Wall: w}
	for from, to := range map[string]string{"postscreen-main.cf": "etc/main.cf", "postscreen-master.cf": "etc/master.cf"} {
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
		s.Stop()
		return nil, err
	}
	return s, nil
}

// ownedFolder makes a folder that belongs to a user of the system.
func ownedFolder(name, owner string) error {
	if err := os.MkdirAll(name, 0o755); err != nil {
		return err
	}
	uid, gid, err := ids(owner)
	if err != nil {
		return err
	}
	return os.Chown(name, uid, gid)
}
