package main

import (
	"bytes"
	"strings"
	"testing"
)

// TestSizes_AreMailLike holds the mix to what peers.md measured with: median
// 8 KB, mean about 60 KB, none above 10 MB.
func TestSizes_AreMailLike(t *testing.T) {
	c := newContent()
	sum, below, largest := 0, 0, 0
	for _, n := range c.sizes {
		sum += n
		largest = max(largest, n)
		if n < sizeMedian {
			below++
		}
	}
	mean := sum / len(c.sizes)
	if mean < 45<<10 || mean > 75<<10 {
		t.Errorf("mean size %d", mean)
	}
	if below != len(c.sizes)/2 {
		t.Errorf("%d of %d are below the median", below, len(c.sizes))
	}
	if largest > largeMax || largest < 1<<20 {
		t.Errorf("largest size %d", largest)
	}
}

func TestBulk_IsWholeLinesWithoutDots(t *testing.T) {
	c := newContent()
	for _, n := range []int{1, smallBytes, 100 << 10, largeMax} {
		b := c.bulk(n, n)
		if !bytes.HasSuffix(b, []byte("\r\n")) || b[0] == '.' || bytes.Contains(b, []byte("\r\n.")) {
			t.Errorf("bulk(%d) cannot go over the wire as it is", n)
		}
		if len(b) > max(n, lineBytes) || len(b) < n-lineBytes {
			t.Errorf("bulk(%d) has %d bytes", n, len(b))
		}
	}
}

func TestText_HoldsTheRareWordsAsOftenAsSaid(t *testing.T) {
	c := newContent()
	const n = 2600
	titles, texts := 0, 0
	for i := range n {
		m := string(c.text(i))
		if len(m) < smallBytes-20 || len(m) > smallBytes+20 {
			t.Fatalf("message %d has %d bytes", i, len(m))
		}
		if strings.Contains(m, rareTitle) {
			titles++
		}
		if strings.Contains(m, rareText) {
			texts++
		}
	}
	if want := rareIn(n, 0); titles != want {
		t.Errorf("%d rare subjects, not %d", titles, want)
	}
	if want := rareIn(n, rareEvery/2); texts != want {
		t.Errorf("%d rare texts, not %d", texts, want)
	}
}

func TestJudge_ComparesWithThePeerThatTheGoalNames(t *testing.T) {
	yes, no := true, false
	tests := []struct {
		name string
		r    result
		want *bool
	}{
		{"rate above", result{More: true, Values: map[string]float64{"breakwater": 10, "maildir": 1}, goal: goal{10, "maildir"}}, &yes},
		{"rate below", result{More: true, Values: map[string]float64{"breakwater": 9, "maildir": 1}, goal: goal{10, "maildir"}}, &no},
		{"time below the best", result{Values: map[string]float64{"breakwater": 1, "maildir": 2, "mdbox": 4}, goal: goal{0.5, "best"}}, &yes},
		{"time above the best", result{Values: map[string]float64{"breakwater": 1.1, "maildir": 4, "mdbox": 2}, goal: goal{0.5, "best"}}, &no},
		{"absolute", result{Values: map[string]float64{"breakwater": 0.4}, goal: goal{factor: 0.5}}, &yes},
		{"peer missing", result{Values: map[string]float64{"breakwater": 0.4}, goal: goal{0.5, "mdbox"}}, nil},
		{"ours missing", result{Values: map[string]float64{"mdbox": 0.4}, goal: goal{0.5, "mdbox"}}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := &report{Results: []*result{&tt.r}}
			p.judge()
			got := tt.r.Held
			if (got == nil) != (tt.want == nil) || got != nil && *got != *tt.want {
				t.Errorf("held %v, want %v (goal %q)", got, tt.want, tt.r.Goal)
			}
		})
	}
}

func TestNumber_HasThreeDigits(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 1234.5: "1234", 12.34: "12.3", 1.234: "1.23", 0.1234: "0.123", 0.01234: "0.0123"} {
		if got := number(v); got != want {
			t.Errorf("number(%g) = %s, want %s", v, got, want)
		}
	}
}
