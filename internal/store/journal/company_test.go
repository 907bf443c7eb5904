package journal

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestGroup_waitsForCompany: a flush takes 10 ms here, and a group may wait for
// 20. Callers append when told, and must be in the group that is expected.
func TestGroup_waitsForCompany(t *testing.T) {
	const ms = time.Millisecond
	type group struct {
		at      time.Duration // when it was durable
		records int
	}
	for _, c := range []struct {
		name    string
		callers [][]time.Duration // pauses of each before its appends
		want    []group
	}{
		{"alone", [][]time.Duration{{0, 0, 0, 5 * ms}},
			[]group{{10 * ms, 1}, {20 * ms, 1}, {30 * ms, 1}, {45 * ms, 1}}},
		{"two by turns are brought together", [][]time.Duration{{0, 5 * ms}, {5 * ms}, {5 * ms}},
			[]group{{10 * ms, 1}, {25 * ms, 3}}},
		{"all come again, late", [][]time.Duration{{0, 1 * ms, 10 * ms}, {5 * ms, 0}, {5 * ms, 15 * ms}},
			[]group{{10 * ms, 1}, {21 * ms, 3}, {46 * ms, 3}}},
		{"one stays away", [][]time.Duration{{0, 0, 0}, {5 * ms}},
			[]group{{10 * ms, 1}, {20 * ms, 2}, {50 * ms, 1}}},
		{"who was alone again is not waited for", [][]time.Duration{{0, 0, 0, 0, 0}, {5 * ms}},
			[]group{{10 * ms, 1}, {20 * ms, 2}, {50 * ms, 1}, {60 * ms, 1}, {70 * ms, 1}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var got []group
				began := time.Now()
				j := companyJournal(t, 20*ms, func(n int) {
					time.Sleep(10 * ms)
					got = append(got, group{time.Since(began), n})
				})
				var wg sync.WaitGroup
				for _, pauses := range c.callers {
					wg.Go(func() {
						for _, p := range pauses {
							time.Sleep(p)
							if _, err := j.Append(t.Context(), &Entry{Type: TypeBatch}); err != nil {
								t.Error(err)
							}
						}
					})
				}
				wg.Wait()
				if !slices.Equal(got, c.want) {
					t.Errorf("groups %v, want %v", got, c.want)
				}
				took := time.Since(began)
				if err := j.Close(); err != nil || time.Since(began) != took {
					t.Errorf("Close took %v, %v", time.Since(began)-took, err)
				}
			})
		})
	}
}

// TestGroup_thatIsFullWaitsForNobody: what fills a group is made durable at once,
// however many were busy; what does not waits for them.
func TestGroup_thatIsFullWaitsForNobody(t *testing.T) {
	const ms = time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		var got []time.Duration
		began := time.Now()
		j := companyJournal(t, 20*ms, func(int) {
			time.Sleep(10 * ms)
			got = append(got, time.Since(began))
		})
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if _, err := j.Append(t.Context(), &Entry{Type: TypeBatch, Envelope: make([]byte, 40<<10)}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if want := []time.Duration{10 * ms, 20 * ms, 30 * ms, 60 * ms}; !slices.Equal(got, want) {
			t.Errorf("groups at %v, want %v", got, want)
		}
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
}

// companyJournal opens a journal in a bubble; flushed is called with the size of
// each group before it is answered.
func companyJournal(t *testing.T, wait time.Duration, flushed func(n int)) *Journal {
	w := newWorld(t, 1)
	w.o.Clock, w.o.GroupWait = nil, wait
	j, err := Open(w.o)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Start(func(rs []Record) { flushed(len(rs)) }); err != nil {
		t.Fatal(err)
	}
	return j
}

// TestClose_waitsForNoCompany: what waits for company is written at once when
// the journal closes.
func TestClose_waitsForNoCompany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		groups, began := 0, time.Now()
		j := companyJournal(t, time.Hour, func(int) {
			time.Sleep(10 * time.Millisecond)
			groups++
		})
		var wg sync.WaitGroup
		for _, times := range []int{3, 1} {
			wg.Go(func() {
				for range times {
					if _, err := j.Append(t.Context(), &Entry{Type: TypeBatch}); err != nil {
						t.Error(err)
					}
				}
			})
			synctest.Wait() // the first is being made durable alone
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if groups != 2 {
			t.Fatalf("%d groups before Close, want 2 and one that waits", groups)
		}
		if err := j.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
		if took := time.Since(began); groups != 3 || took != time.Second+10*time.Millisecond {
			t.Errorf("%d groups after %v", groups, took)
		}
	})
}
