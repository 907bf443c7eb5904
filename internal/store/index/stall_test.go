package index

import (
	"errors"
	"runtime"
	"testing"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/breakwater-mail/breakwater/internal/base/sim"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// gate is a view that applies what it is let.
type gate struct {
	words
	fail chan error // one value for each record: nil lets it pass
}

func (g *gate) Apply(conn *sqlite.Conn, r journal.Record) (any, error) {
	if err := <-g.fail; err != nil {
		return nil, err
	}
	return nil, nil
}

// A fault of the database is no fault of the record: it is tried again until it
// works, and nothing is set aside.
func TestStall_isNotTheRecordsFault(t *testing.T) {
	g := &gate{fail: make(chan error, 10)}
	clock := sim.NewClock(time.Unix(1e9, 0))
	j, err := journal.Open(journal.Options{Dir: "/j", FS: sim.NewDisk(1)})
	must(t, err)
	x, err := Open(t.Context(), Options{Clock: clock}, j, g)
	must(t, err)
	b := &bench{t: t, j: j, x: x}
	defer b.close()
	g.fail <- sqlite.ResultFull.ToError()
	done := make(chan error)
	go func() {
		_, err := x.Commit(t.Context(), &journal.Entry{Type: journal.TypeBatch, Envelope: []byte("one")})
		done <- err
	}()
	for x.Err() == nil { // until it has failed once
		runtime.Gosched()
	}
	g.fail <- nil
	for waiting := true; waiting; {
		select {
		case err := <-done:
			must(t, err)
			waiting = false
		default:
			clock.Advance(retryPause)
		}
	}
	if err := x.Err(); err != nil {
		t.Errorf("the stall is over and said to be %v", err)
	}
	if aside, err := x.SetAsides(t.Context()); len(aside) != 0 || err != nil {
		t.Errorf("set aside: %v, %v", aside, err)
	}
}

// A database found to be corrupt stops the index, tells everybody, and is
// rebuilt by the next start.
func TestStall_corruptIsFinal(t *testing.T) {
	b := newBench(t)
	b.accept("one")
	b.want("one")
	b.close()
	g := &gate{fail: make(chan error, 1)}
	var err error
	b.j, err = journal.Open(journal.Options{Dir: "/j", FS: b.disk})
	must(t, err)
	b.x, err = Open(t.Context(), Options{Path: b.path}, b.j, g)
	must(t, err)
	g.fail <- sqlite.ResultCorrupt.ToError()
	if _, err := b.x.Commit(t.Context(), &journal.Entry{Type: journal.TypeBatch, Envelope: []byte("two")}); err == nil {
		t.Error("the commit gave no error")
	}
	if _, err := b.x.Accept(t.Context(), &journal.Entry{Type: journal.TypeBatch}); !errors.Is(err, ErrBehind) {
		t.Errorf("accept gave %v", err)
	}
	b.close()
	b.open()
	b.want("one two")
}

// Records that are not applied hold the log back before they fill the memory.
func TestBackPressure(t *testing.T) {
	g := &gate{fail: make(chan error)}
	j, err := journal.Open(journal.Options{Dir: "/j", FS: sim.NewDisk(1)})
	must(t, err)
	x, err := Open(t.Context(), Options{}, j, g)
	must(t, err)
	b := &bench{t: t, j: j, x: x}
	defer b.close()
	defer close(g.fail)
	rs := make([]journal.Record, queuedRecordsMax+1)
	for i := range rs {
		rs[i] = journal.Record{LSN: journal.LSN(i + 1), AsOf: journal.LSN(i + 1), Type: journal.TypeBatch}
	}
	taken := make(chan struct{})
	go func() { x.durable(rs); close(taken) }()
	for full := false; !full; {
		x.mu.Lock()
		full = len(x.queue) == queuedRecordsMax
		x.mu.Unlock()
	}
	select {
	case <-taken:
		t.Fatal("one record too many was taken")
	default:
	}
	for range batchRecordsMax { // a batch goes, and the last one comes in
		g.fail <- nil
	}
	<-taken
}
