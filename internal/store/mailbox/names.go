package mailbox

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Inbox is the name of every account's first mailbox (RFC 9051 §5.1).
const Inbox = "INBOX"

// Separator is the hierarchy separator of mailbox names.
const Separator = "/"

// CleanName gives a name the form in which it is kept: Unicode normalization
// form C (RFC 5198), INBOX in capitals where it is the first level. The error
// wraps ErrName and says what is wrong with it.
func CleanName(name string) (string, error) {
	switch {
	case name == "":
		return "", fmt.Errorf("%w: it is empty", ErrName)
	case len(name) > nameBytesMax:
		return "", fmt.Errorf("%w: it is longer than %d bytes", ErrName, nameBytesMax)
	case !utf8.ValidString(name):
		return "", fmt.Errorf("%w: it is not UTF-8", ErrName)
	}
	for _, r := range name {
		if unicode.IsControl(r) || r == '%' || r == '*' || r == '\u2028' || r == '\u2029' || r == utf8.RuneError {
			return "", fmt.Errorf("%w: it contains %U", ErrName, r) // RFC 9051 §5.1
		}
	}
	levels := strings.Split(norm.NFC.String(name), Separator)
	if len(levels) > depthMax {
		return "", fmt.Errorf("%w: it has more than %d levels", ErrName, depthMax)
	}
	for _, l := range levels {
		switch {
		case l == "":
			return "", fmt.Errorf("%w: it has an empty level", ErrName)
		case len(l) > levelBytesMax:
			return "", fmt.Errorf("%w: it has a level of more than %d bytes", ErrName, levelBytesMax)
		}
	}
	if strings.EqualFold(levels[0], Inbox) {
		levels[0] = Inbox
	}
	name = strings.Join(levels, Separator)
	if len(name) > nameBytesMax { // normalization can lengthen it
		return "", fmt.Errorf("%w: it is longer than %d bytes", ErrName, nameBytesMax)
	}
	return name, nil
}

// superiors yields the names above name, the highest first.
func superiors(name string) []string {
	var up []string
	for i := range len(name) {
		if name[i] == Separator[0] {
			up = append(up, name[:i])
		}
	}
	return up
}

// inferior reports whether name is below top.
func inferior(name, top string) bool {
	return len(name) > len(top) && name[len(top)] == Separator[0] && name[:len(top)] == top
}

// specialUses are the attributes of RFC 6154 §2 that a mailbox can be given.
// \All and \Flagged are views of other mailboxes, which we do not have.
func specialUses() []string {
	return []string{`\Archive`, `\Drafts`, `\Junk`, `\Sent`, `\Trash`}
}

// cleanUse gives a special-use attribute its usual capitals.
func cleanUse(use string) (string, error) {
	if use == "" {
		return "", nil
	}
	i := slices.IndexFunc(specialUses(), func(u string) bool { return strings.EqualFold(u, use) })
	if i < 0 {
		return "", fmt.Errorf("%w: %s", ErrSpecialUse, use)
	}
	return specialUses()[i], nil
}
