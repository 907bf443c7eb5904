package proc

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// sector is the unit of the kernel's block statistics, whatever the device's.
const sector = 512

// Disk is the block device under a folder.
type Disk struct {
	Name string // as in /sys/block, e.g. vda
	stat string
	dir  string
}

// Counters are a device's since boot.
type Counters struct {
	Flushes int64
	Writes  int64
	Written int64 // bytes
}

// Sub gives what happened since before.
func (c Counters) Sub(before Counters) Counters {
	return Counters{c.Flushes - before.Flushes, c.Writes - before.Writes, c.Written - before.Written}
}

// DiskOf finds the device under dir; an error where there is none with
// statistics (tmpfs, overlay).
func DiskOf(dir string) (*Disk, error) {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return nil, err
	}
	link := fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
	target, err := os.Readlink(link)
	if err != nil {
		return nil, fmt.Errorf("no block device under %s: %w", dir, err)
	}
	d := &Disk{Name: target[strings.LastIndexByte(target, '/')+1:], stat: link + "/stat", dir: dir}
	_, err = d.Read()
	return d, err
}

// Read gives the counters as they are.
func (d *Disk) Read() (Counters, error) {
	b, err := os.ReadFile(d.stat)
	if err != nil {
		return Counters{}, err
	}
	f := strings.Fields(string(b))
	if len(f) < 17 { // flush counts: since Linux 5.5
		return Counters{}, fmt.Errorf("%s: no flush counts", d.stat)
	}
	n := make([]int64, len(f))
	for i := range f {
		n[i], _ = strconv.ParseInt(f[i], 10, 64)
	}
	return Counters{Flushes: n[15], Writes: n[4], Written: n[6] * sector}, nil
}

// Settled writes everything out (syncfs) and gives the counters after.
func (d *Disk) Settled() (Counters, error) {
	f, err := os.Open(d.dir)
	if err != nil {
		return Counters{}, err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return Counters{}, err
	}
	return d.Read()
}

// Noise tells what others do to the device while we do nothing for the time d:
// flushes and bytes a second.
func (d *Disk) Noise(wait time.Duration) (Counters, error) {
	before, err := d.Settled()
	if err != nil {
		return before, err
	}
	time.Sleep(wait)
	after, err := d.Read()
	c := after.Sub(before)
	f := wait.Seconds()
	return Counters{int64(float64(c.Flushes) / f), int64(float64(c.Writes) / f), int64(float64(c.Written) / f)}, err
}
