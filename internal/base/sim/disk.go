package sim

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"sync"
	"syscall"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
)

// ErrCrashed is what every call gives once the disk has crashed, until Crash
// has decided what is left, and every call on a file opened before that.
var ErrCrashed = errors.New("sim: crashed")

// Disk is a sys.FS in memory that crashes, fills and fails as told.
type Disk struct {
	mu      sync.Mutex
	rng     *rand.Rand
	root    *node
	locks   map[string]bool
	gen     int // raised by Crash: older handles are dead
	calls   []string
	count   int // calls that change something, since ResetCalls
	crashAt int // count at which the disk crashes; 0 = never
	crashed bool
	faults  []*fault
	room    int64 // bytes by which files may still grow; <0 = no limit
	direct  bool  // OpenDirect works
	hook    func(op, name string)
}

// fault makes the n-th call of an operation fail.
type fault struct {
	op  string
	n   int
	err error
}

// node is a file or a folder.
type node struct {
	name string // its last path, for the log of calls
	dir  bool
	// Of a folder: what is seen, what a power cut leaves for sure, and
	// what a failed SyncDir has made the system forget to write.
	cur, durable, forgotten map[string]*node
	// Of a file: what is seen, what a power cut leaves for sure, and the
	// changes in between, in order. After a failed Sync, forgotten
	// changes are in data but neither in medium nor in pending.
	data, medium content
	pending      []change
	diverged     bool
}

// change is a write at off, or a truncation to off if data is nil.
type change struct {
	off  int64
	data []byte
}

// NewDisk gives an empty disk. Everything that is left to chance is decided by
// the seed and the order of calls.
func NewDisk(seed uint64) *Disk {
	return &Disk{
		rng:    rand.New(rand.NewPCG(seed, 0x6272656b77617472)),
		root:   newDir("/"),
		locks:  make(map[string]bool),
		room:   -1,
		direct: true,
	}
}

// Fork gives a disk that holds what is seen on d, all of it durable, and goes
// its own way by a seed.
func (d *Disk) Fork(seed uint64) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := NewDisk(seed)
	f.root = d.root.fork()
	return f
}

func (n *node) fork() *node {
	if !n.dir {
		return &node{name: n.name, data: n.data.clone(), medium: n.data.clone()}
	}
	f := newDir(n.name)
	for k, c := range n.cur {
		f.cur[k] = c.fork()
		f.durable[k] = f.cur[k]
	}
	return f
}

func newDir(name string) *node {
	return &node{name: name, dir: true, cur: map[string]*node{}, durable: map[string]*node{}, forgotten: map[string]*node{}}
}

func clean(name string) string { return path.Clean("/" + name) }

// find gives the node of a path, or nil.
func (d *Disk) find(name string) *node {
	n := d.root
	name = clean(name)
	for name != "/" && n != nil {
		if !n.dir {
			return nil
		}
		var first string
		first, name = cutPath(name)
		n = n.cur[first]
	}
	return n
}

// cutPath splits "/a/b/c" into "a" and "/b/c".
func cutPath(name string) (first, rest string) {
	name = name[1:]
	for i := range len(name) {
		if name[i] == '/' {
			return name[:i], name[i:]
		}
	}
	return name, "/"
}

func (d *Disk) parent(op, name string) (*node, string, error) {
	dir, base := path.Split(clean(name))
	p := d.find(dir)
	if p == nil || !p.dir {
		return nil, "", &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
	}
	return p, base, nil
}

// enter begins a call that changes nothing.
func (d *Disk) enter(op, name string) error {
	if d.hook != nil {
		hook := d.hook
		d.mu.Unlock()
		hook(op, name)
		d.mu.Lock()
	}
	if d.crashed {
		return ErrCrashed
	}
	for _, f := range d.faults {
		if f.op == op && f.n > 0 {
			if f.n--; f.n == 0 {
				return fmt.Errorf("%s %s: %w", op, name, f.err)
			}
		}
	}
	return nil
}

// change begins a call that changes something: it is logged and counted, and
// may be the one at which the disk crashes. A call that fails may have had its
// effect all the same, which the seed decides.
func (d *Disk) change(op, name, detail string) (err error, effect bool) {
	if err := d.enter(op, name); err != nil {
		return err, err != ErrCrashed && d.rng.IntN(2) == 0
	}
	d.count++
	d.calls = append(d.calls, op+" "+name+detail)
	if d.count == d.crashAt {
		d.crashed = true
		return ErrCrashed, d.rng.IntN(2) == 0
	}
	return nil, true
}

// Open is sys.FS.
func (d *Disk) Open(name string, flag int, _ fs.FileMode) (sys.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.find(name)
	if n != nil && n.dir {
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EISDIR}
	}
	if n != nil && flag&os.O_CREATE != 0 && flag&os.O_EXCL != 0 {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrExist}
	}
	if n != nil {
		if err := d.enter("open", clean(name)); err != nil {
			return nil, err
		}
		f := d.handle(n, flag&(os.O_WRONLY|os.O_RDWR) != 0)
		if flag&os.O_TRUNC != 0 && n.data.size > 0 {
			if err := f.truncate(0); err != nil {
				return nil, err
			}
		}
		return f, nil
	}
	p, base, err := d.parent("open", name)
	if err != nil {
		return nil, err
	}
	if flag&os.O_CREATE == 0 {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	err, effect := d.change("create", clean(name), "")
	n = &node{name: clean(name)}
	if effect {
		p.cur[base] = n
	}
	if err != nil {
		return nil, err
	}
	return d.handle(n, true), nil
}

// OpenDirect is sys.FS.
func (d *Disk) OpenDirect(name string) (sys.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.direct {
		return nil, fmt.Errorf("open %s past the page cache: %w", name, errors.ErrUnsupported)
	}
	if err := d.enter("direct", clean(name)); err != nil {
		return nil, err
	}
	n := d.find(name)
	if n == nil || n.dir {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	f := d.handle(n, false)
	f.direct = true
	return f, nil
}

// Rename is sys.FS.
func (d *Disk) Rename(oldName, newName string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	from, a, err := d.parent("rename", oldName)
	if err != nil {
		return err
	}
	to, b, err := d.parent("rename", newName)
	if err != nil {
		return err
	}
	n := from.cur[a]
	if n == nil {
		return &fs.PathError{Op: "rename", Path: oldName, Err: fs.ErrNotExist}
	}
	err, effect := d.change("rename", clean(oldName), " "+clean(newName))
	if effect {
		d.release(to.cur[b])
		delete(from.cur, a)
		to.cur[b] = n
		n.name = clean(newName)
	}
	return err
}

// Remove is sys.FS.
func (d *Disk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	p, base, err := d.parent("remove", name)
	if err != nil {
		return err
	}
	n := p.cur[base]
	if n == nil {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
	}
	if n.dir && len(n.cur) > 0 {
		return &fs.PathError{Op: "remove", Path: name, Err: syscall.ENOTEMPTY}
	}
	err, effect := d.change("remove", clean(name), "")
	if effect {
		d.release(n)
		delete(p.cur, base)
	}
	return err
}

// release gives the room of a file that lost its name back.
func (d *Disk) release(n *node) {
	if n != nil && d.room >= 0 {
		d.room += n.data.size
	}
}

// ReadDir is sys.FS.
func (d *Disk) ReadDir(name string) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.enter("readdir", clean(name)); err != nil {
		return nil, err
	}
	n := d.find(name)
	if n == nil || !n.dir {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrNotExist}
	}
	names := make([]string, 0, len(n.cur))
	for k := range n.cur {
		names = append(names, k)
	}
	slices.Sort(names)
	return names, nil
}

// MkdirAll is sys.FS.
func (d *Disk) MkdirAll(name string, _ fs.FileMode) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, at, rest := d.root, "", clean(name)
	for rest != "/" {
		var first string
		first, rest = cutPath(rest)
		at += "/" + first
		next := n.cur[first]
		if next == nil {
			err, effect := d.change("mkdir", at, "")
			next = newDir(at)
			if effect {
				n.cur[first] = next
			}
			if err != nil {
				return err
			}
		}
		if !next.dir {
			return &fs.PathError{Op: "mkdir", Path: at, Err: syscall.ENOTDIR}
		}
		n = next
	}
	return nil
}

// SyncDir is sys.FS.
func (d *Disk) SyncDir(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.find(name)
	if n == nil || !n.dir {
		return &fs.PathError{Op: "syncdir", Path: name, Err: fs.ErrNotExist}
	}
	err, effect := d.change("syncdir", clean(name), "")
	for _, k := range n.unsynced() {
		kept := effect && (err == nil || d.rng.IntN(2) == 0)
		switch {
		case n.cur[k] != nil && n.forgotten[k] == n.cur[k]:
			// The system believes that this one is on disk.
		case kept && n.cur[k] == nil:
			delete(n.durable, k)
		case kept:
			n.durable[k] = n.cur[k]
		case err != nil && !d.crashed && n.cur[k] != nil:
			n.forgotten[k] = n.cur[k]
		}
	}
	return err
}

// unsynced gives the names of a folder whose entries are not on the medium,
// sorted.
func (n *node) unsynced() []string {
	var names []string
	for k, c := range n.cur {
		if n.durable[k] != c {
			names = append(names, k)
		}
	}
	for k := range n.durable {
		if n.cur[k] == nil {
			names = append(names, k)
		}
	}
	slices.Sort(names)
	return names
}

// Stat is sys.FS.
func (d *Disk) Stat(name string) (int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.enter("stat", clean(name)); err != nil {
		return 0, err
	}
	n := d.find(name)
	if n == nil {
		return 0, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
	}
	return n.data.size, nil
}

// Free is sys.FS. A disk without a limit has a tebibyte left.
func (d *Disk) Free(dir string) (int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.enter("free", clean(dir)); err != nil {
		return 0, err
	}
	if d.room < 0 {
		return 1 << 40, nil
	}
	return d.room, nil
}

// Lock is sys.FS.
func (d *Disk) Lock(name string) (io.Closer, error) {
	f, err := d.Open(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	_ = f.Close()
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.enter("lock", clean(name)); err != nil {
		return nil, err
	}
	if d.locks[clean(name)] {
		return nil, fmt.Errorf("lock %s: %w", name, sys.ErrLocked)
	}
	d.locks[clean(name)] = true
	return &lock{d: d, name: clean(name), gen: d.gen}, nil
}

type lock struct {
	d    *Disk
	name string
	gen  int
}

// Close ends the lock.
func (l *lock) Close() error {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	if l.gen != l.d.gen {
		return ErrCrashed
	}
	delete(l.d.locks, l.name)
	return nil
}
