package main

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
)

// row is one thing to measure. run gives its values by name; "" is the main one.
type row struct {
	name  string
	unit  string // of the main value
	more  bool   // more of the main value is better
	users int    // that it wants for itself
	goals map[string]goal
	run   func(ctx context.Context, b *bench, h *host, users []int) (map[string]float64, error)
}

// goal is what peers.md asks of Breakwater in a row.
type goal struct {
	factor float64 // of the peer's value; at least or at most, by the row
	of     string  // maildir, mdbox, best (of the peers), or "" for an absolute value
}

// value names beside the main one, and their units.
const (
	accepted = "accepted/s"
	cpu      = "server CPU ms a message"
	flushes  = "flushes a message"
	written  = "bytes written a message byte"
	p50      = "p50 ms"
	p99      = "p99 ms"
	loadCPU  = "load CPU ms a message"
)

// allRows lists the rows in the order in which they are measured.
func allRows(o *options) []row {
	// Memory first: processes that delivered mail a minute ago come and go.
	rows := []row{idleHostRow(), idleSessionsRow(o), noticeRow()}
	rows = append(rows, acceptRows(o)...)
	for _, n := range o.sizes {
		rows = append(rows, readRows(n)...)
	}
	return rows
}

// valueNames gives the names of a row's values in the order of the table.
func valueNames(values map[string]float64) []string {
	order := []string{"", accepted, cpu, flushes, written, p50, p99, loadCPU}
	rank := func(name string) int {
		if i := slices.Index(order, name); i >= 0 {
			return i
		}
		return len(order)
	}
	return slices.SortedFunc(maps.Keys(values), func(a, b string) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), strings.Compare(a, b))
	})
}

// brief gives a row's values for the progress line.
func brief(r row, values map[string]float64) string {
	var parts []string
	for _, name := range valueNames(values) {
		unit := name
		if name == "" {
			unit = r.unit
		}
		parts = append(parts, number(values[name])+" "+unit)
	}
	return strings.Join(parts, ", ")
}
