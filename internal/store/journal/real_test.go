package journal

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"
)

const childEnv = "BREAKWATER_JOURNAL_CHILD"

// TestMain is also the child that appends until it is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		child(dir)
	}
	os.Exit(m.Run())
}

// childBody makes a body from its number, so that the parent can tell.
func childBody(writer, n int) []byte {
	size := (writer*7919 + n*104729) % 30000
	if n%17 == 0 {
		size += 90 << 10
	}
	return bytes.Repeat(fmt.Appendf(nil, "%d/%d ", writer, n), size/6+1)
}

// child appends from several goroutines and prints what was acknowledged.
func child(dir string) {
	fail := func(err error) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	j, err := Open(Options{Dir: dir, SegmentBytes: 4 << 20, ReserveBytes: -1})
	if err != nil {
		fail(err)
	}
	if err := j.Start(func([]Record) {}); err != nil {
		fail(err)
	}
	epoch := int(j.epoch)
	var mu sync.Mutex
	for w := range 8 {
		go func() {
			for n := 0; ; n++ {
				w := w + 100*epoch
				e := &Entry{Type: TypeMessage, Envelope: fmt.Appendf(nil, "%d %d", w, n)}
				body := childBody(w, n)
				if n%29 == 7 {
					l, err := j.NewLarge(context.Background())
					if err == nil {
						_, err = l.Write(body)
					}
					if err == nil {
						err = l.Seal()
					}
					if err != nil {
						fail(err)
					}
					e.Large = l
				} else {
					e.Body = [][]byte{body}
				}
				r, err := j.Append(context.Background(), e)
				if err != nil {
					fail(err)
				}
				mu.Lock()
				fmt.Printf("%d %d %d\n", w, n, r.LSN)
				mu.Unlock()
			}
		}()
	}
	select {}
}

// TestKill kills a process that appends to real files and reads everything
// back that it had acknowledged.
func TestKill(t *testing.T) {
	rounds := 4
	if testing.Short() {
		rounds = 1
	}
	dir := t.TempDir() + "/journal"
	acked := map[string]LSN{}
	for round := range rounds {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childEnv+"="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			var w, k int
			var lsn LSN
			if _, err := fmt.Sscan(lines.Text(), &w, &k, &lsn); err != nil {
				break // the last line may be cut
			}
			acked[fmt.Sprint(w, " ", k)] = lsn
			if n == 300+round*70 {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = cmd.Wait()
		readBack(t, dir, acked)
	}
}

func readBack(t *testing.T, dir string, acked map[string]LSN) {
	t.Helper()
	j, err := Open(Options{Dir: dir, ReserveBytes: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	found := map[string]bool{}
	err = j.Replay(t.Context(), 0, func(r Record) error {
		name := string(r.Envelope)
		if found[name] {
			t.Errorf("%s is there twice", name)
		}
		found[name] = true
		if lsn, ok := acked[name]; ok && lsn != r.LSN {
			t.Errorf("%s has LSN %s and had %s", name, r.LSN, lsn)
		}
		b, err := j.Body(r.Pos)
		if err != nil {
			return err
		}
		defer b.Close()
		got := make([]byte, b.Size())
		if _, err := b.ReadAt(got, 0); err != nil {
			return err
		}
		var w, n int
		if _, err := fmt.Sscan(name, &w, &n); err != nil {
			return err
		}
		if !bytes.Equal(got, childBody(w, n)) {
			t.Errorf("%s has another's body", name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range acked {
		if !found[name] {
			t.Errorf("%s was acknowledged and is gone", name)
		}
	}
	if err := j.Verify(t.Context(), func(f Finding) { t.Errorf("verify: %+v", f) }); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d acknowledged, %d found, recovery %+v", len(acked), len(found), j.Recovery())
}

// positions is a small index: where each record lies.
type positions struct {
	mu  sync.Mutex
	pos map[LSN]Position
}

func (x *positions) durable(rs []Record) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, r := range rs {
		x.pos[r.LSN] = r.Pos
	}
}

func (x *positions) moved(ms []Moved) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, m := range ms {
		x.pos[m.LSN] = m.To
	}
	return nil
}

func (x *positions) any() Position {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, p := range x.pos {
		return p
	}
	return Position{}
}

// readAny reads some record and compares it.
func (x *positions) readAny(j *Journal) error {
	p := x.any()
	if p.Length == 0 {
		return nil
	}
	b, err := j.Body(p)
	if errors.Is(err, ErrGone) {
		return nil // moved since it was looked up
	}
	if err != nil {
		return err
	}
	defer b.Close()
	got := make([]byte, b.Size())
	if _, err := b.ReadAt(got, 0); err != nil || string(got) != "body of one" {
		return fmt.Errorf("read %q, %w", got, err)
	}
	return nil
}

// TestReal_compactionUnderLoad compacts on real files while others append and
// read.
func TestReal_compactionUnderLoad(t *testing.T) {
	j, err := Open(Options{Dir: t.TempDir(), SegmentBytes: 48 << 10, ReserveBytes: -1, OpenFiles: 2})
	if err != nil {
		t.Fatal(err)
	}
	x := &positions{pos: map[LSN]Position{}}
	if err := j.Start(x.durable); err != nil {
		t.Fatal(err)
	}
	var writers, others sync.WaitGroup
	stop := make(chan struct{})
	until := func(fn func() error) func() {
		return func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := fn(); err != nil {
					t.Error(err)
					return
				}
			}
		}
	}
	for range 4 {
		writers.Go(func() {
			for range 120 {
				e := &Entry{Type: TypeMessage, Body: [][]byte{[]byte("body of one")}, Envelope: make([]byte, 600)}
				if _, err := j.Append(t.Context(), e); err != nil {
					t.Error(err)
				}
			}
		})
	}
	others.Go(until(func() error { return x.readAny(j) }))
	others.Go(until(func() error {
		for _, s := range j.Segments() {
			if !s.Active && s.Kind == KindLog {
				return j.Compact(t.Context(), s.ID, func(Record) bool { return true }, x.moved)
			}
		}
		return nil
	}))
	writers.Wait()
	close(stop)
	others.Wait()
	n := 0
	if err := j.Replay(t.Context(), 0, func(Record) error { n++; return nil }); err != nil || n != 480 {
		t.Errorf("replay: %d, %v", n, err)
	}
	if err := j.Verify(t.Context(), func(f Finding) { t.Errorf("verify: %+v", f) }); err != nil {
		t.Error(err)
	}
	if err := j.Close(); err != nil {
		t.Error(err)
	}
}
