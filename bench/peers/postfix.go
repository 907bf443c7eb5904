package peers

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"

	"github.com/breakwater-mail/breakwater/bench/proc"
)

//go:embed config
var config embed.FS

// Format is one of Dovecot's mailbox formats.
type Format string

// The two that the benchmarks compare.
const (
	Maildir Format = "maildir"
	Mdbox   Format = "mdbox"
)

// ErrMissing means that a peer is not installed, or cannot run here.
var ErrMissing = errors.New("peer not available")

// values fill in the configurations.
type values struct {
	Dir, Location, Password, SMTP, IMAPPort string
	NextHop                                 string // of a relay
	Wall
}

// StartPostfix starts Postfix and Dovecot with mail in format, below dir, which
// must be readable by everybody up to the root. ErrMissing if they are not here.
func StartPostfix(ctx context.Context, dir string, format Format) (*Server, error) {
	if err := present("Postfix", "/usr/sbin/postfix", "/usr/sbin/dovecot", "/usr/lib/dovecot/lmtp", "/usr/lib/dovecot/imap"); err != nil {
		return nil, err
	}
	s := &Server{
		Name:       "postfix+dovecot " + string(format),
		CA:         filepath.Join(dir, "cert.pem"),
		Password:   "bench",
		Maildir:    format == Maildir,
		serverName: "localhost",
		user:       func(i int) string { return "user" + strconv.Itoa(i) + "@bench.test" },
	}
	v, err := s.prepare(dir, format)
	if err != nil {
		return nil, err
	}
	if err := s.startBoth(ctx, v); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

// present tells whether a peer can run here: as root, with the files it needs.
func present(name string, files ...string) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("%w: %s needs root", ErrMissing, name)
	}
	for _, file := range files {
		if _, err := os.Stat(file); err != nil {
			return fmt.Errorf("%w: no %s (interop/install peers)", ErrMissing, file)
		}
	}
	return nil
}

// prepare lays out the folder.
func (s *Server) prepare(dir string, format Format) (values, error) {
	v := values{Dir: dir, Password: s.Password, Location: "maildir:~/Maildir"}
	if format == Mdbox {
		v.Location = "mdbox:~/mdbox"
	}
	var err error
	if s.SMTP, err = s.port(); err != nil {
		return v, err
	}
	if s.IMAPS, err = s.port(); err != nil {
		return v, err
	}
	v.SMTP = s.SMTP
	_, v.IMAPPort, _ = net.SplitHostPort(s.IMAPS)
	folders := []struct{ name, owner string }{
		{"etc", "root"}, {"spool", "root"}, {"data", "postfix"}, {"run", "root"}, {"state", "root"}, {"mail", "mail"},
	}
	for _, f := range folders {
		if err := ownedFolder(filepath.Join(dir, f.name), f.owner); err != nil {
			return v, err
		}
	}
	s.mailFolder = filepath.Join(dir, "mail")
	if s.mailUID, s.mailGID, err = ids("mail"); err != nil {
		return v, err
	}
	if err := writeCertificate(s.CA, filepath.Join(dir, "key.pem")); err != nil {
		return v, err
	}
	for from, to := range map[string]string{"main.cf": "etc/main.cf", "master.cf": "etc/master.cf", "dovecot.conf": "dovecot.conf"} {
		if err := fill(filepath.Join(dir, to), from, v); err != nil {
			return v, err
		}
	}
	return v, nil
}

// ids looks a user of the system up.
func ids(name string) (uid, gid int, err error) {
	u, err := user.Lookup(name)
	if err != nil {
		return 0, 0, fmt.Errorf("%w: %w", ErrMissing, err)
	}
	uid, err = strconv.Atoi(u.Uid)
	if err != nil {
		return 0, 0, err
	}
	gid, err = strconv.Atoi(u.Gid)
	return uid, gid, err
}

func fill(to, from string, v values) error {
	t, err := template.ParseFS(config, "config/"+from)
	if err != nil {
		return err
	}
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	if err := t.Execute(f, v); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// PutFile writes a message into the maildir of the i-th user, as new mail. The
// folders must be there.
func (s *Server) PutFile(i int, name string, message []byte) error {
	if !s.Maildir {
		return fmt.Errorf("%s keeps no maildirs", s.Name)
	}
	local, _, _ := strings.Cut(s.User(i), "@")
	path := filepath.Join(s.mailFolder, local, "Maildir", "new", name)
	if err := os.WriteFile(path, message, 0o600); err != nil {
		return err
	}
	return os.Chown(path, s.mailUID, s.mailGID)
}

// startBoth starts Dovecot, then Postfix, each in the foreground.
func (s *Server) startBoth(ctx context.Context, v values) error {
	dovecot, err := proc.Start("dovecot", filepath.Join(v.Dir, "dovecot.out"),
		exec.Command("/usr/sbin/dovecot", "-F", "-c", filepath.Join(v.Dir, "dovecot.conf")))
	if err != nil {
		return err
	}
	s.children = append(s.children, dovecot)
	if err := waitPort(ctx, s.IMAPS, dovecot); err != nil {
		return err
	}
	return s.startPostfix(ctx, v.Dir)
}

// startPostfix starts the Postfix that is configured below dir.
func (s *Server) startPostfix(ctx context.Context, dir string) error {
	c, err := proc.Start("postfix", filepath.Join(dir, "postfix.out"), exec.Command("/usr/sbin/postfix", "-c", filepath.Join(dir, "etc"), "start-fg"))
	if err != nil {
		return err
	}
	s.children = append(s.children, c)
	return waitPort(ctx, s.SMTP, c)
}
