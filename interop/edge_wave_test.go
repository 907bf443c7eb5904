//go:build interop

package interop

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/bench/proc"
)

// soak is how long the wave of TestEdge_Soak goes on.
var soak = flag.Duration("soak", 0, "length of the wave of TestEdge_Soak; 10m is what it is made for (default: it is skipped)")

// waveView is what these tests read of `breakwater load wave --json`.
type waveView struct {
	Offered       int            `json:"offered"`
	HeldMax       int            `json:"held_max"`
	RefusedAtRcpt int            `json:"refused_at_rcpt"`
	Lost          int            `json:"lost"`
	Attempted     int            `json:"attempted"`
	Accepted      int            `json:"accepted_at_rcpt"`
	TurnedAway    int            `json:"turned_away"`
	Unfinished    int            `json:"unfinished"`
	Replies       map[string]int `json:"replies"`
	Good          struct {
		Sent     int            `json:"sent"`
		OK       int            `json:"ok"`
		P99      float64        `json:"p99_ms"`
		Failures map[string]int `json:"failures"`
	} `json:"good"`
	Server struct {
		PSSMax int64 `json:"pss_max_bytes"`
	} `json:"server"`
}

// waveListed are the networks that the wave's strangers come from.
const waveListed = ":127.0.0.2:Listed, see https://bl.example/q?ip=$\n127.0.0.2\n127.16.0.0/12\n127.32.0.0/11\n127.64.0.0/10\n" +
	"127.128.0.0/10\n127.192.0.0/11\n127.224.0.0/12\n127.240.0.0/13\n127.248.0.0/14\n127.252.0.0/15\n127.254.0.0/16\n"

// wave plays the wave against the host with the program's own command.
func (w *wall) wave(args ...string) (v waveView) {
	w.t.Helper()
	args = append([]string{"load", "wave", "--to", w.SMTP, "--rcpt", w.User(0), "--pid", strconv.Itoa(w.Pids()[0]), "--json"}, args...)
	// What it says of its progress goes to the other output.
	out, err := try(w.t, folder(w.t), nil, "/bin/sh", append([]string{"-c", `exec "$0" "$@" 2>progress`, string(w.Bin)}, args...)...)
	if err != nil {
		w.t.Fatalf("load wave: %v\n%s", err, out)
	}
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		w.t.Fatalf("load wave: %v\n%s", err, out)
	}
	return v
}

// broke says whether a wave did any harm.
func (w *wall) broke(v waveView) {
	w.t.Helper()
	if v.HeldMax < v.Offered || v.Offered == 0 || v.RefusedAtRcpt != v.Attempted-v.Unfinished || v.Unfinished > v.Attempted/10 ||
		v.Lost+v.Accepted+v.TurnedAway != 0 || v.Good.OK != v.Good.Sent || v.Good.Sent == 0 {
		w.t.Errorf("got %+v, want all that was offered held and refused at RCPT, and all good mail taken", v)
	}
}

// TestEdge_Wave is a small incident wave: three times the wave of 2009, twenty
// times as fast. All of it is held and refused, and good mail does not notice.
func TestEdge_Wave(t *testing.T) {
	t.Parallel()
	w := startWall(t, wallConfig{black: waveListed})
	v := w.wave("--factor", "3", "--speed", "20", "--hold", "2s")
	w.broke(v)
	t.Logf("held %d, refused %d, good mail %d of %d, p99 %.1f ms beyond the usual wait", v.HeldMax, v.RefusedAtRcpt, v.Good.OK, v.Good.Sent, v.Good.P99)
	if top := w.top(); top.By["dnsbl:"+blackZone] < v.RefusedAtRcpt || top.Total.Accepted < v.Good.OK {
		t.Errorf("got %+v, want at least the refusals and deliveries of %+v", top, v)
	}
}

// footprint is what a host holds of the system, with nobody connected.
type footprint struct {
	pss, pssMax             int64
	descriptors, goroutines int
}

// TestEdge_Soak plays the wave again and again: memory at equal load,
// descriptors and goroutines do not grow.
func TestEdge_Soak(t *testing.T) {
	if *soak <= 0 {
		t.Skip("SOAK NOT RUN: TestEdge_Soak wants -soak 10m")
	}
	w := startWall(t, wallConfig{black: waveListed, ban: "1s"}) // the same strangers come again
	var all []footprint
	for end := time.Now().Add(*soak); time.Now().Before(end) || len(all) < 4; {
		v := w.wave("--factor", "10", "--speed", "10", "--hold", "5s")
		w.broke(v)
		f := w.atRest()
		f.pssMax = v.Server.PSSMax
		all = append(all, f)
		t.Logf("wave %d: held %d, refused %d, good mail %d of %d; PSS %d MB with all of them, %d MB without; %d descriptors, %d goroutines",
			len(all), v.HeldMax, v.RefusedAtRcpt, v.Good.OK, v.Good.Sent, f.pssMax>>20, f.pss>>20, f.descriptors, f.goroutines)
	}
	// The first wave warms up. Growth would show between the halves of the rest.
	rest := all[1:]
	early, late := worst(rest[:len(rest)/2]), worst(rest[len(rest)/2:])
	const slack = 4 << 20 // of the collector's timing
	if late.pssMax > early.pssMax+early.pssMax/10+slack || late.pss > early.pss+early.pss/10+slack ||
		late.descriptors > early.descriptors+8 || late.goroutines > early.goroutines+8 {
		t.Errorf("got at most %+v in the second half, want no growth over %+v", late, early)
	}
}

// worst takes the greatest of each figure.
func worst(all []footprint) (f footprint) {
	for _, a := range all {
		f.pss, f.pssMax = max(f.pss, a.pss), max(f.pssMax, a.pssMax)
		f.descriptors, f.goroutines = max(f.descriptors, a.descriptors), max(f.goroutines, a.goroutines)
	}
	return f
}

// atRest waits until all guests have gone, and measures.
func (w *wall) atRest() (f footprint) {
	w.t.Helper()
	var top topView
	eventually(w.t, "all guests have gone", func() bool {
		top = w.top()
		return top.Guests.Now+top.Guests.Sessions == 0
	})
	pid := w.Pids()[0]
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		w.t.Fatal(err)
	}
	f.pss, f.descriptors, f.goroutines = proc.PSS(pid), len(fds), top.Process.Goroutines
	if f.pss == 0 {
		w.t.Fatal(errors.New("no PSS"))
	}
	return f
}
