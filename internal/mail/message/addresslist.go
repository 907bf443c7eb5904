package message

import "strings"

// ParseAddressList parses the value of an address field (From, To, …) into the
// addresses of an ENVELOPE: RFC 5322 §3.4 with all of §4.4 (routes, white
// space and comments anywhere) and whatever else senders write. It never
// fails, keeps the order, and gives at most 10,000 addresses.
func ParseAddressList(value string) []EnvelopeAddress {
	list, _ := appendAddresses(nil, unfold([]byte(value)), maxAddresses)
	return list
}

// appendAddresses parses an unfolded value and appends at most room addresses
// to list; whole is false when there were more.
func appendAddresses(list []EnvelopeAddress, value string, room int) (_ []EnvelopeAddress, whole bool) {
	p := addressParser{s: value, list: list, room: len(list) + room}
	p.parse()
	return p.list, !p.full
}

// addressParser reads words until a special character says what they were.
type addressParser struct {
	s    string // the rest
	list []EnvelopeAddress
	room int // most that list may hold
	full bool

	words   []word
	comment string // the last comment of the current address
	inGroup bool
	noQuote bool // there is no closing quote in the rest
}

// word is an atom or a quoted string of a phrase, a local part or a domain.
type word struct {
	text   string // without quoting
	spaced bool   // white space or a comment before it
	dot    bool   // it is a dot
}

func (p *addressParser) parse() {
	for !p.full {
		p.readWords()
		if p.s == "" {
			break
		}
		c := p.s[0]
		p.s = p.s[1:]
		switch c {
		case ',':
			p.bare()
		case ';':
			p.bare()
			p.endGroup()
		case ':':
			p.startGroup()
		case '<':
			p.angle()
		case '@':
			p.addrSpec()
		default: // a stray >
		}
	}
	p.bare()
	p.endGroup()
}

// add ends an address. One place is kept for the end of a group.
func (p *addressParser) add(a EnvelopeAddress) {
	p.words, p.comment = p.words[:0], ""
	reserve := 0
	if p.inGroup || a.Group() {
		reserve = 1
	}
	if len(p.list)+reserve >= p.room {
		p.full = true
		return
	}
	p.list = append(p.list, a)
}

// bare ends words that no special character followed: "To: joe". A comment
// alone is nobody.
func (p *addressParser) bare() {
	if name := phrase(p.words); name != "" {
		p.add(EnvelopeAddress{Name: cleanName(p.comment), Mailbox: name, Host: MissingHost})
	}
	p.words, p.comment = p.words[:0], ""
}

func (p *addressParser) startGroup() {
	name := ""
	if !p.inGroup {
		name = phrase(p.words)
	}
	if name == "" { // groups do not nest: the colon is part of a name
		p.words = append(p.words, word{text: ":"})
		return
	}
	p.add(EnvelopeAddress{Mailbox: name})
	p.inGroup = !p.full
}

func (p *addressParser) endGroup() {
	if p.inGroup {
		p.inGroup = false
		p.list = append(p.list, EnvelopeAddress{}) // add kept a place for it
	}
}

// addrSpec reads what follows the @ of an address without angle brackets. Its
// local part are the last words without white space between them, around dots
// excepted; what is before them is a name that lacks its brackets.
func (p *addressParser) addrSpec() {
	first := len(p.words)
	for first > 0 {
		first--
		w := p.words[first]
		if w.spaced && first > 0 && !w.dot && !p.words[first-1].dot {
			break
		}
	}
	host := p.domain()
	for strings.HasPrefix(p.s, "@") { // a second @: the last one counts
		p.s = p.s[1:]
		p.words = append(p.words, word{text: "@"}, word{text: host})
		host = p.domain()
	}
	rest := p.s
	if p.skipSpace(); strings.HasPrefix(p.s, "<") { // joe@example.com <joe@example.com>
		p.words = append(p.words, word{text: "@"}, word{text: host})
		return
	}
	p.s = rest
	p.skipSpace()
	a := EnvelopeAddress{Name: phrase(p.words[:first]), Mailbox: join(p.words[first:]), Host: host}
	if a.Name == "" {
		a.Name = cleanName(p.comment)
	}
	p.add(a.complete())
}

// complete fills what is missing, so that a is not taken for a group marker.
func (a EnvelopeAddress) complete() EnvelopeAddress {
	if a.Mailbox == "" {
		a.Mailbox = MissingMailbox
	}
	if a.Host == "" {
		a.Host = MissingHost
	}
	return a
}

// domain reads a dot-atom with white space and comments anywhere, or a domain
// literal, to the next special character or a word too many.
func (p *addressParser) domain() string {
	p.skipSpace()
	if strings.HasPrefix(p.s, "[") {
		return p.literal()
	}
	base := len(p.words)
	p.readDomainWords(base)
	host := join(p.words[base:])
	p.words = p.words[:base]
	return host
}

// literal reads a domain literal, without the white space it may hold.
func (p *addressParser) literal() string {
	end := strings.IndexAny(p.s, "],;>")
	if end < 0 {
		end = len(p.s)
	} else if p.s[end] == ']' {
		end++
	}
	s := p.s[:end]
	p.s = p.s[end:]
	if strings.ContainsAny(s, " \t") {
		s = strings.NewReplacer(" ", "", "\t", "").Replace(s)
	}
	return s
}

// angle reads [route] addr-spec ">" after the "<". What is missing is named;
// an empty <> without a name is nobody.
func (p *addressParser) angle() {
	a := EnvelopeAddress{Name: phrase(p.words)}
	p.words = p.words[:0]
	a.Route = p.route()
	at := false
	for {
		base := len(p.words)
		if p.readWords(); at { // <joe@example.com junk>
			p.words = p.words[:base]
		}
		if p.s == "" || strings.IndexByte(">,;", p.s[0]) >= 0 {
			break
		}
		c := p.s[:1]
		p.s = p.s[1:]
		switch {
		case c != "@": // a colon, a bracket: part of the local part
			p.words = append(p.words, word{text: c})
			continue
		case at: // a second @: the last one counts
			p.words = append(p.words, word{text: "@"}, word{text: a.Host})
		}
		a.Host, at = p.domain(), true
	}
	a.Mailbox = join(p.words)
	p.s = strings.TrimPrefix(p.s, ">")
	p.skipSpace()
	if a.Name == "" && a.Mailbox == "" && a.Host == "" {
		p.words, p.comment = p.words[:0], ""
		return
	}
	if a.Name == "" {
		a.Name = cleanName(p.comment)
	}
	p.add(a.complete())
}

// maxRoute bounds a source route, in bytes: a path of SMTP is at most 256.
const maxRoute = 512

// route reads an obsolete source route "@a,@b:" (RFC 5322 §4.4).
func (p *addressParser) route() string {
	p.skipSpace()
	if !strings.HasPrefix(p.s, "@") && !strings.HasPrefix(p.s, ",") {
		return ""
	}
	end := strings.IndexAny(p.s[:min(len(p.s), maxRoute)], ":>;")
	if end < 0 || p.s[end] != ':' {
		return ""
	}
	var b strings.Builder
	r := addressParser{s: p.s[:end]}
	p.s = p.s[end+1:]
	for r.s != "" {
		c := r.s[0]
		r.s = r.s[1:]
		if c != '@' {
			continue
		}
		if d := r.domain(); d != "" {
			if b.Len() > 0 {
				b.WriteByte(',')
			}
			b.WriteString("@" + d)
		}
	}
	return b.String()
}
