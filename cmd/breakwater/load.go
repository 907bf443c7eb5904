package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/breakwater-mail/breakwater/internal/ops/load"
)

type loadCmd struct {
	Wave waveCmd `cmd:"" help:"Play the spam wave of 2009, times a factor, against a server of this machine, with good senders beside it."`
}

type waveCmd struct {
	Factor   float64       `help:"Times the 4 to 301 open connections of 2009." default:"60"`
	To       string        `help:"The SMTP server (default 127.0.0.1:2525, the demo). It must be on this machine." placeholder:"HOST:PORT" default:"127.0.0.1:2525"`
	Pid      []int         `help:"Process of the server: memory and CPU of it and of all that descend from it are measured. May be given more than once." placeholder:"PID"`
	JSON     bool          `help:"Print the result as JSON."`
	SVG      string        `help:"Draw held connections and good deliveries over time into this file." placeholder:"FILE" type:"path"`
	Speed    float64       `help:"Play the curve this many times as fast: 1 takes 323 s, 10 takes 32 s." default:"1"`
	Rcpt     string        `help:"Recipient of good mail, and what strangers ask for (default one@demo.test)." placeholder:"ADDRESS" default:"one@demo.test"`
	Duration time.Duration `help:"End the wave after this time at the latest (default: the whole curve)."`
	Hold     time.Duration `help:"Stay at the last level for this time when the curve has ended."`
	Quit     float64       `help:"Share of the strangers, 0 to 1, that QUIT after their refusal; the others fall silent and stay." default:"0"`
	Rate     int           `help:"Connections opened in a second at most." default:"3000"`
	Good     float64       `help:"Deliveries a second of the known good senders." default:"4"`
	Patience time.Duration `help:"How long strangers and good senders wait for a reply." default:"1m"`
}

func (w *waveCmd) Help() string {
	return `The curve is an operator's own table of 27 July 2009: 4 to 301 open connections in 323 s, nearly all from sources on a DNSBL. Strangers come from 127.16.0.0 to 127.254.255.255, each from its own /24: serve a DNSBL that lists these. They wait for the banner, say EHLO, MAIL and RCPT one by one, and after the 5xx stay, silent. When the server closes one, another takes its place, 10 s later if it had no answer at RCPT.

Good senders come from 127.1.0.0/16 and deliver whole messages by a timetable. Known ones have delivered in the quiet phase before the wave, which takes some 10 s; new ones come once, from a /24 of their own. Their times, p50_ms, p99_ms and worst_ms, are from connecting to the 250 after the message, less the median wait before the banner of their class in the quiet phase.

The result: offered, the most connections that the curve asked for at once; held_max, the most that were open at once; refused_at_rcpt, strangers answered 5xx at RCPT; lost, strangers that were reset, closed without a word, or not answered within --patience; good, what became of good mail. With --pid: pss_bytes_per_guest, the server's proportional set size with the most connections held, less the lowest seen since the quiet phase, divided by these connections; cpu_ms_per_refusal, the server's CPU time during the wave, less its good deliveries at the price that they had in the quiet phase, divided by refused_at_rcpt.

Server and client share the machine: client.cpu_ms and client.late_max_ms tell what the client took and how late it was. The process needs a descriptor for each connection: 20,000 do for factor 60. Ctrl-C ends the wave, and what there is so far is printed.

Examples:
  breakwater load wave
  breakwater load wave --speed 10 --hold 10s --pid 4711 --json
  breakwater load wave --factor 1 --to 127.0.0.1:25 --rcpt postmaster@example.org --svg wave.svg`
}

func (w *waveCmd) Run(c console) error {
	show := progressOf(c)
	o := load.Options{
		To: w.To, Factor: w.Factor, Speed: w.Speed, Rcpt: w.Rcpt, PIDs: w.Pid, Duration: w.Duration, Hold: w.Hold,
		Quit: w.Quit, Rate: w.Rate, GoodRate: w.Good, Patience: w.Patience, Progress: show.step,
	}
	if err := o.Check(); err != nil {
		return usageError{err}
	}
	if w.SVG != "" { // better to know before five minutes have passed
		f, err := os.OpenFile(w.SVG, os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			return fmt.Errorf("draw: %w", err)
		}
		f.Close()
	}
	r, err := load.Wave(c.ctx, o)
	show.end()
	if err != nil {
		return err
	}
	if w.SVG != "" {
		var b bytes.Buffer
		if err := r.SVG(&b); err != nil {
			return err
		}
		if err := os.WriteFile(w.SVG, b.Bytes(), 0o644); err != nil {
			return fmt.Errorf("draw: %w", err)
		}
	}
	if w.JSON {
		return printJSON(c, r)
	}
	fmt.Fprint(c.out, r.Text())
	return nil
}

// progress shows how the wave goes: one line that is written over on a
// terminal, else a line now and then.
type progress struct {
	c        console
	terminal bool
	phase    string
	next     time.Duration // in the phase, when a line is due
	wide     int
}

// plainGap is between lines where nobody sits before a terminal.
const plainGap = 10 * time.Second

func progressOf(c console) *progress {
	f, ok := c.err.(*os.File)
	return &progress{c: c, terminal: ok && term.IsTerminal(int(f.Fd()))}
}

func (p *progress) step(s load.Progress) {
	if !p.terminal && s.Phase == p.phase && s.At < p.next {
		return
	}
	p.phase, p.next = s.Phase, s.At+plainGap
	line := s.String()
	if !p.terminal {
		fmt.Fprintln(p.c.err, line)
		return
	}
	fmt.Fprintf(p.c.err, "\r%s%s", line, strings.Repeat(" ", max(0, p.wide-len(line))))
	p.wide = len(line)
}

// end leaves the line behind.
func (p *progress) end() {
	if p.terminal && p.wide > 0 {
		fmt.Fprintln(p.c.err)
	}
}
