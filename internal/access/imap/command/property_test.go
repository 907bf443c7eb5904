package command

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/breakwater-mail/breakwater/internal/access/imap/wire"
)

// The generators draw every value that Parse can return.

func text(t *rapid.T, label string) string {
	return string(rapid.SliceOfN(rapid.ByteRange(1, 255), 0, 12).Draw(t, label))
}

func ascii(t *rapid.T, label string) string {
	return rapid.StringMatching(`[a-z"\\ ]{0,8}`).Draw(t, label)
}

func word(t *rapid.T, label string) string {
	return rapid.StringMatching(`[A-Z][A-Z0-9=-]{0,8}`).Draw(t, label)
}

func flags(t *rapid.T) []string {
	return rapid.SliceOfN(rapid.StringMatching(`\\?[A-Za-z$]{1,8}`), 0, 4).Draw(t, "flags")
}

func number(t *rapid.T) uint32 { return rapid.Uint32Min(1).Draw(t, "n") }

func numbers(t *rapid.T) wire.Set {
	var set wire.Set
	for range rapid.IntRange(1, 4).Draw(t, "ranges") {
		set.Ranges = append(set.Ranges, wire.Range{First: number(t), Last: number(t)})
	}
	return set
}

func anySet(t *rapid.T) wire.Set {
	if rapid.Bool().Draw(t, "saved") {
		return wire.Set{Saved: true}
	}
	set := numbers(t)
	if rapid.Bool().Draw(t, "star") {
		set.Ranges[0].First = wire.Star
	}
	return set
}

func items(t *rapid.T) []StatusItem {
	return rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) StatusItem {
		return StatusItem(rapid.IntRange(0, int(statusItemsEnd)-1).Draw(t, "item"))
	}), 1, -1, func(i StatusItem) StatusItem { return i }).Draw(t, "items")
}

func section(t *rapid.T, texts bool) Section {
	var sec Section
	for range rapid.IntRange(0, 3).Draw(t, "depth") {
		sec.Part = append(sec.Part, number(t))
	}
	if !texts {
		return sec
	}
	last := int(TextMIME)
	if len(sec.Part) == 0 {
		last--
	}
	sec.Text = Text(rapid.IntRange(0, last).Draw(t, "text"))
	if sec.Text == TextHeaderFields || sec.Text == TextHeaderFieldsNot {
		sec.Fields = []string{text(t, "field"), word(t, "field")}
	}
	return sec
}

func fetchItem(t *rapid.T) FetchItem {
	it := FetchItem{Kind: FetchKind(rapid.IntRange(0, int(fetchKindsEnd)-1).Draw(t, "kind"))}
	switch it.Kind {
	case FetchSection, FetchBinary:
		it.Peek = rapid.Bool().Draw(t, "peek")
		if it.Partial = rapid.Bool().Draw(t, "partial"); it.Partial {
			it.Offset = uint64(rapid.Int64Min(0).Draw(t, "offset"))
			it.Count = uint64(rapid.Int64Min(1).Draw(t, "count"))
		}
		it.Section = section(t, it.Kind == FetchSection)
	case FetchBinarySize:
		it.Section = section(t, false)
	}
	return it
}

func date(t *rapid.T) wire.Date {
	return wire.Date{
		Year: rapid.IntRange(0, 9999).Draw(t, "year"), Month: 1 + 2, Day: rapid.IntRange(1, 31).Draw(t, "day"),
	}
}

func key(t *rapid.T, depth int) Key {
	k := Key{Op: KeyOp(rapid.IntRange(0, int(keyOpsEnd)-1).Draw(t, "op"))}
	if depth == 0 && k.Op <= KeyNot {
		k.Op = KeyAll
	}
	keys := func(n int) {
		for range n {
			k.Keys = append(k.Keys, key(t, depth-1))
		}
	}
	switch k.Op {
	case KeyAnd:
		keys(rapid.IntRange(1, 3).Draw(t, "keys"))
	case KeyOr:
		keys(2)
	case KeyNot:
		keys(1)
	case KeySeq, KeyUID:
		k.Set = anySet(t)
	case KeyKeyword, KeyUnkeyword:
		k.Text = word(t, "keyword")
	case KeyHeader:
		k.Field, k.Text = text(t, "field"), text(t, "text")
	case KeyBcc, KeyBody, KeyCc, KeyFrom, KeySubject, KeyText, KeyTo:
		k.Text = text(t, "text")
	case KeyBefore, KeyOn, KeySince, KeySentBefore, KeySentOn, KeySentSince:
		k.Date = date(t)
	case KeyLarger, KeySmaller, KeyModSeq:
		k.Num = uint64(rapid.Int64Min(0).Draw(t, "num"))
		if k.Op == KeyModSeq && rapid.Bool().Draw(t, "entry") {
			k.Field, k.Text = `/flags/\draft`, "SHARED"
		}
	}
	return k
}

func selectVerb(t *rapid.T) Verb {
	v := Select{Mailbox: text(t, "mailbox"), ReadOnly: rapid.Bool().Draw(t, "ro"), CondStore: rapid.Bool().Draw(t, "cs")}
	if rapid.Bool().Draw(t, "qresync") {
		v.QResync = &QResync{UIDValidity: number(t), ModSeq: uint64(number(t))}
		if rapid.Bool().Draw(t, "known") {
			v.QResync.Known = numbers(t)
		}
		if rapid.Bool().Draw(t, "match") {
			v.QResync.SeqMatch, v.QResync.UIDMatch = numbers(t), numbers(t)
		}
	}
	return v
}

func listVerb(t *rapid.T) Verb {
	v := List{Reference: text(t, "reference"), Patterns: []string{text(t, "pattern")}}
	if v.Extended = rapid.Bool().Draw(t, "extended"); !v.Extended {
		return v
	}
	v.Select = ListSelect(rapid.IntRange(0, 15).Draw(t, "select"))
	if v.Select&(SelectSubscribed|SelectSpecialUse) == 0 {
		v.Select &^= SelectRecursiveMatch
	}
	v.Patterns = append(v.Patterns, text(t, "pattern"))
	v.Return = ListReturn(rapid.IntRange(0, 15).Draw(t, "return"))
	if v.Return&ReturnStatus != 0 {
		v.Status = items(t)
	}
	return v
}

func fetchVerb(t *rapid.T) Verb {
	v := Fetch{UID: rapid.Bool().Draw(t, "uid"), Set: anySet(t)}
	v.Items = rapid.SliceOfN(rapid.Custom(fetchItem), 1, 4).Draw(t, "items")
	if rapid.Bool().Draw(t, "since") {
		v.ChangedSince = uint64(number(t))
		v.Vanished = v.UID && rapid.Bool().Draw(t, "vanished")
	}
	return v
}

func storeVerb(t *rapid.T) Verb {
	v := Store{
		UID: rapid.Bool().Draw(t, "uid"), Set: anySet(t), Op: StoreOp(rapid.IntRange(0, 2).Draw(t, "op")),
		Silent: rapid.Bool().Draw(t, "silent"), Flags: flags(t),
	}
	if v.Conditional = rapid.Bool().Draw(t, "conditional"); v.Conditional {
		v.UnchangedSince = uint64(rapid.Int64Min(0).Draw(t, "unchanged"))
	}
	return v
}

func verb(t *rapid.T) Verb {
	switch rapid.IntRange(0, 17).Draw(t, "verb") {
	case 0:
		return rapid.SampledFrom([]Simple{
			Capability, Noop, Logout, StartTLS, Check, Close, Unselect, Expunge, Namespace, Idle,
		}).Draw(t, "simple")
	case 1:
		v := Authenticate{Mechanism: word(t, "mechanism")}
		if rapid.Bool().Draw(t, "initial") {
			v.Initial = append([]byte{}, text(t, "initial")...)
		}
		return v
	case 2:
		return Login{User: text(t, "user"), Password: text(t, "password")}
	case 3:
		return Enable{Capabilities: []string{word(t, "cap"), word(t, "cap")}}
	case 4:
		return ID{Pairs: []IDPair{{ascii(t, "field"), text(t, "value")}, {"nil", "NIL"}}}
	case 5:
		return Compress{Algorithm: word(t, "algorithm")}
	case 6:
		return selectVerb(t)
	case 7:
		v := Create{Mailbox: text(t, "mailbox")}
		if rapid.Bool().Draw(t, "use") {
			v.Use = []string{`\Sent`, `\Junk`}
		}
		return v
	case 8:
		return Delete{Mailbox: text(t, "mailbox")}
	case 9:
		return Rename{From: text(t, "from"), To: text(t, "to")}
	case 10:
		return Subscribe{Mailbox: text(t, "mailbox"), On: rapid.Bool().Draw(t, "on")}
	case 11:
		return listVerb(t)
	case 12:
		return Lsub{Reference: text(t, "reference"), Pattern: text(t, "pattern")}
	case 13:
		return Status{Mailbox: text(t, "mailbox"), Items: items(t)}
	case 14:
		v := Search{UID: rapid.Bool().Draw(t, "uid"), Key: Key{Keys: []Key{key(t, 4), key(t, 1)}}}
		if v.Extended = rapid.Bool().Draw(t, "extended"); v.Extended {
			v.Return = SearchReturn(rapid.IntRange(0, 31).Draw(t, "return"))
		}
		if rapid.Bool().Draw(t, "charset") {
			v.Charset = word(t, "charset")
		}
		return v
	case 15:
		return fetchVerb(t)
	case 16:
		return storeVerb(t)
	}
	if rapid.Bool().Draw(t, "expunge") {
		return UIDExpunge{Set: anySet(t)}
	}
	return Copy{
		UID: rapid.Bool().Draw(t, "uid"), Move: rapid.Bool().Draw(t, "move"), Set: anySet(t), Mailbox: text(t, "mailbox"),
	}
}

func TestParse_ReadsWhatAppendPrints(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := Command{Tag: rapid.StringMatching(`[A-Za-z0-9.]{1,8}`).Draw(t, "tag"), Verb: verb(t)}
		printed := want.Append(nil)
		got, err := Parse(printed)
		if err != nil {
			t.Fatalf("%q: %v", printed, err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%q: (-want +got)\n%s", printed, diff)
		}
	})
}
