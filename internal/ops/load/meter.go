package load

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// meter reads what process trees use.
type meter struct {
	proc string // /proc
	pids []int
}

// clockTick is USER_HZ: 100 on every Linux that Go runs on.
const clockTick = 100

// usage is of one moment.
type usage struct {
	pss int64
	cpu time.Duration // with that of dead and reaped children
}

// check tells whether the processes are there and may be read.
func (m *meter) check() error {
	for _, pid := range m.pids {
		name := filepath.Join(m.proc, strconv.Itoa(pid), "smaps_rollup")
		if _, err := os.ReadFile(name); err != nil {
			return fmt.Errorf("read the memory of the server's process %d: %w (is it the server's, and are you root or its user?)", pid, err)
		}
	}
	return nil
}

// read gives the sums over the processes and all that descend from them.
func (m *meter) read() usage {
	var u usage
	if len(m.pids) == 0 {
		return u
	}
	stats := m.stats()
	children := map[int][]int{}
	for pid, f := range stats {
		parent, _ := strconv.Atoi(f[1])
		children[parent] = append(children[parent], pid)
	}
	all := append([]int(nil), m.pids...)
	seen := map[int]bool{}
	for i := 0; i < len(all); i++ {
		pid := all[i]
		f := stats[pid]
		if seen[pid] || f == nil {
			continue
		}
		seen[pid] = true
		all = append(all, children[pid]...)
		for _, field := range f[11:15] { // utime, stime, cutime, cstime
			ticks, _ := strconv.ParseInt(field, 10, 64)
			u.cpu += time.Duration(ticks) * time.Second / clockTick
		}
		u.pss += m.pss(pid)
	}
	return u
}

// stats gives the fields of each process's stat from the state (its third) on.
func (m *meter) stats() map[int][]string {
	out := map[int][]string{}
	names, _ := filepath.Glob(filepath.Join(m.proc, "[0-9]*", "stat"))
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		// The name in parentheses may hold spaces and parentheses.
		f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		if err == nil && len(f) > 20 {
			out[pid] = f
		}
	}
	return out
}

func (m *meter) pss(pid int) int64 { return kilobytes(m.file(pid, "smaps_rollup"), "Pss:") }

// own gives our own highest resident size and CPU time.
func (m *meter) own() (rss int64, cpu time.Duration) {
	pid := os.Getpid()
	self := meter{proc: m.proc, pids: []int{pid}}
	return kilobytes(self.file(pid, "status"), "VmHWM:"), self.read().cpu
}

func (m *meter) file(pid int, name string) []byte {
	b, _ := os.ReadFile(filepath.Join(m.proc, strconv.Itoa(pid), name))
	return b
}

// kilobytes finds a line "key 123 kB".
func kilobytes(text []byte, key string) int64 {
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, key); ok {
			kb, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kb << 10
		}
	}
	return 0
}
