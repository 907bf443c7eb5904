package load

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// sampleResult is one of every field.
func sampleResult() *Result {
	r := &Result{
		Offered: 18060, HeldMax: 18059, RefusedAtRcpt: 18200, Lost: 3,
		Good: Good{
			Sent: 8, OK: 7, P50: 1.5, P99: 12.25, Worst: 13,
			Known:    Class{Sent: 4, OK: 4, P50: 1, P99: 2, Worst: 3, Wait: 0.5, Quiet: Quiet{Sent: 64, OK: 64, P50: 1, P99: 2}, Banner: Spread{0.5, 1, 2}},
			New:      Class{Sent: 4, OK: 3, P50: 4, P99: 12.25, Worst: 13, Wait: 6000, Quiet: Quiet{Sent: 16, OK: 16, P50: 3, P99: 5}},
			Failures: map[string]int{"451 at rcpt": 1},
			Slowest:  []Delivery{{At: 12.5, Class: "new", From: "127.1.99.25", Took: 13, Steps: map[string]float64{"connect": 1, "banner": 6001, "ehlo": 2, "mail": 0.5, "rcpt": 3, "data": 0.5, "message": 5}}},
		},
		Server: &Server{PSSPerGuest: 311.5, CPUPerRefusal: 0.14, PSSStart: 20e6, PSSIdle: 21e6, PSSMax: 27e6, CPUWave: 2548, CPUPerGood: 1.2},
		Target: "127.0.0.1:2525", Date: "2026-11-22T04:05:06Z", Factor: 60, Speed: 10, Seconds: 41.5,
		GreetedMax: 18000, Attempted: 18205, Accepted: 1, TurnedAway: 1,
		LostBy: map[string]int{"reset at banner": 3}, Replies: map[string]int{"banner 220": 18202, "rcpt 550": 18200},
		Wait: Spread{2000, 2100, 2500}, Refusal: Spread{2001, 2200, 2600}, Client: Client{CPU: 1500, RSS: 22e6, LateMax: 7},
	}
	for i := range 130 {
		at := float64(i) / 4
		r.Samples = append(r.Samples, Sample{At: at, Offered: i * 140, Held: i * 139, Greeted: i * 130, PSS: 21e6})
		r.Mail = append(r.Mail, Mail{At: at, Took: float64(i%40) / 3, Known: i%2 == 0, OK: i != 77})
	}
	return r
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s (rewrite with -update):\ngot  %s\nwant %s", name, got, want)
	}
}

func TestResult_JSON(t *testing.T) {
	b, err := json.MarshalIndent(sampleResult(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "result.json", append(b, '\n'))
}

func TestResult_Text(t *testing.T) { golden(t, "result.txt", []byte(sampleResult().Text())) }

func TestProgress_String(t *testing.T) {
	for _, tt := range []struct {
		p    Progress
		want string
	}{
		{Progress{Phase: PhaseQuiet, At: 1500 * time.Millisecond, Of: 8 * time.Second, Sent: 9, OK: 8, P99: 1234 * time.Microsecond},
			"quiet 1s of about 8s: good mail 8 of 9, p99 1.23 ms"},
		{Progress{Phase: PhaseWave, At: 65 * time.Second, Of: 323 * time.Second, Offered: 8400, Held: 8399, Refused: 8100, Lost: 1, Sent: 90, OK: 89, P99: 20 * time.Millisecond, PSS: 31.4e6},
			"wave 1m5s/5m23s: offered 8400, held 8399, refused 8100, lost 1; good 89/90, p99 20 ms; server 31.4 MB"},
	} {
		if got := tt.p.String(); got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
}

func TestResult_SVGIsWellFormed(t *testing.T) {
	hostile := sampleResult()
	hostile.Target = `<&"'>` + "\x01"
	for name, r := range map[string]*Result{"sample": sampleResult(), "empty": {}, "hostile": hostile} {
		var b bytes.Buffer
		if err := r.SVG(&b); err != nil {
			t.Fatal(err)
		}
		for _, bad := range []string{"NaN", "Inf", "%!"} {
			if strings.Contains(b.String(), bad) {
				t.Errorf("%s: the picture has %s", name, bad)
			}
		}
		elements := map[string]int{}
		d := xml.NewDecoder(&b)
		for {
			token, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if e, ok := token.(xml.StartElement); ok {
				elements[e.Name.Local]++
			}
		}
		if name == "sample" && elements["circle"] != 129+2 {
			t.Errorf("got %d circles, want 129 deliveries and 2 of the legend", elements["circle"])
		}
	}
}

func TestRoundSteps_AreRoundAndFew(t *testing.T) {
	for _, end := range []float64{1, 0.6, 32.3, 323, 18060, 301, 7, 99999} {
		s := roundSteps(end)
		if len(s) < 3 || len(s) > 8 || s[len(s)-1] > end*1.001 {
			t.Errorf("0 to %g: got %v", end, s)
		}
	}
}

func TestShort(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.1234: "0.123", 12.345: "12.3", 999.6: "1000", 1234.5: "1,235", 1e6: "1,000,000"} {
		if got := short(v); got != want {
			t.Errorf("short(%g): got %s, want %s", v, got, want)
		}
	}
}
