package tidy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// DAG says which package may import which. It is written in the notation of
// Go's own internal/dag, a list of rules that each end in a semicolon:
//
//	a, b < c, d;   c and d may import a and b, and whatever those may
//	a < b < c;     the same as a < b; b < c;
//	a !< b;        b must not be able to import a by any chain of the rules
//
// NONE stands for nothing on the left of a rule. A name in capitals is a
// label for a set, and no package. A # begins a comment.
type DAG struct {
	below map[string]map[string]bool // everything a name may import, labels too
	names []string                   // in the order in which they first appear
}

// ParseDAG reads rules. A name must stand on the right of a rule before it
// may stand on the left of one, so the text reads from the bottom up and
// cannot have a cycle.
func ParseDAG(text string) (*DAG, error) {
	d := &DAG{below: map[string]map[string]bool{}}
	type wall struct {
		left, right string
		rule        string
	}
	var walls []wall
	for rule := range strings.SplitSeq(stripComments(text), ";") {
		rule = strings.Join(strings.Fields(rule), " ")
		if rule == "" {
			continue
		}
		lists, ops, err := splitRule(rule)
		if err != nil {
			return nil, err
		}
		for i, op := range ops {
			if op == "!<" {
				for _, l := range lists[i] {
					for _, r := range lists[i+1] {
						walls = append(walls, wall{l, r, rule})
					}
				}
				continue
			}
			if err := d.allow(lists[i], lists[i+1], rule); err != nil {
				return nil, err
			}
		}
	}
	for _, w := range walls {
		for _, name := range []string{w.left, w.right} {
			if _, ok := d.below[name]; !ok {
				return nil, fmt.Errorf("rule %q: %q is in no other rule", w.rule, name)
			}
		}
		if d.below[w.right][w.left] {
			return nil, fmt.Errorf("rule %q: the rules let %q import %q", w.rule, w.right, w.left)
		}
	}
	return d, nil
}

func stripComments(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		b.WriteString(strings.TrimRight(line, "\n") + "\n")
	}
	return b.String()
}

// splitRule parts `a, b < c` into its lists and the signs between them.
func splitRule(rule string) (lists [][]string, ops []string, err error) {
	rest := rule
	for {
		at := strings.IndexByte(rest, '<')
		list, op := rest, ""
		if at >= 0 {
			list, op = rest[:at], "<"
			if strings.HasSuffix(list, "!") {
				list, op = list[:len(list)-1], "!<"
			}
		}
		var names []string
		for name := range strings.SplitSeq(list, ",") {
			name = strings.TrimSpace(name)
			if name == "" || strings.ContainsAny(name, " !") {
				return nil, nil, fmt.Errorf("rule %q: %q is no name", rule, name)
			}
			names = append(names, name)
		}
		lists = append(lists, names)
		if op == "" {
			break
		}
		ops = append(ops, op)
		rest = rest[at+1:]
	}
	if len(ops) == 0 {
		return nil, nil, fmt.Errorf("rule %q: there is no < in it", rule)
	}
	return lists, ops, nil
}

// allow lets each name on the right import each on the left, and what those may.
func (d *DAG) allow(left, right []string, rule string) error {
	for _, l := range left {
		if _, ok := d.below[l]; !ok && l != "NONE" {
			return fmt.Errorf("rule %q: %q has to stand on the right of a rule above first", rule, l)
		}
	}
	for _, r := range right {
		if r == "NONE" {
			return fmt.Errorf("rule %q: NONE can only stand on the left", rule)
		}
		if slices.Contains(left, r) || slices.ContainsFunc(left, func(l string) bool { return d.below[l][r] }) {
			return fmt.Errorf("rule %q: %q would import itself", rule, r)
		}
		// What r may import now must reach those above r too, so that no
		// order of rules changes their meaning.
		if _, ok := d.below[r]; !ok {
			d.below[r] = map[string]bool{}
			d.names = append(d.names, r)
		}
		for _, l := range left {
			if l == "NONE" {
				continue
			}
			for name, set := range d.below {
				if name == r || set[r] {
					set[l] = true
					maps.Copy(set, d.below[l])
				}
			}
		}
	}
	return nil
}

// Allows tells whether from may import to.
func (d *DAG) Allows(from, to string) bool { return d.below[from][to] }

// Packages lists the names that are no labels.
func (d *DAG) Packages() []string {
	var out []string
	for _, n := range d.names {
		if strings.ToUpper(n) != n {
			out = append(out, n)
		}
	}
	return out
}
