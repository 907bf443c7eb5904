package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/breakwater-mail/breakwater/bench/peers"
	"github.com/breakwater-mail/breakwater/bench/rig"
	"github.com/breakwater-mail/breakwater/internal/ops/load"
)

// domain is what all servers take mail for: the demo's.
const domain = "demo.test"

// options are the command line.
type options struct {
	rig.Rig
	servers   []string
	factor    float64
	speed     float64
	hold      time.Duration
	quit      float64
	processes int
	json      string
	markdown  string
}

func parseOptions(args []string) (*options, error) {
	o := &options{}
	var servers string
	f := flag.NewFlagSet("wave", flag.ContinueOnError)
	f.StringVar(&servers, "servers", "breakwater,postscreen,courier", "which servers, by comma")
	f.Float64Var(&o.factor, "factor", 60, "times the connections of 2009")
	f.Float64Var(&o.speed, "speed", 1, "times as fast")
	f.DurationVar(&o.hold, "hold", 10*time.Second, "how long the last level stays, so that the last to come are answered")
	f.Float64Var(&o.quit, "quit", 0, "share of strangers that QUIT after their refusal")
	f.IntVar(&o.processes, "processes", 3000, "processes at most, where a connection costs one")
	f.StringVar(&o.json, "json", "", "also write the results to this `file`; - is standard output, instead of the table")
	f.StringVar(&o.markdown, "markdown", "", "also write the table to this `file`")
	o.Flags(f, time.Hour)
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	o.servers = strings.Split(servers, ",")
	for _, s := range o.servers {
		if !slices.Contains([]string{"breakwater", "postscreen", "courier"}, s) {
			return nil, fmt.Errorf("-servers: no server named %q", s)
		}
	}
	if o.processes < 1 {
		return nil, fmt.Errorf("-processes: %d", o.processes)
	}
	return o, nil
}

func main() {
	o, err := parseOptions(os.Args[1:])
	if err != nil {
		os.Exit(rig.Refuse("wave", err))
	}
	o.Fence = true // the servers have fixed ports
	os.Exit(o.Main("wave", func(ctx context.Context) error { return run(ctx, o) }))
}

// run plays the wave against one server after the other.
func run(ctx context.Context, o *options) error {
	raiseLimit()
	dns, err := startDNSBL(ctx, o)
	if err != nil {
		return err
	}
	r := newReport(o)
	for _, name := range o.servers {
		if ctx.Err() != nil {
			r.note("ended before %s: %v", name, context.Cause(ctx))
			break
		}
		result, err := turn(ctx, o, r, dns, name)
		if errors.Is(err, peers.ErrMissing) {
			r.note("PEER LEFT OUT: %s: %v", name, err)
			fmt.Fprintf(os.Stderr, "PEER LEFT OUT: %s: %v\n", name, err)
			continue
		}
		if err != nil {
			r.note("FAILED: %s: %v", name, err)
			fmt.Fprintf(os.Stderr, "FAILED: %s: %v\n", name, err)
			continue
		}
		r.Results = append(r.Results, row{name, result})
	}
	if err := dns.Stop(); err != nil {
		r.note("rbldnsd: %v", err)
	}
	if err := r.write(o, os.Stdout); err != nil {
		return err
	}
	if len(r.Results) == 0 {
		return errors.New("the wave was played against no server")
	}
	return nil
}

func startDNSBL(ctx context.Context, o *options) (*peers.DNSBL, error) {
	dir := filepath.Join(o.Dir, "dns")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return peers.StartDNSBL(ctx, dir)
}

// raiseLimit gives what we start as many descriptors as may be had.
func raiseLimit() {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) == nil {
		l.Cur = l.Max
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l) // the wave itself says when it is too low
	}
}

// turn starts a server, plays the wave and stops the server.
func turn(ctx context.Context, o *options, r *report, dns *peers.DNSBL, name string) (*load.Result, error) {
	dir := filepath.Join(o.Dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	s, err := start(ctx, o, r, dns, name, dir)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(os.Stderr, "%s at %s: the wave × %g, speed × %g\n", name, s.SMTP, o.factor, o.speed)
	result, err := play(ctx, o, s, dir)
	return result, errors.Join(err, s.Stop())
}

func start(ctx context.Context, o *options, r *report, dns *peers.DNSBL, name, dir string) (*peers.Server, error) {
	w := peers.Wall{Domain: domain, Zone: dns.Zone, Processes: o.processes}
	switch name {
	case "breakwater":
		return peers.StartDemo(ctx, peers.Bin(o.Bin), dir, dns)
	case "postscreen":
		return peers.StartPostscreen(ctx, dir, w)
	default:
		// A process of Courier and its share of the kernel.
		const each = 1200 << 10
		if carries := int(freeMemory() / 2 / each); carries < w.Processes {
			r.note("%s: %d processes instead of %d, since more do not fit into half of the free memory", name, carries, w.Processes)
			w.Processes = max(1, carries)
		}
		return peers.StartCourier(ctx, dir, w)
	}
}

// freeMemory is what the kernel says may still be had, in bytes.
func freeMemory() int64 {
	info, _ := os.ReadFile("/proc/meminfo")
	for line := range strings.Lines(string(info)) {
		if rest, ok := strings.CutPrefix(line, "MemAvailable:"); ok {
			kb, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kb << 10
		}
	}
	return 0
}

// play runs the wave as an operator would.
func play(ctx context.Context, o *options, s *peers.Server, dir string) (*load.Result, error) {
	args := []string{"load", "wave", "--to", s.SMTP, "--rcpt", s.User(0), "--json", "--svg", filepath.Join(dir, "wave.svg"),
		"--factor", fmt.Sprint(o.factor), "--speed", fmt.Sprint(o.speed), "--hold", o.hold.String(), "--quit", fmt.Sprint(o.quit)}
	for _, pid := range s.Pids() {
		args = append(args, "--pid", strconv.Itoa(pid))
	}
	cmd := exec.CommandContext(ctx, o.Bin, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, io.Writer(os.Stderr)
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("load wave: %w", err)
	}
	var r load.Result
	if err := json.Unmarshal([]byte(out.String()), &r); err != nil {
		return nil, fmt.Errorf("load wave: %w", err)
	}
	return &r, nil
}
