package load

import (
	"testing"
	"time"
)

func testCrowd(o Options) *crowd {
	o.To = "127.0.0.1:25"
	if err := o.fill(); err != nil {
		panic(err)
	}
	return newCrowd(&o, Curve{{0, 10}, {10 * time.Second, 100}, {20 * time.Second, 50}})
}

func TestCrowd_FollowsTheCurve(t *testing.T) {
	c := testCrowd(Options{Factor: 2, Speed: 2, Hold: 5 * time.Second})
	if c.end() != 15*time.Second || c.offered() != 200 {
		t.Errorf("end %s, offered %d; want 15s, 200", c.end(), c.offered())
	}
	for at, want := range map[time.Duration]int{0: 20, 2500 * time.Millisecond: 110, 5 * time.Second: 200, 10 * time.Second: 100, 14 * time.Second: 100, 15 * time.Second: 0} {
		if got := c.wanted(at); got != want {
			t.Errorf("at %s: got %d wanted, want %d", at, got, want)
		}
	}
}

func TestCrowd_DurationCutsTheCurve(t *testing.T) {
	c := testCrowd(Options{Factor: 1, Duration: 5 * time.Second})
	if c.end() != 5*time.Second || c.offered() != 55 {
		t.Errorf("end %s, offered %d; want 5s, 55", c.end(), c.offered())
	}
}

func TestCrowd_StepOpensNoFasterThanTheRate(t *testing.T) {
	c := testCrowd(Options{Factor: 60, Rate: 100})
	open := 0
	for now := time.Duration(0); now <= time.Second; now += 5 * time.Millisecond {
		more, fewer := c.step(now, open)
		if fewer != 0 {
			t.Fatalf("at %s: %d too many", now, fewer)
		}
		open += more
	}
	if open < 99 || open > 101 {
		t.Errorf("got %d opened in a second at a rate of 100", open)
	}
}

func TestCrowd_StepLeavesPlacesEmptyForAWhile(t *testing.T) {
	c := testCrowd(Options{Factor: 0.1})
	c.last, c.credit = time.Second, 100
	const second = time.Second
	if more, _ := c.step(second, 0); more != 2 {
		t.Fatalf("got %d to open, want 2", more)
	}
	c.left(second)
	if more, fewer := c.step(second, 1); more != 0 || fewer != 0 {
		t.Errorf("a place that the server emptied: got %d more, %d fewer; want none", more, fewer)
	}
	if more, _ := c.step(second+againAfter, 1); more != 10-1 {
		t.Errorf("got %d to open after the pause, want 9", more)
	}
}

func TestCrowd_StepGivesUpEmptyPlacesFirst(t *testing.T) {
	c := testCrowd(Options{Factor: 1})
	now := 19 * time.Second // 55 are wanted
	c.last = now
	for range 3 {
		c.left(now)
	}
	if more, fewer := c.step(now, 55); more != 0 || fewer != 0 || len(c.resting) != 0 {
		t.Errorf("got %d more, %d fewer, %d resting; want 0, 0, 0", more, fewer, len(c.resting))
	}
	if _, fewer := c.step(now, 60); fewer != 5 {
		t.Errorf("got %d fewer, want 5", fewer)
	}
}

func TestEnough_SaysByHowMuchTheFactorMustShrink(t *testing.T) {
	c := testCrowd(Options{Factor: 60}) // 6,000 connections
	if err := enough(c, 6000+descriptorsElse); err != nil {
		t.Errorf("got %v for just enough descriptors", err)
	}
	err := enough(c, 3000+descriptorsElse)
	const want = "factor 60 needs 6320 file descriptors and this process may have 3320: raise the limit (ulimit -Hn), or let the factor be 2 times smaller, at most 30.0"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if err := enough(c, 100); err == nil {
		t.Error("100 descriptors are said to be enough")
	}
}
