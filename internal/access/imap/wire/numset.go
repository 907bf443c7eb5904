package wire

import (
	"fmt"
	"math"
	"slices"
	"strconv"
)

// SetRangesMax bounds the ranges of one set. It is what fits into a command
// line of 64 KB, so no set that arrives whole is refused by it.
const SetRangesMax = 32 << 10

// Star stands for "*", the largest number in use (RFC 9051 §9 seq-number).
const Star = 0

// Range is a range of sequence numbers or UIDs as it was written: either end
// may be Star, and First may be above Last.
type Range struct{ First, Last uint32 }

// Set is a sequence set. The zero value is no valid set.
type Set struct {
	Saved  bool // "$", the result of the last SEARCH with SAVE (RFC 5182)
	Ranges []Range
}

// ParseSet reads a whole sequence set.
func ParseSet(b []byte) (Set, error) {
	s := NewScanner(b)
	set := s.Set()
	if s.err == nil && s.pos != len(b) {
		s.Fail("the end of the set")
	}
	if s.err != nil {
		return Set{}, s.err
	}
	return set, nil
}

// Set reads a sequence set or "$".
func (s *Scanner) Set() Set {
	if s.Try('$') {
		return Set{Saved: true}
	}
	var set Set
	for s.err == nil {
		if len(set.Ranges) == SetRangesMax {
			s.Fail(fmt.Sprintf("at most %d ranges in a set", SetRangesMax))
			break
		}
		r := Range{First: s.seqNumber()}
		r.Last = r.First
		if s.Try(':') {
			r.Last = s.seqNumber()
		}
		set.Ranges = append(set.Ranges, r)
		if !s.Try(',') {
			break
		}
	}
	if s.err != nil {
		return Set{}
	}
	return set
}

func (s *Scanner) seqNumber() uint32 {
	if s.Try('*') {
		return Star
	}
	return s.NonZero()
}

// Resolve gives the set's numbers as sorted, disjoint, non-adjacent ranges
// with First ≤ Last, where largest takes the place of "*". With largest 0
// (nothing is in use) a range that names "*" stays what its other end says,
// and "*" alone is dropped.
func (set Set) Resolve(largest uint32) []Range {
	out := make([]Range, 0, len(set.Ranges))
	for _, r := range set.Ranges {
		if r.First == Star {
			r.First = largest
		}
		if r.Last == Star {
			r.Last = largest
		}
		if r.First > r.Last {
			r.First, r.Last = r.Last, r.First
		}
		if r.Last == 0 {
			continue
		}
		out = append(out, Range{max(r.First, 1), r.Last})
	}
	return Merge(out)
}

// Merge sorts ranges whose First ≤ Last in place and joins those that overlap
// or touch.
func Merge(rs []Range) []Range {
	slices.SortFunc(rs, func(a, b Range) int {
		if a.First != b.First {
			if a.First < b.First {
				return -1
			}
			return 1
		}
		return 0
	})
	n := 0
	for _, r := range rs {
		if n > 0 && (rs[n-1].Last == math.MaxUint32 || r.First <= rs[n-1].Last+1) {
			rs[n-1].Last = max(rs[n-1].Last, r.Last)
			continue
		}
		rs[n] = r
		n++
	}
	return rs[:n]
}

// Contains says whether sorted, disjoint ranges hold n.
func Contains(rs []Range, n uint32) bool {
	_, ok := slices.BinarySearchFunc(rs, n, func(r Range, n uint32) int {
		switch {
		case r.Last < n:
			return -1
		case r.First > n:
			return 1
		}
		return 0
	})
	return ok
}

// AppendSet prints the set as it was written.
func AppendSet(dst []byte, set Set) []byte {
	if set.Saved {
		return append(dst, '$')
	}
	for i, r := range set.Ranges {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendSeqNumber(dst, r.First)
		if r.Last != r.First {
			dst = append(dst, ':')
			dst = appendSeqNumber(dst, r.Last)
		}
	}
	return dst
}

func appendSeqNumber(dst []byte, n uint32) []byte {
	if n == Star {
		return append(dst, '*')
	}
	return strconv.AppendUint(dst, uint64(n), 10)
}

// AppendNumbers prints sorted numbers without repetition as the shortest set,
// "1:3,5".
func AppendNumbers(dst []byte, ns []uint32) []byte {
	for i := 0; i < len(ns); {
		j := i
		for j+1 < len(ns) && ns[j+1] == ns[j]+1 {
			j++
		}
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendUint(dst, uint64(ns[i]), 10)
		if j > i {
			dst = append(dst, ':')
			dst = strconv.AppendUint(dst, uint64(ns[j]), 10)
		}
		i = j + 1
	}
	return dst
}
