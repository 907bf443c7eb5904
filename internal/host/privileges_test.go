package host

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestGiveFile: keys that root makes for a host that is started as its own user
// can be read by it.
func TestGiveFile(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("root alone can give files away")
	}
	const uid, gid = 12345, 23456
	c := Default()
	c.Dir = t.TempDir()
	name := filepath.Join(c.Dir, "key.pem")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(c.Dir, uid, gid); err != nil {
		t.Fatal(err)
	}
	own := GiveFile(c)
	if own == nil {
		t.Fatal("it stays root's")
	}
	if err := own(name); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if st := info.Sys().(*syscall.Stat_t); st.Uid != uid || st.Gid != gid {
		t.Errorf("it is given to %d:%d", st.Uid, st.Gid)
	}
	c.User = "no such user"
	if err := GiveFile(c)(name); err == nil {
		t.Error("given to nobody")
	}
}
