package rig

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/breakwater-mail/breakwater/bench/peers"
	"github.com/breakwater-mail/breakwater/bench/proc"
)

// dirKey carries the folder's path into the fence.
const dirKey = "BREAKWATER_RIG_DIR"

// Rig is the part of a program's options that all programs have.
type Rig struct {
	Dir     string // of all data; whole and there once the rows run
	Bin     string // the breakwater program
	Keep    bool
	Timeout time.Duration

	NoBuild bool // Bin is not needed
	Fence   bool // without namespaces of its own nothing can be measured
}

// Flags adds the common flags; timeout is the default of -timeout.
func (r *Rig) Flags(f *flag.FlagSet, timeout time.Duration) {
	f.StringVar(&r.Dir, "dir", "", "where the servers keep their data (default: a temporary `folder`, removed at the end)")
	f.StringVar(&r.Bin, "bin", "", "breakwater program (default: built from this tree)")
	f.BoolVar(&r.Keep, "keep", false, "leave the data where it is")
	f.DurationVar(&r.Timeout, "timeout", timeout, "end the whole run after this")
}

// Refuse says what is wrong with a program's flags, unless they asked for help,
// and gives its exit status.
func Refuse(name string, err error) int {
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
	return 2
}

// Main measures inside the fence, and gives the program's exit status.
func (r *Rig) Main(name string, run func(context.Context) error) int {
	status, err := r.measure(name, run)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
	}
	return status
}

func (r *Rig) measure(name string, run func(context.Context) error) (int, error) {
	if err := r.prepare(); err != nil {
		return 1, err
	}
	status, ran, err := proc.Isolate()
	switch {
	case ran:
		if !r.Keep {
			os.RemoveAll(r.Dir)
		}
		return status, nil
	case err != nil && r.Fence:
		return 1, fmt.Errorf("not in namespaces of its own: %w", err)
	case err != nil:
		fmt.Fprintf(os.Stderr, "%s: not in namespaces of its own: %v\n", name, err)
	}
	if !r.Keep {
		defer os.RemoveAll(r.Dir)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	if err := run(ctx); err != nil {
		return 1, err
	}
	return 0, nil
}

// prepare makes the folder and compiles Breakwater, or finds both inside.
func (r *Rig) prepare() error {
	build := !r.NoBuild && r.Bin == ""
	if dir := os.Getenv(dirKey); dir != "" {
		r.Dir, build = dir, false
	} else {
		if r.Dir == "" {
			dir, err := os.MkdirTemp("", "breakwater-bench-")
			if err != nil {
				return err
			}
			r.Dir = dir
		}
		abs, err := filepath.Abs(r.Dir)
		if err != nil {
			return err
		}
		r.Dir = abs
		// Servers run as users of their own.
		if err := errors.Join(os.MkdirAll(r.Dir, 0o755), os.Chmod(r.Dir, 0o755), os.Setenv(dirKey, r.Dir)); err != nil {
			return err
		}
	}
	if build {
		if _, err := peers.Build(context.Background(), filepath.Join(r.Dir, "bin")); err != nil {
			return err
		}
	}
	if r.Bin == "" {
		r.Bin = filepath.Join(r.Dir, "bin", "breakwater")
	}
	return nil
}
