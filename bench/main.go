package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/breakwater-mail/breakwater/bench/peers"
	"github.com/breakwater-mail/breakwater/bench/proc"
	"github.com/breakwater-mail/breakwater/bench/rig"
)

// options are the command line.
type options struct {
	rig.Rig
	rows     *regexp.Regexp
	servers  []string
	duration time.Duration
	sizes    []int
	idle     int
	json     string
	markdown string
	list     bool
}

func parseOptions(args []string) (*options, error) {
	o := &options{}
	var rows, servers, sizes string
	var quick bool
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.StringVar(&rows, "rows", "", "only rows whose names match this `regexp`")
	f.StringVar(&servers, "servers", "breakwater,maildir,mdbox", "which hosts, by comma")
	f.StringVar(&sizes, "sizes", "10000,100000", "mailbox sizes of the reading rows, by comma")
	f.DurationVar(&o.duration, "duration", 8*time.Second, "how long each delivery row sends")
	f.IntVar(&o.idle, "idle", 1000, "IDLE sessions of the memory row")
	f.StringVar(&o.json, "json", "", "also write the results to this `file`")
	f.StringVar(&o.markdown, "markdown", "", "also write the table to this `file`")
	f.BoolVar(&o.list, "list", false, "print the names of the rows and end")
	f.BoolVar(&quick, "quick", false, "small sizes: a test of the bench, not a measurement")
	o.Flags(f, 85*time.Minute)
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if quick {
		o.duration, o.idle, sizes = time.Second, 20, "1000"
	}
	var err error
	if o.rows, err = regexp.Compile(rows); err != nil {
		return nil, fmt.Errorf("-rows: %w", err)
	}
	o.servers = strings.Split(servers, ",")
	for _, s := range strings.Split(sizes, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < changeCount {
			return nil, fmt.Errorf("-sizes: %q is no number of %d or more", s, changeCount)
		}
		o.sizes = append(o.sizes, n)
	}
	return o, nil
}

func main() {
	o, err := parseOptions(os.Args[1:])
	if err != nil {
		os.Exit(rig.Refuse("bench", err))
	}
	if o.list {
		for _, r := range allRows(o) {
			fmt.Println(r.name)
		}
		return
	}
	o.NoBuild = !has(o.servers, "breakwater")
	os.Exit(o.Main("bench", func(ctx context.Context) error { return run(ctx, o) }))
}

func has(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// run starts the hosts, measures the rows and reports.
func run(ctx context.Context, o *options) error {
	b := &bench{o: o, out: os.Stderr, report: newReport(), content: newContent()}
	disk, err := proc.DiskOf(o.Dir)
	if err != nil {
		b.report.note("no flush and byte counts: %v", err)
	}
	b.disk = disk
	defer b.stopAll()
	if err := b.startAll(ctx); err != nil {
		return err
	}
	for _, r := range allRows(o) {
		if !o.rows.MatchString(r.name) {
			continue
		}
		if ctx.Err() != nil {
			b.report.note("ended before the row %q: %v", r.name, context.Cause(ctx))
			break
		}
		b.measure(ctx, r)
		if err := b.report.write(o); err != nil {
			return err
		}
	}
	b.report.markdown(os.Stdout)
	if len(b.report.Results) == 0 {
		return errors.New("no row was measured")
	}
	return nil
}

// bench is one run.
type bench struct {
	o       *options
	out     io.Writer // progress
	disk    *proc.Disk
	servers []*host
	report  *report
	content *content
	users   int // handed out so far
}

// host is a server under measurement with the state that rows keep on it.
type host struct {
	*peers.Server
	key  string // short name: breakwater, maildir, mdbox
	mail map[int]*reading
}

func (b *bench) startAll(ctx context.Context) error {
	for _, name := range b.o.servers {
		dir := filepath.Join(b.o.Dir, name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		s, err := start(ctx, name, dir, peers.Bin(b.o.Bin))
		if errors.Is(err, peers.ErrMissing) {
			b.report.note("PEER LEFT OUT: %s: %v", name, err)
			fmt.Fprintf(b.out, "PEER LEFT OUT: %s: %v\n", name, err)
			continue
		}
		if err != nil {
			return err
		}
		b.servers = append(b.servers, &host{Server: s, key: name, mail: map[int]*reading{}})
		fmt.Fprintf(b.out, "started %s\n", s.Name)
	}
	if len(b.servers) == 0 {
		return errors.New("no host to measure")
	}
	return nil
}

// benchConfig lifts what would refuse the load of one address and one user.
const benchConfig = "[imap]\nmax_per_user = 5000\n\n[log]\nlevel = \"warn\"\n"

func start(ctx context.Context, name, dir string, bin peers.Bin) (*peers.Server, error) {
	switch name {
	case "breakwater":
		b, err := peers.NewBreakwater(ctx, bin, dir, benchConfig)
		if err != nil {
			return nil, err
		}
		return &b.Server, b.Start(ctx)
	case "maildir", "mdbox":
		return peers.StartPostfix(ctx, dir, peers.Format(name))
	}
	return nil, fmt.Errorf("-servers: no host named %q", name)
}

func (b *bench) stopAll() {
	for _, h := range b.servers {
		if err := h.Stop(); err != nil {
			fmt.Fprintln(b.out, "stop:", err)
		}
	}
}

// nextUsers hands out n users that no row has used; the same numbers on every
// host.
func (b *bench) nextUsers(ctx context.Context, n int) ([]int, error) {
	users := make([]int, n)
	for i := range users {
		users[i] = b.users
		b.users++
	}
	for _, h := range b.servers {
		if err := h.Provision(ctx, b.users); err != nil {
			return nil, err
		}
	}
	return users, nil
}

// measure runs one row on every host.
func (b *bench) measure(ctx context.Context, r row) {
	users, err := b.nextUsers(ctx, r.users)
	if err != nil {
		b.report.note("%s: %v", r.name, err)
		return
	}
	for _, h := range b.servers {
		fmt.Fprintf(b.out, "%s: %s … ", r.name, h.Name)
		began := time.Now()
		values, err := r.run(ctx, b, h, users)
		for _, name := range valueNames(values) {
			b.report.add(r, name, h.key, values[name])
		}
		if err != nil {
			b.report.note("%s: %s: %v", r.name, h.Name, err)
			fmt.Fprintf(b.out, "failed: %v\n", err)
			continue
		}
		fmt.Fprintf(b.out, "%s (%.1fs)\n", brief(r, values), time.Since(began).Seconds())
	}
}
