package journal

import (
	"sync"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sim"
)

// A disk that does not answer is seen from outside while Append waits for it.
func TestStalled_whileTheDiskDoesNotAnswer(t *testing.T) {
	clock, disk := sim.NewClock(time.Unix(1e9, 0)), sim.NewDisk(1)
	j, err := Open(Options{Dir: "/j", FS: disk, Clock: clock, ReserveBytes: -1})
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Start(func([]Record) {}); err != nil {
		t.Fatal(err)
	}
	if d := j.Stalled(); d != 0 {
		t.Errorf("idle journal is stalled for %v", d)
	}
	entered, answer := make(chan struct{}), make(chan struct{})
	var once sync.Once
	disk.Hook(func(op, _ string) {
		once.Do(func() { close(entered); <-answer })
	})
	appended := make(chan error, 1)
	go func() {
		_, err := j.Append(t.Context(), &Entry{Type: TypeBatch, Envelope: []byte("x")})
		appended <- err
	}()
	<-entered
	clock.Advance(7 * time.Second)
	if d := j.Stalled(); d != 7*time.Second {
		t.Errorf("Stalled = %v, want 7s", d)
	}
	close(answer)
	if err := <-appended; err != nil {
		t.Error(err)
	}
	if err := j.Close(); err != nil {
		t.Error(err)
	}
	if d := j.Stalled(); d != 0 {
		t.Errorf("closed journal is stalled for %v", d)
	}
}
