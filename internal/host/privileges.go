package host

import (
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// unprivileged looks up the user to become: its uid and gid. ok is false when
// the process is not root or no user is configured, and so nothing is to do.
func unprivileged(name string) (uid, gid int, ok bool, err error) {
	if name == "" || os.Getuid() != 0 {
		return 0, 0, false, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return 0, 0, false, err
	}
	if uid, err = strconv.Atoi(u.Uid); err != nil {
		return 0, 0, false, fmt.Errorf("uid %q: %w", u.Uid, err)
	}
	if gid, err = strconv.Atoi(u.Gid); err != nil {
		return 0, 0, false, fmt.Errorf("gid %q: %w", u.Gid, err)
	}
	return uid, gid, true, nil
}

// dropPrivileges becomes the named user for good: groups first, since a
// process that has given up its uid may no longer change them. It does
// nothing when the process is not root or no user is configured.
func dropPrivileges(name string) error {
	uid, gid, ok, err := unprivileged(name)
	if err != nil {
		return fmt.Errorf("become user %q: %w", name, err)
	}
	if !ok {
		return nil
	}
	if err := syscall.Setgroups([]int{gid}); err != nil {
		return fmt.Errorf("become user %q: set groups: %w", name, err)
	}
	if err := syscall.Setgid(gid); err != nil {
		return fmt.Errorf("become user %q: set group: %w", name, err)
	}
	if err := syscall.Setuid(uid); err != nil {
		return fmt.Errorf("become user %q: %w", name, err)
	}
	if syscall.Setuid(0) == nil {
		panic("host: root again after setuid")
	}
	return nil
}

// GiveToUser gives a new host's directory to the user that it will run as,
// when it was made by root.
func GiveToUser(c Config) error {
	uid, gid, ok, err := unprivileged(c.User)
	if err != nil {
		return fmt.Errorf("give %s to user %q: %w", c.Dir, c.User, err)
	}
	if !ok {
		return nil
	}
	err = filepath.WalkDir(c.Dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, uid, gid)
	})
	if err != nil {
		return fmt.Errorf("give %s to user %q: %w", c.Dir, c.User, err)
	}
	return nil
}

// GiveFile returns what gives a file that root has made in a host's directory to
// the user that the host becomes, or, if it is started as its user, to whom the
// directory belongs; nil where there is nothing to give.
func GiveFile(c Config) func(name string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	return func(name string) error {
		uid, gid, ok, err := unprivileged(c.User)
		if err != nil {
			return err
		}
		if !ok {
			info, err := os.Stat(c.Dir)
			if err != nil {
				return err
			}
			st, ok := info.Sys().(*syscall.Stat_t)
			if !ok {
				return fmt.Errorf("%s: its owner is not known", c.Dir)
			}
			uid, gid = int(st.Uid), int(st.Gid)
		}
		return os.Chown(name, uid, gid)
	}
}
