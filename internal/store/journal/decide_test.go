package journal

import (
	"fmt"
	"testing"
)

func TestDecide(t *testing.T) {
	// Each item is one byte long. Good records have an LSN; "durable" is
	// what their header knows.
	good := func(lsn, durable LSN) tailItem {
		return tailItem{lsn: lsn, durable: durable, typ: TypeMessage, good: true}
	}
	bad := func(lsn, durable LSN) tailItem { return tailItem{lsn: lsn, durable: durable} }
	seal := tailItem{lsn: 12, durable: 12, typ: TypeSeal, good: true}
	for _, c := range []struct {
		name    string
		items   []tailItem
		known   LSN
		exact   bool
		end     int64 // items that stay
		kept    int
		damaged int
		last    LSN
	}{
		{"empty", nil, 9, false, 0, 0, 0, 0},
		{"whole", []tailItem{good(10, 9), good(11, 10), good(12, 11)}, 9, false, 3, 1, 0, 12},
		{"one group, nothing known", []tailItem{good(10, 9), good(11, 9)}, 9, false, 2, 2, 0, 11},
		{"torn at the end", []tailItem{good(10, 9), good(11, 10), bad(0, 0)}, 9, false, 2, 1, 0, 11},
		{"torn in the middle of a group", []tailItem{good(10, 9), bad(11, 10), good(12, 10)}, 9, false, 1, 0, 0, 10},
		{"torn from the beginning", []tailItem{bad(0, 0), good(11, 9)}, 9, false, 0, 0, 0, 0},
		{"damage, header lost", []tailItem{good(10, 9), bad(0, 0), good(12, 11)}, 9, false, 3, 1, 1, 12},
		{"damage, header whole", []tailItem{good(10, 9), bad(11, 10), good(12, 11)}, 9, false, 3, 1, 1, 12},
		{"damage of the first", []tailItem{bad(0, 0), good(11, 10)}, 9, false, 2, 1, 1, 11},
		{"damage, then torn", []tailItem{bad(0, 0), good(11, 10), bad(0, 0)}, 9, false, 2, 1, 1, 11},
		{"damage of what a view applied", []tailItem{good(10, 9), bad(0, 0)}, 11, false, 2, 0, 1, 10},
		{"after damage something unknown is missing", []tailItem{good(10, 9), bad(0, 0), good(13, 11)}, 9, false, 2, 0, 1, 10},
		{"stale record of lower LSN", []tailItem{good(10, 9), good(10, 9)}, 9, false, 1, 1, 0, 10},
		{"gap", []tailItem{good(10, 9), good(12, 9)}, 9, false, 1, 1, 0, 10},
		{"seal", []tailItem{good(10, 9), good(11, 10), good(12, 11), seal}, 9, false, 4, 0, 0, 12},
		{"failed: what follows was refused", []tailItem{good(10, 9), good(11, 10), good(12, 11)}, 11, true, 2, 0, 0, 11},
		{"failed while sealing", []tailItem{good(10, 9), good(11, 10), good(12, 11), seal}, 12, true, 3, 0, 0, 12},
		{"failed, nothing was durable", []tailItem{good(10, 9)}, 9, true, 0, 0, 0, 0},
	} {
		for i := range c.items {
			c.items[i].off, c.items[i].end = blockSize+int64(i), blockSize+int64(i)+1
		}
		got := decide(c.items, 10, c.known, c.exact)
		s := fmt.Sprint(got.end-blockSize, len(got.kept), len(got.damaged), got.last)
		if want := fmt.Sprint(c.end, c.kept, c.damaged, c.last); s != want {
			t.Errorf("%s: end, kept, damaged, last = %s, want %s", c.name, s, want)
		}
	}
}
