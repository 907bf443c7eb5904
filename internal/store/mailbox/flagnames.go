package mailbox

import (
	"fmt"
	"slices"
	"strings"
)

// systemFlags are the names of bits 0 to 4.
func systemFlags() [5]string {
	return [5]string{`\Answered`, `\Flagged`, `\Deleted`, `\Seen`, `\Draft`}
}

// splitFlags parts flag names into system flags and keywords. Doubles are
// dropped; names are compared without regard to case (RFC 9051 §2.3.2).
func splitFlags(names []string) (Flags, []string, error) {
	var f Flags
	var keywords []string
next:
	for _, n := range names {
		if strings.HasPrefix(n, `\`) {
			for i, s := range systemFlags() {
				if strings.EqualFold(s, n) {
					f |= 1 << i
					continue next
				}
			}
			return 0, nil, fmt.Errorf("%w: %q", ErrFlag, n)
		}
		if err := checkKeyword(n); err != nil {
			return 0, nil, err
		}
		if !slices.ContainsFunc(keywords, func(k string) bool { return strings.EqualFold(k, n) }) {
			keywords = append(keywords, n)
		}
	}
	if len(keywords) > keywordsMax {
		return 0, nil, fmt.Errorf("keywords: %w", ErrLimit)
	}
	return f, keywords, nil
}

// checkKeyword accepts atoms (RFC 9051 §9, flag-keyword).
func checkKeyword(n string) error {
	if n == "" || len(n) > keywordBytesMax {
		return fmt.Errorf("%w: %q", ErrFlag, n)
	}
	for i := range len(n) {
		if c := n[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`(){%*"\]`, c) >= 0 {
			return fmt.Errorf("%w: %q", ErrFlag, n)
		}
	}
	return nil
}

// keywordNames are a mailbox's keywords; number i has bit firstKeyword+i.
type keywordNames []string

// bit returns the flag of a keyword, 0 if the mailbox does not have it.
func (ks keywordNames) bit(name string) Flags {
	for i, k := range ks {
		if strings.EqualFold(k, name) {
			return 1 << (firstKeyword + i)
		}
	}
	return 0
}

// learn adds keywords that a record defines. The slice may be shared: it is
// copied first. A gap, which only damage can leave, is filled with names that
// nobody uses.
func (ks keywordNames) learn(defs []keyword) keywordNames {
	if len(defs) == 0 {
		return ks
	}
	ks = slices.Clone(ks)
	for _, d := range defs {
		i := int(d.bit) - firstKeyword
		for len(ks) <= i {
			ks = append(ks, fmt.Sprintf("$Lost%d", len(ks)))
		}
		ks[i] = d.name
	}
	return ks
}

// definitions is the inverse of learn.
func (ks keywordNames) definitions() []keyword {
	defs := make([]keyword, len(ks))
	for i, k := range ks {
		defs[i] = keyword{uint8(firstKeyword + i), k}
	}
	return defs
}

// names of the flags that are set.
func (ks keywordNames) names(f Flags) []string {
	var names []string
	for i, s := range systemFlags() {
		if f&(1<<i) != 0 {
			names = append(names, s)
		}
	}
	for i, k := range ks {
		if f&(1<<(firstKeyword+i)) != 0 {
			names = append(names, k)
		}
	}
	return names
}
