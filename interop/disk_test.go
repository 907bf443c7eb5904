//go:build interop

package interop

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/breakwater-mail/breakwater/bench/peers"
	"github.com/breakwater-mail/breakwater/bench/wire"
)

const (
	smallDisk = 256 << 20 // of the full-disk test
	ballast   = 150 << 20 // what fills it beforehand, and is taken away to help
	imageSize = 512 << 20 // of the ext4 file system that is broken
)

// mounted mounts a file system for the test or skips, loudly.
func mounted(t *testing.T, source, kind, options string) string {
	t.Helper()
	dir := folder(t)
	if err := unix.Mount(source, dir, kind, 0, options); err != nil {
		t.Skipf("MOUNT NOT ALLOWED: %s: %v (root is needed)", kind, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

// tally sends messages and remembers which were acknowledged.
type tally struct {
	t    *testing.T
	b    *peers.Breakwater
	rand *rand.Rand
	n    int
	sums map[string]string // of the acknowledged, by id
}

func newTally(t *testing.T, b *peers.Breakwater) *tally {
	return &tally{t: t, b: b, rand: rand.New(rand.NewPCG(7, 7)), sums: map[string]string{}}
}

// send hands in one message with about size bytes and gives the refusal, if any.
func (y *tally) send(size int) error {
	y.n++
	id := fmt.Sprintf("d%d", y.n)
	_, body, _ := letterOf(id, y.rand)
	body = bytes.Repeat(body, max(1, size/len(body)))
	hash := sum(body)
	head := fmt.Appendf(nil, "X-Id: %s\r\nX-Sum: %s\r\nSubject: %s\r\n\r\n", id, hash, id)
	c, err := wire.DialSMTP(y.b.SMTP, nil)
	if err != nil {
		return err
	}
	defer c.Quit()
	err = c.Send("sender@bench.example", []string{y.b.User(0)}, head, body)
	if err == nil {
		y.sums[id] = hash
	}
	return err
}

// until sends messages of a size until one is refused.
func (y *tally) until(size, most int) error {
	for range most {
		if err := y.send(size); err != nil {
			return err
		}
	}
	y.t.Fatalf("%d messages of %d bytes and no refusal", most, size)
	return nil
}

// check reads the mailbox: what was acknowledged is there once and whole, and
// nothing that was refused.
func (y *tally) check() {
	y.t.Helper()
	have := inbox(y.t, &y.b.Server, 0)
	for id, hash := range y.sums {
		switch all := have[id]; {
		case len(all) != 1:
			y.t.Errorf("%s is there %d times", id, len(all))
		case !all[0].whole || all[0].sum != hash:
			y.t.Errorf("%s is damaged", id)
		}
	}
	if len(have) != len(y.sums) {
		y.t.Errorf("%d messages, %d were acknowledged", len(have), len(y.sums))
	}
}

func (y *tally) health() int {
	y.t.Helper()
	status, _ := get(y.t, "http://"+y.b.Metrics+"/health")
	return status
}

// isReply tells whether err is one of the replies.
func isReply(err error, codes ...int) bool {
	var reply *wire.ReplyError
	if !errors.As(err, &reply) {
		return false
	}
	for _, code := range codes {
		if reply.Code == code {
			return true
		}
	}
	return false
}

// TestDisk_Full fills a small file system with mail, gives space back, and fills
// it again and kills.
func TestDisk_Full(t *testing.T) {
	t.Parallel()
	dir := mounted(t, "tmpfs", "tmpfs", fmt.Sprintf("size=%d", smallDisk))
	write(t, filepath.Join(dir, "ballast"), strings.Repeat("x", ballast))
	b := startBreakwater(t, dir, "")
	y := newTally(t, b)
	if err := y.send(1000); err != nil {
		t.Fatal(err)
	}
	if got := y.health(); got != http.StatusOK {
		t.Fatalf("health is %d at first", got)
	}
	for _, size := range []int{1 << 20, 3 << 20, 4 << 10} {
		if err := y.until(size, smallDisk/size); !isReply(err, 452) {
			t.Errorf("a full disk answers a message of %d bytes with %v, not 452", size, err)
		}
	}
	if got := y.health(); got != http.StatusServiceUnavailable {
		t.Errorf("health is %d with a full disk", got)
	}
	// A short one may still fit: what SQLite gives back is enough for it.
	long := append(bytes.Clone(corpus()[0].data), bytes.Repeat([]byte("a line\r\n"), 256<<10)...)
	if err := imap(t, &b.Server, 0).Append("INBOX", long); err == nil {
		t.Error("APPEND succeeded on a full disk")
	}
	y.check()
	if t.Failed() {
		return
	}
	remove(t, filepath.Join(dir, "ballast"))
	eventually(t, "mail is taken again when space returns", func() bool { return y.send(4<<10) == nil })
	eventually(t, "health is green when space returns", func() bool { return y.health() == http.StatusOK })
	y.check()
	if err := y.until(1<<20, smallDisk>>20); !isReply(err, 452) {
		t.Errorf("full again answers %v, not 452", err)
	}
	b.Kill()
	silent(t, b)
	if err := b.StartOnly(); err != nil {
		t.Fatal(err)
	}
	// It is not healthy, but it serves.
	eventually(t, "mail can be read after a start with a full disk", func() bool {
		c, err := b.IMAP(0)
		if err == nil {
			c.Logout()
		}
		return err == nil
	})
	y.check()
	if got := y.health(); got != http.StatusServiceUnavailable {
		t.Errorf("health is %d after a start with a full disk", got)
	}
}

// ext4 makes an ext4 file system in a file and mounts it by a loop device. It
// gives the folder and the device's name.
func ext4(t *testing.T) (dir, device string) {
	t.Helper()
	image := filepath.Join(folder(t), "image")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, imageSize); err != nil {
		t.Fatal(err)
	}
	run(t, filepath.Dir(image), tool(t, "mkfs.ext4"), "-q", "-F", image)
	dir = folder(t)
	out, err := exec.Command(tool(t, "mount"), "-o", "loop,errors=remount-ro", image, dir).CombinedOutput()
	if err != nil {
		t.Skipf("MOUNT NOT ALLOWED: ext4 on a loop device: %s", out)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			t.Errorf("unmount: %v", err)
		}
	})
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); f[1] == dir {
			device = filepath.Base(f[0])
		}
	}
	return dir, device
}

// TestDisk_TurnsReadOnly lets the kernel remount the file system read-only, as
// it does after an error of the device.
func TestDisk_TurnsReadOnly(t *testing.T) {
	t.Parallel()
	dir, device := ext4(t)
	trigger := "/sys/fs/ext4/" + device + "/trigger_fs_error"
	if _, err := os.Stat(trigger); err != nil {
		t.Skipf("NO WAY TO MAKE EXT4 READ-ONLY: %v", err)
	}
	broken(t, dir, func() error { return os.WriteFile(trigger, []byte("1"), 0) })
}

// TestDisk_FailsToSync shuts the file system down: every write and fsync fails
// with EIO from then on.
func TestDisk_FailsToSync(t *testing.T) {
	t.Parallel()
	dir, _ := ext4(t)
	broken(t, dir, func() error {
		f, err := os.Open(dir)
		if err != nil {
			return err
		}
		defer f.Close()
		const ext4IocShutdown = 0x8004587d // _IOR('X', 125, __u32)
		flags := uint32(2)                 // EXT4_GOING_FLAGS_NOLOGFLUSH
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), ext4IocShutdown, uintptr(unsafe.Pointer(&flags)))
		if errno != 0 {
			return errno
		}
		return nil
	})
}

// broken has a host lose its file system in the middle of its work. It must
// refuse mail with 451 or 452, or be gone; say so in its health while it runs;
// and have everything that it acknowledged when the file system is back.
func broken(t *testing.T, dir string, breakIt func() error) {
	b := startBreakwater(t, dir, "")
	y := newTally(t, b)
	for range 50 {
		if err := y.send(10 << 10); err != nil {
			t.Fatal(err)
		}
	}
	// What init wrote is to be there: this is about what the host acknowledged.
	before := len(y.sums)
	synced(t, dir)
	for range 50 {
		if err := y.send(10 << 10); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d messages before and %d after the last sync of everything", before, len(y.sums)-before)
	if err := breakIt(); err != nil {
		t.Skipf("NO WAY TO BREAK THE FILE SYSTEM: %v", err)
	}
	for range 5 {
		err := y.send(10 << 10)
		if err == nil {
			t.Fatal("a message was acknowledged on a broken disk")
		}
		t.Logf("answer: %v", err)
		if b.Running() && !isReply(err, 451, 452, 421) {
			t.Errorf("a broken disk is answered with %v, not 451, 452 or 421", err)
		}
	}
	if status := y.health(); b.Running() && status != http.StatusServiceUnavailable {
		t.Errorf("health is %d on a broken disk", status)
	}
	t.Logf("the host is running: %v", b.Running())
	b.Kill()
	repair(t, dir)
	if err := b.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	y.check()
	if err := y.send(1000); err != nil {
		t.Errorf("after the repair: %v", err)
	}
	y.check()
	b.Kill()
	silent(t, b)
	if err := b.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// synced writes out everything that the file system under dir still holds.
func synced(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		t.Fatal(err)
	}
}

// repair unmounts, checks and mounts again, as an operator would.
func repair(t *testing.T, dir string) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if f[1] != dir {
			continue
		}
		backing, err := os.ReadFile("/sys/block/" + filepath.Base(f[0]) + "/loop/backing_file")
		if err != nil {
			t.Fatal(err)
		}
		image := strings.TrimSpace(string(backing))
		// A process that a parallel test has just forked holds it until it is another program.
		eventually(t, "unmount", func() bool { return unix.Unmount(dir, 0) == nil })
		// e2fsck exits with 1 when it repaired something.
		if out, err := exec.Command(tool(t, "e2fsck"), "-fy", image).CombinedOutput(); err != nil && exitCode(err) != 1 {
			t.Fatalf("e2fsck: %v\n%s", err, out)
		}
		if out, err := exec.Command(tool(t, "mount"), "-o", "loop", image, dir).CombinedOutput(); err != nil {
			t.Fatalf("mount: %v\n%s", err, out)
		}
		return
	}
	t.Fatalf("%s is not mounted", dir)
}

func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}

// TestDamage_OneBit flips one bit in the body of one message.
func TestDamage_OneBit(t *testing.T) {
	t.Parallel()
	for _, size := range []int{2 << 10, 300 << 10, 3 << 20} {
		t.Run(fmt.Sprintf("%d bytes", size), func(t *testing.T) {
			t.Parallel()
			damage(t, size)
		})
	}
}

func damage(t *testing.T, size int) {
	b := startBreakwater(t, folder(t), "")
	y := newTally(t, b)
	const around, victim = 20, "d11"
	for range around {
		if err := y.send(size); err != nil {
			t.Fatal(err)
		}
	}
	y.check()
	stopHost(t, b)
	silent(t, b)
	flipBit(t, b.Dir, victim, size/2)
	out, err := b.Run(t.Context(), "verify", "--dir", b.Dir)
	t.Logf("verify: %s", out)
	if err == nil {
		t.Error("verify found nothing")
	}
	if !strings.Contains(out, b.User(0)) {
		t.Error("verify does not name the owner")
	}
	if n := strings.Count(out, b.User(0)); n > 1 {
		t.Errorf("verify names %d messages, not 1", n)
	}
	if err := b.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	eachAlone(t, b, around, victim)
	if err := y.send(1000); err != nil {
		t.Errorf("a damaged message stops new mail: %v", err)
	}
}

// eachAlone fetches every message on its own: all but the victim come whole.
func eachAlone(t *testing.T, b *peers.Breakwater, n int, victim string) {
	t.Helper()
	c := imap(t, &b.Server, 0)
	if err := c.Do("EXAMINE INBOX", nil); err != nil {
		t.Fatal(err)
	}
	for i := 1; i <= n; i++ {
		subject, whole := "", false
		cmd := fmt.Sprintf("FETCH %d ", i)
		if err := c.Do(cmd+"(ENVELOPE)", func(r wire.Response) { subject = string(r.Text) }); err != nil {
			t.Errorf("envelope of %d: %v", i, err)
		}
		err := c.Do(cmd+"BODY.PEEK[]", func(r wire.Response) {
			if len(r.Literals) == 1 {
				_, body, _ := bytes.Cut(r.Literals[0], []byte("\r\n\r\n"))
				whole = sum(body) == headerOf(r.Literals[0], "X-Sum")
			}
		})
		if damaged := strings.Contains(subject, `"`+victim+`"`); damaged {
			if err == nil || whole {
				t.Errorf("the damaged message was served (%v)", err)
			}
			t.Logf("the damaged message: %v", err)
		} else if err != nil || !whole {
			t.Errorf("message %d is hurt too: %v, whole: %v", i, err, whole)
		}
	}
}

// flipBit flips the lowest bit of a byte that lies offset bytes behind the
// message's own header, wherever it lies in dir.
func flipBit(t *testing.T, dir, id string, offset int) {
	t.Helper()
	needle := []byte("X-Id: " + id + "\r\n")
	flipped := 0
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.Contains(d.Name(), "index.db") {
			return err
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		at := bytes.Index(b, needle)
		if at < 0 {
			return nil
		}
		flipped++
		b[at+offset] ^= 1
		return os.WriteFile(name, b, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	if flipped != 1 {
		t.Fatalf("the message lies in %d files, not in 1", flipped)
	}
}
