package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/breakwater-mail/breakwater/internal/ops/load"
)

// report is everything that was found out.
type report struct {
	Date    string   `json:"date"`
	Machine string   `json:"machine"`
	Factor  float64  `json:"factor"`
	Speed   float64  `json:"speed"`
	Results []row    `json:"results"`
	Notes   []string `json:"notes,omitempty"`
}

// row is a server and what the wave did to it.
type row struct {
	Server string       `json:"server"`
	Result *load.Result `json:"result"`
}

func newReport(o *options) *report {
	kernel, _ := exec.Command("uname", "-r").Output()
	return &report{
		Date:    time.Now().UTC().Format("2006-01-02 15:04 UTC"),
		Machine: fmt.Sprintf("%d cores, Linux %s, %s", runtime.NumCPU(), strings.TrimSpace(string(kernel)), runtime.Version()),
		Factor:  o.factor, Speed: o.speed,
	}
}

func (p *report) note(format string, args ...any) {
	p.Notes = append(p.Notes, fmt.Sprintf(format, args...))
}

// write prints the table, or the JSON, and writes the files that were asked for.
func (p *report) write(o *options, out io.Writer) error {
	b, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	b = append(b, '\n')
	if o.json == "-" {
		if _, err := out.Write(b); err != nil {
			return err
		}
	} else {
		p.table(out)
		if o.json != "" {
			if err := os.WriteFile(o.json, b, 0o644); err != nil {
				return err
			}
		}
	}
	if o.markdown == "" {
		return nil
	}
	var t strings.Builder
	p.table(&t)
	return os.WriteFile(o.markdown, []byte(t.String()), 0o644)
}

// table prints one line for each server.
func (p *report) table(w io.Writer) {
	fmt.Fprintf(w, "The wave of 2009 × %g, speed × %g, measured %s on %s.\n\n", p.Factor, p.Speed, p.Date, p.Machine)
	fmt.Fprintln(w, "| server | held of offered | greeted | refused at RCPT | turned away | lost | good, known | p99 ms | good, new | p99 ms | memory idle → most, MB | bytes a connection | CPU ms a refusal | client's CPU ms |")
	fmt.Fprintln(w, "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|")
	for _, r := range p.Results {
		x := r.Result
		fmt.Fprintf(w, "| %s | %d of %d | %d | %d | %d | %d | %s | %s |", r.Server, x.HeldMax, x.Offered, x.GreetedMax, x.RefusedAtRcpt, x.TurnedAway, x.Lost,
			class(x.Good.Known), class(x.Good.New))
		if s := x.Server; s != nil {
			fmt.Fprintf(w, " %.0f → %.0f | %.0f | %.3f |", float64(s.PSSIdle)/1e6, float64(s.PSSMax)/1e6, s.PSSPerGuest, s.CPUPerRefusal)
		} else {
			fmt.Fprint(w, " – | – | – |")
		}
		fmt.Fprintf(w, " %.0f |\n", x.Client.CPU)
	}
	for _, n := range p.Notes {
		fmt.Fprintf(w, "\n- %s", n)
	}
	if len(p.Notes) > 0 {
		fmt.Fprintln(w)
	}
}

// class prints a class of good senders: two cells.
func class(c load.Class) string {
	return fmt.Sprintf("%d of %d | %.1f beyond %.0f (quiet %.1f; banner now after %.0f)", c.OK, c.Sent, c.P99, c.Wait, c.Quiet.P99, c.Banner.P50)
}
