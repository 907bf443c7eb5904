package load

import (
	"strings"
	"testing"
	"time"
)

func TestWave2009_IsTheOperatorsTable(t *testing.T) {
	c, err := Wave2009()
	if err != nil {
		t.Fatal(err)
	}
	if c.Length() != 323*time.Second || c.Max(c.Length()) != 301 || c.At(0) != 4 {
		t.Errorf("got %s, at most %v, first %v; want 323 s, 301, 4", c.Length(), c.Max(c.Length()), c.At(0))
	}
}

func TestCurve_At(t *testing.T) {
	c := Curve{{time.Second, 10}, {3 * time.Second, 20}, {4 * time.Second, 0}}
	for _, tt := range []struct {
		at   time.Duration
		want float64
	}{
		{0, 10}, {time.Second, 10}, {2 * time.Second, 15}, {3 * time.Second, 20}, {3500 * time.Millisecond, 10}, {4 * time.Second, 0}, {time.Minute, 0},
	} {
		if got := c.At(tt.at); got != tt.want {
			t.Errorf("at %s: got %v, want %v", tt.at, got, tt.want)
		}
	}
	for until, want := range map[time.Duration]float64{0: 10, 2 * time.Second: 15, time.Minute: 20} {
		if got := c.Max(until); got != want {
			t.Errorf("most until %s: got %v, want %v", until, got, want)
		}
	}
}

func TestParseCurve_Refuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                          "0 lines",
		"seconds,open\n":            "1 lines",
		"seconds,open\n1\n":         "wrong number of fields",
		"seconds,open\nx,1\n":       "line 2: seconds",
		"seconds,open\n1,-1\n":      "line 2: connections",
		"seconds,open\n1,1\n1,2\n":  "line 3: time does not go on",
		"seconds,open\n\"1\n2,3\n,": "read the curve",
	} {
		if _, err := ParseCurve(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want …%s…", text, err, want)
		}
	}
}

func FuzzParseCurve(f *testing.F) {
	f.Add(wave2009)
	f.Add("a,b\n0,0\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseCurve(text)
		if err != nil {
			return
		}
		if len(c) == 0 || c.At(c.Length()) > c.Max(c.Length()) {
			t.Errorf("a curve of %d points whose end is above its top", len(c))
		}
	})
}
