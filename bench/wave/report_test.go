package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/breakwater-mail/breakwater/internal/ops/load"
)

func sample() *report {
	class := load.Class{Sent: 10, OK: 9, P99: 12.34, Wait: 4000, Quiet: load.Quiet{P99: 5}, Banner: load.Spread{P50: 4010}}
	r := &report{Date: "2026-11-22", Machine: "2 cores", Factor: 60, Speed: 10}
	r.Results = append(r.Results,
		row{"breakwater", &load.Result{Offered: 18060, HeldMax: 18059, GreetedMax: 18058, RefusedAtRcpt: 18200, TurnedAway: 2, Lost: 1,
			Good: load.Good{Known: class, New: class}, Server: &load.Server{PSSIdle: 30e6, PSSMax: 40e6, PSSPerGuest: 555.4, CPUPerRefusal: 0.1234}}},
		row{"postscreen", &load.Result{Offered: 18060}})
	r.note("PEER LEFT OUT: %s", "courier")
	return r
}

func TestReport_TableHasALineForEachServer(t *testing.T) {
	var b strings.Builder
	sample().table(&b)
	var lines []string
	for line := range strings.Lines(b.String()) {
		if strings.HasPrefix(line, "|") {
			lines = append(lines, line)
		}
	}
	if len(lines) != 4 {
		t.Fatalf("got %d lines of a table, want 4:\n%s", len(lines), b.String())
	}
	for _, line := range lines {
		if got, want := strings.Count(line, "|"), strings.Count(lines[0], "|"); got != want {
			t.Errorf("got %d cells, want %d: %s", got, want, line)
		}
	}
	for _, want := range []string{"18059 of 18060", "9 of 10", "12.3 beyond 4000 (quiet 5.0; banner now after 4010)", "30 → 40", "| 555 |", "| 0.123 |", "PEER LEFT OUT: courier"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

func TestReport_WritesWhatIsAskedFor(t *testing.T) {
	dir := t.TempDir()
	o := &options{json: filepath.Join(dir, "w.json"), markdown: filepath.Join(dir, "w.md")}
	var out bytes.Buffer
	if err := sample().write(o, &out); err != nil {
		t.Fatal(err)
	}
	table, err := os.ReadFile(o.markdown)
	if err != nil || !bytes.Equal(table, out.Bytes()) {
		t.Errorf("the table in the file is not what was printed (%v)", err)
	}
	text, err := os.ReadFile(o.json)
	if err != nil {
		t.Fatal(err)
	}
	out.Reset()
	if err := sample().write(&options{json: "-"}, &out); err != nil || !bytes.Equal(text, out.Bytes()) {
		t.Errorf("the JSON in the file is not what was printed (%v)", err)
	}
	var back report
	if err := json.Unmarshal(text, &back); err != nil || len(back.Results) != 2 || back.Results[0].Result.HeldMax != 18059 {
		t.Errorf("got %+v, %v back", back, err)
	}
}

func TestParseOptions_Refuses(t *testing.T) {
	for _, args := range [][]string{{"-servers", "exim"}, {"-processes", "0"}, {"-factor", "x"}} {
		if _, err := parseOptions(args); err == nil {
			t.Errorf("%v is taken", args)
		}
	}
}
