package fulltext

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// FoldRune is the simple case folding by which texts are searched: the lower
// case of the upper case, so that the forms of one letter (σ ς Σ, k K K) are
// one. FoldRune(FoldRune(r)) is FoldRune(r).
func FoldRune(r rune) rune {
	if r < utf8.RuneSelf {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}
	return unicode.ToLower(unicode.ToUpper(r))
}

// Fold folds a string rune by rune; octets that are no UTF-8 become U+FFFD.
func Fold(s string) string { return strings.Map(FoldRune, s) }
