package message

import "strings"

// specials end an atom in an address field (RFC 5322 §3.2.3). Others that
// senders use unquoted are taken as part of it.
const specials = "()<>@,;:\". \t[]"

// skipSpace skips white space and comments, keeping the last comment.
func (p *addressParser) skipSpace() bool {
	before := len(p.s)
	for p.s != "" {
		switch p.s[0] {
		case ' ', '\t':
			p.s = p.s[1:]
		case '(':
			n := commentLen(p.s)
			p.comment = p.s[:n]
			p.s = p.s[n:]
		default:
			return len(p.s) < before
		}
	}
	return len(p.s) < before
}

// readWords appends the words up to the next special character to p.words.
func (p *addressParser) readWords() {
	for {
		spaced := p.skipSpace()
		if !p.readWord(spaced) {
			return
		}
	}
}

// readDomainWords is readWords for the domain that begins at p.words[base]: a
// word that no dot joins to the one before it is beyond the domain.
func (p *addressParser) readDomainWords(base int) {
	for {
		rest := p.s
		spaced := p.skipSpace()
		if n := len(p.words); spaced && n > base && !strings.HasPrefix(p.s, ".") && !p.words[n-1].dot {
			p.s = rest
			return
		}
		if !p.readWord(spaced) {
			return
		}
	}
}

// readWord appends the word at the start of p.s to p.words, and reports
// whether there was one.
func (p *addressParser) readWord(spaced bool) bool {
	if p.s == "" {
		return false
	}
	w := word{spaced: spaced}
	n := 1
	switch p.s[0] {
	case '<', '>', '@', ',', ';', ':':
		return false
	case '.':
		w.text, w.dot = ".", true
	case '"':
		w.text, n = p.quoted()
	case '[', ']', ')': // not where they belong: part of a word
		w.text = p.s[:1]
	default:
		if n = encodedWordLen(p.s); n == 0 {
			n = strings.IndexAny(p.s, specials)
		}
		if n < 0 {
			n = len(p.s)
		}
		w.text = p.s[:n]
	}
	p.s = p.s[n:]
	p.words = append(p.words, w)
	return true
}

// maxEncodedWord bounds an RFC 2047 word, in bytes. RFC 2047 §2 says 75; some
// senders write whole subjects as one word.
const maxEncodedWord = 4096

// encodedWordLen is the length of the RFC 2047 word at the start of s, which
// may hold what RFC 2047 §5 forbids in a phrase, a comma say; 0 if none.
func encodedWordLen(s string) int {
	if !strings.HasPrefix(s, "=?") {
		return 0
	}
	w, ok := cutEncodedWord(s[:min(len(s), maxEncodedWord)])
	if !ok || strings.ContainsAny(w.text, " \t<") {
		return 0
	}
	return w.size
}

// quoted returns the quoted string at the start of p.s and its length. Without
// a closing quote the quote is dropped and the rest is as if it were not there.
func (p *addressParser) quoted() (text string, n int) {
	end := -1
	if !p.noQuote {
		end = quoteEnd(p.s)
	}
	if end < 0 {
		p.noQuote = true
		return "", 1
	}
	in := p.s[1:end]
	if strings.IndexByte(in, '\\') < 0 {
		return in, end + 1
	}
	return unescape(in), end + 1
}

// quoteEnd is the index of the quote that closes the string at the start of s.
func quoteEnd(s string) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return -1
}

// unescape removes the backslashes of quoted pairs.
func unescape(s string) string {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b = append(b, s[i])
	}
	return string(b)
}

// cleanName gives a comment without its parentheses, for use as a name.
func cleanName(comment string) string {
	if comment == "" {
		return ""
	}
	s := strings.TrimSuffix(comment[1:], ")")
	if strings.IndexByte(s, '\\') >= 0 {
		s = unescape(s)
	}
	return strings.TrimSpace(s)
}

// phrase joins words as a display name: one space where there was any.
func phrase(words []word) string {
	if len(words) == 1 {
		return strings.TrimSpace(words[0].text)
	}
	var b strings.Builder
	for i, w := range words {
		if w.spaced && i > 0 && b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(w.text)
	}
	return strings.TrimSpace(b.String())
}

// join joins words as a local part or a domain.
func join(words []word) string {
	if len(words) == 1 {
		return words[0].text
	}
	var b strings.Builder
	for _, w := range words {
		b.WriteString(w.text)
	}
	return b.String()
}
