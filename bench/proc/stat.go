package proc

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// clockTick is USER_HZ: 100 on every Linux that Go runs on.
const clockTick = 100

// Tree gives pid and all its living descendants.
func Tree(pids ...int) []int {
	children := map[int][]int{}
	names, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range names {
		f, ok := stat(name)
		if !ok {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		parent, _ := strconv.Atoi(f[1])
		children[parent] = append(children[parent], pid)
	}
	all := append([]int(nil), pids...)
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all
}

// stat gives the fields of /proc/PID/stat from the state on (its third).
func stat(name string) ([]string, bool) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, false
	}
	i := bytes.LastIndexByte(b, ')') // the name may hold spaces and parentheses
	f := strings.Fields(string(b[i+1:]))
	return f, len(f) > 20
}

// CPU gives the CPU time that the trees under pids have used, with that of
// their dead and reaped children.
func CPU(pids ...int) time.Duration {
	var ticks int64
	for _, pid := range Tree(pids...) {
		f, ok := stat(fmt.Sprintf("/proc/%d/stat", pid))
		if !ok {
			continue
		}
		for _, field := range f[11:15] { // utime stime cutime cstime
			n, _ := strconv.ParseInt(field, 10, 64)
			ticks += n
		}
	}
	return time.Duration(ticks) * time.Second / clockTick
}

// PSS gives the proportional set size in bytes of the trees under pids.
func PSS(pids ...int) int64 {
	var sum int64
	for _, pid := range Tree(pids...) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
				kb, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
				sum += kb << 10
				break
			}
		}
	}
	return sum
}
