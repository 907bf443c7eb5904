package sim

import (
	"errors"
	"io/fs"
	"slices"
)

// Mode is what a crash leaves of what was not synced.
type Mode int

// The modes of a crash.
const (
	Keep    Mode = iota // the process died, the system lives: everything is still in the cache
	Lose                // power cut: nothing that was not synced is left
	Prefix              // power cut: of each file the first few writes, the last of them torn
	Reorder             // power cut: any of the writes, any of the folder entries
	Tear                // power cut: any pages and sectors of the writes, any of the folder entries
	Any                 // one of the four power cuts, by the seed
)

const (
	pageSize   = 4096
	sectorSize = 512
)

// Crash ends all open files and locks and decides what is left. Faults, limits
// and CrashAt are taken back. Reads and writes work again afterwards.
func (d *Disk) Crash(mode Mode) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.gen++
	d.crashed, d.crashAt = false, 0
	d.faults = nil
	d.locks = make(map[string]bool)
	if mode == Keep {
		return
	}
	if mode == Any {
		mode = Lose + Mode(d.rng.IntN(int(Any-Lose)))
	}
	d.crashDir(d.root, mode, make(map[*node]bool))
}

// crashDir decides which entries of a folder are left, and what is in them.
func (d *Disk) crashDir(n *node, mode Mode, seen map[*node]bool) {
	for _, k := range n.unsynced() {
		if mode == Lose || d.rng.IntN(2) == 0 {
			continue
		}
		if n.cur[k] == nil {
			delete(n.durable, k)
		} else {
			n.durable[k] = n.cur[k]
		}
	}
	n.forgotten = map[string]*node{}
	n.cur = make(map[string]*node, len(n.durable))
	names := make([]string, 0, len(n.durable))
	for k, c := range n.durable {
		n.cur[k] = c
		names = append(names, k)
	}
	slices.Sort(names)
	for _, k := range names {
		c := n.cur[k]
		c.name = clean(n.name + "/" + k)
		switch {
		case seen[c]:
		case c.dir:
			d.crashDir(c, mode, seen)
		default:
			seen[c] = true
			d.crashFile(c, mode)
		}
	}
}

// crashFile decides what is left of a file.
func (d *Disk) crashFile(n *node, mode Mode) {
	pending := n.pending
	switch mode {
	case Lose:
		pending = nil
	case Prefix:
		pending = pending[:d.rng.IntN(len(pending)+1)]
		if last := len(pending) - 1; last >= 0 && len(pending[last].data) > 0 && d.rng.IntN(2) == 0 {
			c := pending[last]
			pending = append(slices.Clone(pending[:last]), change{c.off, c.data[:d.rng.IntN(len(c.data))]})
		}
	case Reorder:
		var some []change
		for _, c := range pending {
			if d.rng.IntN(2) == 0 {
				some = append(some, c)
			}
		}
		pending = some
	case Tear:
		var some []change
		for _, c := range pending {
			some = append(some, d.tear(c)...)
		}
		pending = some
	}
	for _, c := range pending {
		if c.data != nil && len(c.data) == 0 {
			continue
		}
		if grown := c.off + int64(len(c.data)); c.data != nil && grown > n.medium.size {
			n.medium.write(d.stale(grown-n.medium.size), n.medium.size)
		}
		n.medium.apply(c)
	}
	n.data = n.medium.clone()
	n.pending, n.diverged = nil, false
}

// tear gives the pages and sectors of a write that reached the medium.
func (d *Disk) tear(c change) []change {
	if c.data == nil {
		if d.rng.IntN(2) == 0 {
			return nil
		}
		return []change{c}
	}
	var out []change
	for start := int64(0); start < int64(len(c.data)); {
		end := min((c.off+start)/pageSize*pageSize+pageSize-c.off, int64(len(c.data)))
		switch d.rng.IntN(4) {
		case 0, 1: // the whole page
			out = append(out, change{c.off + start, c.data[start:end]})
		case 2: // some of its sectors
			for s := start; s < end; {
				e := min((c.off+s)/sectorSize*sectorSize+sectorSize-c.off, end)
				if d.rng.IntN(2) == 0 {
					out = append(out, change{c.off + s, c.data[s:e]})
				}
				s = e
			}
		}
		start = end
	}
	return out
}

// stale gives what is read where a file has grown but the data never came:
// mostly zeros, sometimes what the blocks held before.
func (d *Disk) stale(n int64) []byte {
	b := make([]byte, n)
	switch d.rng.IntN(5) {
	case 0:
		for i := range b {
			b[i] = byte(d.rng.Uint32())
		}
	case 1:
		// A piece of some other file at the same alignment.
		var files []*node
		d.root.files(&files)
		if len(files) == 0 {
			break
		}
		if old := files[d.rng.IntN(len(files))].data; old.size > 0 {
			old.readAt(b, int64(d.rng.IntN(int(old.size))&^7))
		}
	}
	return b
}

func (n *node) files(out *[]*node) {
	names := make([]string, 0, len(n.cur))
	for k := range n.cur {
		names = append(names, k)
	}
	slices.Sort(names)
	for _, k := range names {
		if c := n.cur[k]; c.dir {
			c.files(out)
		} else {
			*out = append(*out, c)
		}
	}
}

// CrashAt makes the n-th call from now that changes something give ErrCrashed,
// and every call after it, until Crash. The seed decides whether the call has
// had its effect (as far as a call without a sync has one).
func (d *Disk) CrashAt(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.crashAt = d.count + n
}

// Crashed tells whether the call of CrashAt has been reached.
func (d *Disk) Crashed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.crashed
}

// FailNth makes the n-th call of an operation from now (1 is the next one)
// give err. Operations are open, create, direct, read, write, sync, truncate,
// rename, remove, mkdir, syncdir, readdir, stat, free and lock.
func (d *Disk) FailNth(op string, n int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults = append(d.faults, &fault{op: op, n: n, err: err})
}

// Full leaves room for so many bytes by which files may grow; removing files
// gives some back. A negative number takes the limit away.
func (d *Disk) Full(bytes int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.room = bytes
}

// NoDirect makes OpenDirect unsupported.
func (d *Disk) NoDirect() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.direct = false
}

// Hook makes fn run before every call, outside of all locks: a test stalls the
// disk in it. nil takes it away.
func (d *Disk) Hook(fn func(op, name string)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hook = fn
}

// FlipBit flips one bit of the byte at off, on the medium and in the cache.
func (d *Disk) FlipBit(name string, off int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.find(name)
	if n == nil || n.dir {
		return &fs.PathError{Op: "flip", Path: name, Err: fs.ErrNotExist}
	}
	if off < 0 || off >= n.data.size {
		return errors.New("sim: no such byte")
	}
	bit := byte(1) << d.rng.IntN(8)
	n.data.own(off / pageSize)[off%pageSize] ^= bit
	if off < n.medium.size {
		n.medium.own(off / pageSize)[off%pageSize] ^= bit
	}
	return nil
}

// Calls gives the calls that changed something, in order, as "sync /dir/file".
func (d *Disk) Calls() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.calls)
}

// Count gives how many there were.
func (d *Disk) Count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.count
}

// ResetCalls forgets the calls so far.
func (d *Disk) ResetCalls() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls, d.count, d.crashAt = nil, 0, 0
}
