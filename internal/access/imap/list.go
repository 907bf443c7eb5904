package imap

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/breakwater-mail/breakwater/internal/access/imap/command"
	"github.com/breakwater-mail/breakwater/internal/access/imap/wire"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

// list answers LIST (RFC 9051 §6.3.9, RFC 5258, RFC 5819, RFC 6154).
func (s *session) list(ctx context.Context, v command.List) answer {
	if !v.Extended && v.Patterns[0] == "" {
		// RFC 9051 §6.3.9: this asks for the delimiter.
		s.line(`LIST (\Noselect) "/" ""`)
		return ok("LIST completed")
	}
	patterns, a, valid := s.patterns(v.Reference, v.Patterns)
	if !valid {
		return a
	}
	lctx, cancel := changeCtx(ctx)
	defer cancel()
	infos, err := s.srv.boxes.List(lctx, s.account())
	if err != nil {
		return s.failed("LIST", err)
	}
	l := lister{v: v, patterns: patterns, infos: infos}
	for _, row := range l.rows() {
		s.link.put(row.appendRow(s.link.buf(), "LIST", s.utf8))
		if v.Return&command.ReturnStatus == 0 || !row.info.Exists {
			continue
		}
		err := s.writeStatus(lctx, row.info, v.Status)
		if err != nil && !errors.Is(err, mailbox.ErrNoSuchMailbox) {
			return s.failed("LIST", err)
		}
	}
	return ok("LIST completed")
}

// lsub answers LSUB (RFC 3501 §6.3.9).
func (s *session) lsub(ctx context.Context, v command.Lsub) answer {
	patterns, a, valid := s.patterns(v.Reference, []string{v.Pattern})
	if !valid {
		return a
	}
	lctx, cancel := changeCtx(ctx)
	defer cancel()
	infos, err := s.srv.boxes.List(lctx, s.account())
	if err != nil {
		return s.failed("LSUB", err)
	}
	for _, row := range lsubRows(infos, patterns) {
		s.link.put(row.appendRow(s.link.buf(), "LSUB", s.utf8))
	}
	return ok("LSUB completed")
}

// patterns gives patterns in UTF-8, behind their reference.
func (s *session) patterns(reference string, raw []string) ([]string, answer, bool) {
	ref, valid := s.decodeName(reference)
	if !valid || len(ref) > mailboxNameMax || len(raw) > patternsMax {
		return nil, no("CANNOT", "Reference or patterns cannot be used"), false
	}
	out := make([]string, len(raw))
	for i, r := range raw {
		p, valid := s.decodeName(r)
		if !valid || len(p) > patternMax {
			return nil, no("CANNOT", "Pattern cannot be used"), false
		}
		out[i] = canonical(ref + p)
	}
	return out, answer{}, true
}

// listRow is one LIST or LSUB response.
type listRow struct {
	info  mailbox.Info
	attrs []string
	child []string // CHILDINFO (RFC 5258 §3.5)
}

func (r listRow) appendRow(b []byte, name string, utf8 bool) []byte {
	b = append(b, "* "...)
	b = append(b, name...)
	b = append(b, ' ')
	b = wire.AppendFlags(b, r.attrs)
	b = append(b, ` "/" `...)
	b = wire.AppendMailbox(b, r.info.Name, utf8)
	if len(r.child) > 0 {
		b = append(b, ` ("CHILDINFO" (`...)
		for i, c := range r.child {
			if i > 0 {
				b = append(b, ' ')
			}
			b = wire.AppendString(b, c, false)
		}
		b = append(b, "))"...)
	}
	return append(b, '\r', '\n')
}

// lister works out what a LIST returns.
type lister struct {
	v        command.List
	patterns []string
	infos    []mailbox.Info
}

func (l *lister) rows() []listRow {
	l.infos = withParents(l.infos)
	var rows []listRow
	for i, info := range l.infos {
		if !matchAny(l.patterns, info.Name) {
			continue
		}
		row := listRow{info: info}
		selected := l.selects(info)
		if l.v.Select&command.SelectRecursiveMatch != 0 {
			row.child = l.childInfo(i)
		}
		// RFC 9051 §6.3.9: levels that are no mailboxes are returned if there
		// is one below them.
		level := l.v.Select == 0 && !info.Exists && slices.ContainsFunc(l.below(i), exists)
		if !selected && len(row.child) == 0 && !level {
			continue
		}
		row.attrs = l.attributes(i)
		rows = append(rows, row)
	}
	return rows
}

// selects says whether a name meets the selection options by itself.
func (l *lister) selects(info mailbox.Info) bool {
	sel := l.v.Select
	if sel&command.SelectSpecialUse != 0 && info.SpecialUse == "" {
		return false
	}
	if sel&command.SelectSubscribed != 0 {
		return info.Subscribed
	}
	return info.Exists
}

// childInfo names the options that something below infos[i] meets, where that
// is not returned by itself.
func (l *lister) childInfo(i int) []string {
	for _, below := range l.below(i) {
		if !l.selects(below) || matchAny(l.patterns, below.Name) {
			continue
		}
		var names []string
		if l.v.Select&command.SelectSubscribed != 0 {
			names = append(names, "SUBSCRIBED")
		}
		if l.v.Select&command.SelectSpecialUse != 0 {
			names = append(names, "SPECIAL-USE")
		}
		return names
	}
	return nil
}

// below gives the names under infos[i], which follow it in the order of
// compareNames.
func (l *lister) below(i int) []mailbox.Info {
	prefix := l.infos[i].Name + "/"
	n := i + 1
	for n < len(l.infos) && strings.HasPrefix(l.infos[n].Name, prefix) {
		n++
	}
	return l.infos[i+1 : n]
}

func (l *lister) attributes(i int) []string {
	info := l.infos[i]
	var attrs []string
	if !info.Exists {
		attrs = append(attrs, `\NonExistent`, `\Noselect`) // the latter for rev1
	}
	if slices.ContainsFunc(l.below(i), exists) {
		attrs = append(attrs, `\HasChildren`)
	} else {
		attrs = append(attrs, `\HasNoChildren`)
	}
	if info.Subscribed && (l.v.Select&command.SelectSubscribed != 0 || l.v.Return&command.ReturnSubscribed != 0) {
		attrs = append(attrs, `\Subscribed`)
	}
	if info.SpecialUse != "" {
		attrs = append(attrs, info.SpecialUse)
	}
	return attrs
}

func exists(info mailbox.Info) bool { return info.Exists }

// withParents gives the names in the order of compareNames, with the levels
// above them that are no names themselves.
func withParents(infos []mailbox.Info) []mailbox.Info {
	known := make(map[string]bool, len(infos))
	for _, info := range infos {
		known[info.Name] = true
	}
	for _, info := range infos {
		for up := parent(info.Name); up != "" && !known[up]; up = parent(up) {
			known[up] = true
			infos = append(infos, mailbox.Info{Name: up})
		}
	}
	slices.SortFunc(infos, func(a, b mailbox.Info) int { return compareNames(a.Name, b.Name) })
	return infos
}

// compareNames orders names so that what is below a name follows it at once.
func compareNames(a, b string) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			switch {
			case a[i] == '/':
				return -1
			case b[i] == '/':
				return 1
			}
			return int(a[i]) - int(b[i])
		}
	}
	return len(a) - len(b)
}

// lsubRows gives the subscribed names. With "%" a name whose inferior is
// subscribed is returned too, as \Noselect, if it is not subscribed itself
// (RFC 3501 §6.3.9).
func lsubRows(infos []mailbox.Info, patterns []string) []listRow {
	rows := map[string]listRow{}
	for _, info := range infos {
		if !info.Subscribed {
			continue
		}
		if matchAny(patterns, info.Name) {
			row := listRow{info: info}
			if !info.Exists {
				row.attrs = []string{`\Noselect`}
			}
			rows[info.Name] = row
			continue
		}
		for up := parent(info.Name); up != ""; up = parent(up) {
			if _, there := rows[up]; !there && matchAny(patterns, up) {
				rows[up] = listRow{info: mailbox.Info{Name: up}, attrs: []string{`\Noselect`}}
			}
		}
	}
	out := make([]listRow, 0, len(rows))
	for _, row := range rows {
		out = append(out, row)
	}
	slices.SortFunc(out, func(a, b listRow) int { return compareNames(a.info.Name, b.info.Name) })
	return out
}

func parent(name string) string {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return ""
	}
	return name[:i]
}

func matchAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		return match(p, name) || name == "INBOX" && match(strings.ToUpper(p), name)
	})
}

// match says whether name fits pattern: "*" is anything, "%" anything without
// a delimiter. It takes time pattern × name whatever the pattern.
func match(pattern, name string) bool {
	// reached[i]: the pattern so far fits name[:i].
	reached := make([]bool, len(name)+1)
	reached[0] = true
	for i := range len(pattern) {
		switch c := pattern[i]; c {
		case '*', '%':
			for j := 1; j <= len(name); j++ {
				if reached[j-1] && (c == '*' || name[j-1] != '/') {
					reached[j] = true
				}
			}
		default:
			for j := len(name); j > 0; j-- {
				reached[j] = reached[j-1] && name[j-1] == c
			}
			reached[0] = false
		}
	}
	return reached[len(name)]
}
