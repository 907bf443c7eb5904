package peers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/breakwater-mail/breakwater/bench/proc"
)

// CourierDir is where interop/install unpacks Debian's courier-mta, which as a
// package would put Postfix away.
const CourierDir = "/var/cache/breakwater-peers/courier"

const (
	courierUser = 64990 // in none of Debian's ranges for users of packages
	passwd      = "/etc/passwd"
	group       = "/etc/group"
	resolvConf  = "/etc/resolv.conf"
)

// courier is the part of the world that Courier believes it is installed in:
// layers over /usr, /etc, /var/lib and /run of this mount namespace.
type courier struct {
	dir      string
	resolver []byte // what is mounted on resolv.conf: a layer over /etc hides it
	mounted  []string
}

// StartCourier starts Courier's esmtpd with its queue, below dir, from the
// unpacked packages. To be called inside a fence (proc.Isolate). What is
// accepted is queued and then thrown away. ErrMissing if it cannot run here.
func StartCourier(ctx context.Context, dir string, w Wall) (*Server, error) {
	if err := present("Courier", CourierDir+"/usr/sbin/couriertcpd"); err != nil {
		return nil, err
	}
	resolver, err := os.ReadFile(resolvConf)
	if err != nil {
		return nil, err
	}
	k := &courier{dir: dir, resolver: resolver}
	s := &Server{Name: "courier", user: func(int) string { return "one@" + w.Domain }, undo: k.unmount}
	if err := k.mount(); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: Courier's layers: %w", ErrMissing, err), k.unmount())
	}
	err = k.configure(ctx, w)
	if err == nil {
		err = k.start(ctx, s, w)
	}
	if err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

func (k *courier) mount() error {
	type layer struct{ name, target, lower string }
	for _, l := range []layer{{"etc", "/etc", CourierDir + "/etc"}, {"var", "/var/lib", CourierDir + "/var/lib"}} {
		upper, work := filepath.Join(k.dir, l.name), filepath.Join(k.dir, l.name+"-work")
		if err := errors.Join(os.MkdirAll(upper, 0o755), os.MkdirAll(work, 0o755)); err != nil {
			return err
		}
		options := fmt.Sprintf("lowerdir=%s:%s,upperdir=%s,workdir=%s", l.lower, l.target, upper, work)
		if err := k.put("overlay", l.target, "overlay", 0, options); err != nil {
			return err
		}
	}
	if err := k.put("overlay", "/usr", "overlay", unix.MS_RDONLY, "lowerdir="+CourierDir+"/usr:/usr"); err != nil {
		return err
	}
	run := filepath.Join(k.dir, "run")
	if err := os.MkdirAll(run, 0o755); err != nil {
		return err
	}
	return k.put(run, "/run", "", unix.MS_BIND, "")
}

func (k *courier) put(source, target, kind string, flags uintptr, options string) error {
	if err := unix.Mount(source, target, kind, flags, options); err != nil {
		return fmt.Errorf("mount %s: %w", target, err)
	}
	k.mounted = append(k.mounted, target)
	return nil
}

func (k *courier) unmount() error {
	var err error
	for i := len(k.mounted) - 1; i >= 0; i-- {
		err = errors.Join(err, unix.Unmount(k.mounted[i], unix.MNT_DETACH))
	}
	k.mounted = nil
	return err
}

// configure does what the packages' scripts would have done.
func (k *courier) configure(ctx context.Context, w Wall) error {
	id := strconv.Itoa(courierUser)
	if err := errors.Join(
		appendLine(passwd, "courier:x:"+id+":"+id+"::/var/lib/courier:/usr/sbin/nologin"),
		appendLine(group, "courier:x:"+id+":"),
		os.RemoveAll(resolvConf), os.WriteFile(resolvConf, k.resolver, 0o644),
	); err != nil {
		return err
	}
	const conf = "/etc/courier/"
	authd := "authmodulelist=\"authuserdb\"\nauthmodulelistorig=\"authuserdb\"\ndaemons=5\nauthdaemonvar=/run/courier/authdaemon\nsubsystem=mail\nDEBUG_LOGIN=0\nDEFAULTOPTIONS=\"\"\nLOGGEROPTS=\"\"\n"
	for name, text := range map[string]string{
		"me": w.Domain + "\n", "defaultdomain": w.Domain + "\n", "dsnfrom": w.Domain + "\n", "locals": w.Domain + "\n",
		"esmtpacceptmailfor": w.Domain + "\n", "aliases/system": "", "authdaemonrc": authd,
		"aliasdir/.courier-default": "|| exit 0\n", // takes mail for whoever is no user
	} {
		path := conf + name
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			return err
		}
	}
	for _, root := range []string{"/var/lib/courier", conf + "aliasdir", "/run/courier/authdaemon"} {
		if err := errors.Join(os.MkdirAll(root, 0o755), chownAll(root)); err != nil {
			return err
		}
	}
	if err := os.Chmod("/var/lib/courier/tmp", 0o770); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "/usr/sbin/makealiases")
	cmd.Env = k.env()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("makealiases: %w: %s", err, out)
	}
	return nil
}

func appendLine(name, line string) error {
	f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(line + "\n")
	return errors.Join(err, f.Close())
}

func chownAll(root string) error {
	return filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, courierUser, courierUser)
	})
}

// env has nothing but the place of a library that ldconfig was not told of.
func (k *courier) env() []string {
	libs, _ := filepath.Glob("/usr/lib/*/courier-authlib")
	return []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LD_LIBRARY_PATH=" + strings.Join(libs, ":")}
}

// start starts its three daemons, each with its own configuration as its own
// scripts do, but in the foreground.
func (k *courier) start(ctx context.Context, s *Server, w Wall) error {
	var err error
	if s.SMTP, err = s.port(); err != nil {
		return err
	}
	_, port, _ := strings.Cut(s.SMTP, ":")
	n := strconv.Itoa(w.Processes)
	// The defaults are 40 processes, 5 for a /24 and 5 for an address. Names of
	// senders under .test cannot be looked up.
	esmtpd := "prefix=/usr; sysconfdir=/etc/courier; set -a; . /etc/courier/esmtpd; BOFHCHECKDNS=0; set +a; exec /usr/sbin/couriertcpd" +
		" -user=courier -group=courier -address=127.0.0.1 '-block=" + w.Zone + ",BLOCK,Listed at http://" + w.Zone + "/'" +
		" -maxprocs=" + n + " -maxperc=" + n + " -maxperip=" + n + " -nodnslookup -noidentlookup " + port + " /usr/sbin/courieresmtpd"
	for _, d := range []struct{ name, script string }{
		{"authdaemond", "set -a; . /etc/courier/authdaemonrc; exec /usr/lib/courier/courier-authlib/authdaemond"},
		{"courierd", "prefix=/usr; set -a; . /etc/courier/courierd; exec /usr/lib/courier/courier/courierd"},
		{"esmtpd", esmtpd},
	} {
		cmd := exec.Command("/bin/sh", "-c", "cd /usr; "+d.script)
		cmd.Env = k.env()
		c, err := proc.Start(d.name, filepath.Join(k.dir, d.name+".log"), cmd)
		if err != nil {
			return err
		}
		s.children = append(s.children, c)
	}
	return waitPort(ctx, s.SMTP, s.children[len(s.children)-1])
}
