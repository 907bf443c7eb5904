package account

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sim"
	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/mail/sasl"
	"github.com/breakwater-mail/breakwater/internal/store/index"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// tester is what testing.T and rapid.T have in common.
type tester interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

// host is a store with its journal and index, which can be restarted.
type host struct {
	*Store
	t     tester
	disk  sys.FS
	path  string // of index.db; "" rebuilds it at each start
	clock *sim.Clock
	set   func(*Store) // applied to each new Store
	j     *journal.Journal
	x     *index.Index
}

// cheap makes hashing cost next to nothing.
func cheap(s *Store) {
	s.argon = argonParams{memoryKiB: 8, time: 1, threads: 1}
	s.o.ScramIterations = sasl.MinIterations
}

// newHost starts a store on a simulated disk whose index is rebuilt at each
// start.
func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{t: t, disk: sim.NewDisk(1), clock: sim.NewClock(time.Unix(1790000000, 0)), set: cheap}
	h.start()
	t.Cleanup(func() { h.stop() })
	return h
}

// newFileHost starts a store in a temporary folder, with an index that stays.
func newFileHost(t *testing.T) *host {
	t.Helper()
	dir := t.TempDir()
	h := &host{t: t, disk: sys.OSFS(), path: filepath.Join(dir, "index.db"), clock: sim.NewClock(time.Unix(1790000000, 0)), set: cheap}
	h.startIn(dir)
	t.Cleanup(func() { h.stop() })
	return h
}

func (h *host) start() {
	h.t.Helper()
	h.startIn(filepath.Dir(h.path))
}

func (h *host) startIn(dir string) {
	h.t.Helper()
	if h.path == "" {
		dir = "journal"
	}
	var err error
	if h.j, err = journal.Open(journal.Options{Dir: dir, FS: h.disk, Clock: h.clock, ReserveBytes: -1}); err != nil {
		h.t.Fatal(err)
	}
	h.Store = New(Options{Clock: h.clock})
	h.set(h.Store)
	if h.x, err = index.Open(context.Background(), index.Options{Path: h.path}, h.j, h.Store); err != nil {
		h.t.Fatal(err)
	}
	if err := h.Attach(h.x); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) stop() {
	h.t.Helper()
	if h.x == nil {
		return
	}
	if err := h.x.Close(); err != nil {
		h.t.Errorf("close index: %v", err)
	}
	if err := h.j.Close(); err != nil {
		h.t.Errorf("close journal: %v", err)
	}
	h.x, h.j = nil, nil
}

func (h *host) restart() {
	h.t.Helper()
	h.stop()
	h.start()
}

// must fails the test on an error.
func must(t tester, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
