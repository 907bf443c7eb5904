package peers

import (
	"context"
	"errors"
	"os"
	"path/filepath"
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
	s := &Server{Name: "postscreen", user: func(int) string { return "one@" + w.Domain }}
	return s, s.runPostfix(ctx, "postscreen", values{Dir: dir, Wall: w}, "/usr/sbin/postfix", "/usr/lib/postfix/sbin/postscreen")
}

// runPostfix starts a Postfix by itself, from the configurations KIND-main.cf
// and KIND-master.cf, if the programs that it needs are there.
func (s *Server) runPostfix(ctx context.Context, kind string, v values, needs ...string) error {
	if err := present("Postfix", needs...); err != nil {
		return err
	}
	var err error
	if s.SMTP, err = s.port(); err != nil {
		return err
	}
	v.SMTP = s.SMTP
	for _, f := range []struct{ name, owner string }{{"etc", "root"}, {"spool", "root"}, {"data", "postfix"}} {
		if err := ownedFolder(filepath.Join(v.Dir, f.name), f.owner); err != nil {
			return err
		}
	}
	for _, name := range []string{"main.cf", "master.cf"} {
		if err := fill(filepath.Join(v.Dir, "etc", name), kind+"-"+name, v); err != nil {
			return err
		}
	}
	if err := s.startPostfix(ctx, v.Dir); err != nil {
		return errors.Join(err, s.Stop())
	}
	return nil
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
