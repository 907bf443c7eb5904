package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/breakwater-mail/breakwater/bench/peers"
	"github.com/breakwater-mail/breakwater/bench/proc"
	"github.com/breakwater-mail/breakwater/bench/rig"
)

// options are the command line.
type options struct {
	rig.Rig
	messages int
	conns    int
	queued   int
	json     bool
}

func parseOptions(args []string) (*options, error) {
	o := &options{}
	f := flag.NewFlagSet("outbound", flag.ContinueOnError)
	f.IntVar(&o.messages, "messages", 20000, "messages of the row with one next hop; 0: without it")
	f.IntVar(&o.conns, "conns", 16, "connections that hand them in")
	f.IntVar(&o.queued, "queued", 1_000_000, "recipients of the row of the queue; 0: without it")
	f.BoolVar(&o.json, "json", false, "print JSON instead of the table")
	o.Flags(f, 30*time.Minute)
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if o.conns < 1 || o.messages < 0 || o.queued < 0 || o.queued%perMessage != 0 {
		return nil, fmt.Errorf("-conns %d, -messages %d, -queued %d: at least one connection, no negative numbers, whole thousands of recipients", o.conns, o.messages, o.queued)
	}
	return o, nil
}

func main() {
	o, err := parseOptions(os.Args[1:])
	if err != nil {
		os.Exit(rig.Refuse("outbound", err))
	}
	os.Exit(o.Main("outbound", func(ctx context.Context) error { return run(ctx, o) }))
}

// report is everything that was found out.
type report struct {
	Date    string   `json:"date"`
	Machine string   `json:"machine"`
	Hop     []hop    `json:"one_next_hop,omitempty"`
	Queued  *queued  `json:"queued,omitempty"`
	Notes   []string `json:"notes,omitempty"`
}

func run(ctx context.Context, o *options) error {
	r := &report{
		Date:    time.Now().UTC().Format("2006-01-02 15:04 UTC"),
		Machine: fmt.Sprintf("%d cores, %s", runtime.NumCPU(), runtime.Version()),
	}
	disk, err := proc.DiskOf(o.Dir)
	if err != nil {
		r.Notes = append(r.Notes, fmt.Sprintf("no flush counts: %v", err))
	}
	if o.messages > 0 {
		for _, name := range []string{"breakwater", "postfix"} {
			h, err := oneHop(ctx, o, disk, name)
			if errors.Is(err, peers.ErrMissing) {
				r.Notes = append(r.Notes, fmt.Sprintf("PEER LEFT OUT: %s: %v", name, err))
				continue
			}
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			r.Hop = append(r.Hop, h)
		}
	}
	if o.queued > 0 {
		q, err := millions(ctx, o)
		if err != nil {
			return fmt.Errorf("queued: %w", err)
		}
		r.Queued = &q
	}
	return r.print(o)
}

func (r *report) print(o *options) error {
	if o.json {
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	fmt.Printf("%s, %s\n\n", r.Date, r.Machine)
	if len(r.Hop) > 0 {
		fmt.Println("| one next hop, 4 KB | messages/s | flushes a message | server CPU ms a message | connections to the next hop | memory, MB PSS |")
		fmt.Println("|---|---|---|---|---|---|")
		for _, h := range r.Hop {
			fmt.Printf("| %s | %.0f | %.3f | %.3f | %d | %.0f |\n", h.Name, h.Rate, h.Flushes, h.CPU, h.Conns, h.PSS)
		}
		if len(r.Hop) == 2 {
			fmt.Printf("| ratio | %.2f | %.3f | %.3f | | |\n", r.Hop[0].Rate/r.Hop[1].Rate, r.Hop[0].Flushes/r.Hop[1].Flushes, r.Hop[0].CPU/r.Hop[1].CPU)
		}
		fmt.Println()
	}
	if q := r.Queued; q != nil {
		fmt.Printf("%d recipients queued: taken at %.0f/s; memory %.0f MB PSS before, %.0f MB with them, %.0f MB after the restart; healthy %.1f s after the restart, first message at the next hop after %.1f s\n",
			q.Recipients, q.Rate, q.Before, q.PSS, q.PSSAfter, q.Healthy, q.First)
	}
	for _, n := range r.Notes {
		fmt.Println("note:", strings.TrimSpace(n))
	}
	return nil
}
