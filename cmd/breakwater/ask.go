package main

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"text/tabwriter"

	"github.com/breakwater-mail/breakwater/internal/host"
	"github.com/breakwater-mail/breakwater/internal/ops/admin"
)

// ask has a request done by the running host, or by the store itself when no
// host is running.
func (w where) ask(c console, q admin.Request) (admin.Answer, error) {
	cfg, err := w.load()
	if err != nil {
		return admin.Answer{}, err
	}
	a, err := admin.Client{Dir: cfg.Dir}.Do(c.ctx, q)
	if errors.Is(err, admin.ErrNotRunning) {
		a, err = askStore(c.ctx, cfg, q)
	}
	if err != nil {
		return a, err
	}
	if a.Error != "" {
		return a, errors.New(a.Error)
	}
	return a, nil
}

// askHost has a request done by the running host, which alone can: what it is
// about is in the host's memory.
func (w where) askHost(c console, q admin.Request) (admin.Answer, error) {
	cfg, err := w.load()
	if err != nil {
		return admin.Answer{}, err
	}
	a, err := admin.Client{Dir: cfg.Dir}.Do(c.ctx, q)
	switch {
	case errors.Is(err, admin.ErrNotRunning):
		return a, fmt.Errorf("%w (%s): %w", err, cfg.Dir, admin.ErrNoEdge)
	case err == nil && a.Error != "":
		err = errors.New(a.Error)
	}
	return a, err
}

func askStore(ctx context.Context, cfg host.Config, q admin.Request) (admin.Answer, error) {
	s, err := host.OpenStore(ctx, cfg, host.StoreOptions{})
	if err != nil {
		return admin.Answer{}, err
	}
	a := s.Admin().Do(ctx, q)
	return a, s.Close()
}

// table is a list that prints as columns or as JSON.
type table struct {
	JSON bool `help:"Print JSON."`
}

// print writes rows below a heading, or v as JSON.
func (t table) print(c console, v any, heading string, rows [][]string) error {
	if t.JSON {
		if list := reflect.ValueOf(v); list.Kind() == reflect.Slice && list.Len() == 0 {
			v = []struct{}{} // not null: what came from a host has lost the difference
		}
		return printJSON(c, v)
	}
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, heading)
	for _, r := range rows {
		fmt.Fprintln(w, strings.Join(r, "\t"))
	}
	return w.Flush()
}
