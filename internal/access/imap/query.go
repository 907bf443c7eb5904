package imap

import (
	"errors"
	"net/mail"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/breakwater-mail/breakwater/internal/access/imap/command"
	"github.com/breakwater-mail/breakwater/internal/access/imap/wire"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

// truth is what is known of a key's value for a message.
type truth uint8

const (
	nope truth = iota
	yes
	unknown
)

func truthOf(v bool) truth {
	if v {
		return yes
	}
	return nope
}

// candidate is what is known of a message: the entry always, the envelope and
// the body only when cheaper knowledge has not decided.
type candidate struct {
	seq      uint32
	entry    *mailbox.Entry
	envelope *message.Envelope
	body     *journal.Body
	root     *message.Part // with a body
	fold     *folder       // with a body
	err      error         // of the body, the first
}

// query is a tree of search keys made ready to be evaluated.
type query struct {
	root    node
	leaves  []*textLeaf
	modseq  bool // names a mod-sequence
	damaged int  // messages whose bodies could not be searched
	// envelope reads envelopes, with their addresses if a key looks at them.
	envelope  message.EnvelopeDecoder
	addresses bool
}

func (q *query) eval(c *candidate) truth { return q.root.eval(c) }

// node is one key. test says unknown if the candidate does not say enough.
type node struct {
	op    command.KeyOp
	nodes []node
	test  func(*candidate) truth
}

// eval combines in three-valued logic: what is decided by cheap knowledge
// stays so, and the keys that cost nothing come first.
func (n *node) eval(c *candidate) truth {
	switch n.op {
	case command.KeyAnd:
		result := yes
		for i := range n.nodes {
			switch n.nodes[i].eval(c) {
			case nope:
				return nope
			case unknown:
				result = unknown
			}
		}
		return result
	case command.KeyOr:
		result := nope
		for i := range n.nodes {
			switch n.nodes[i].eval(c) {
			case yes:
				return yes
			case unknown:
				result = unknown
			}
		}
		return result
	case command.KeyNot:
		switch n.nodes[0].eval(c) {
		case yes:
			return nope
		case nope:
			return yes
		}
		return unknown
	}
	return n.test(c)
}

// errText says that a search string is not in the charset it is said to be in.
var errText = errors.New("search string is no UTF-8")

// compile makes a tree ready. What depends on the session is looked up here:
// sequence sets, UIDs, keywords.
func (s *session) compile(k command.Key) (*query, error) {
	q := &query{}
	root, err := s.node(q, k)
	q.root = root
	return q, err
}

func (s *session) node(q *query, k command.Key) (node, error) {
	n := node{op: k.Op}
	switch k.Op {
	case command.KeyAnd, command.KeyOr, command.KeyNot:
		for _, sub := range k.Keys {
			child, err := s.node(q, sub)
			if err != nil {
				return n, err
			}
			n.nodes = append(n.nodes, child)
		}
		if k.Op != command.KeyNot {
			cheapFirst(n.nodes, k.Keys)
		}
		return n, nil
	case command.KeySeq, command.KeyUID:
		spans, err := s.box.view.spans(k.Set, k.Op == command.KeyUID, s.box.saved)
		if err != nil {
			return n, err
		}
		n.test = func(c *candidate) truth { return truthOf(within(spans, int(c.seq)-1)) }
		return n, nil
	case command.KeyKeyword, command.KeyUnkeyword:
		bit := s.keyword(k.Text)
		n.test = flagTest(bit, k.Op == command.KeyKeyword)
		return n, nil
	case command.KeyModSeq:
		q.modseq = true
		least := mailbox.ModSeq(k.Num)
		n.test = func(c *candidate) truth { return truthOf(c.entry.ModSeq >= least) }
		return n, nil
	}
	if !utf8.ValidString(k.Text) || !utf8.ValidString(k.Field) {
		return n, errText
	}
	q.addresses = q.addresses || searchesAddresses(k)
	if n.test = entryTest(k); n.test == nil {
		n.test = textTest(k)
		if k.Op == command.KeyText || k.Op == command.KeyBody {
			n.test = q.withLeaf(foldString(k.Text), n.test)
		}
	}
	return n, nil
}

// cheapFirst moves the keys that need no body before those that do; it
// matters within one evaluation only, since what needs more than there is says
// unknown at once.
func cheapFirst(nodes []node, keys []command.Key) {
	n := 0
	for i, k := range keys {
		if k.Op != command.KeyBody && k.Op != command.KeyText && k.Op != command.KeyHeader {
			nodes[n], nodes[i] = nodes[i], nodes[n]
			n++
		}
	}
}

func within(spans []span, at int) bool {
	lo, hi := 0, len(spans)
	for lo < hi {
		mid := (lo + hi) / 2
		switch {
		case at < spans[mid].lo:
			hi = mid
		case at >= spans[mid].hi:
			lo = mid + 1
		default:
			return true
		}
	}
	return false
}

// keyword gives a keyword's bit, 0 if no message has it. System flags have
// keys of their own.
func (s *session) keyword(name string) mailbox.Flags {
	if strings.HasPrefix(name, `\`) {
		return 0
	}
	return s.box.mb.Flag(name)
}

// flagTest tests whether any of bits is set, or that none is.
func flagTest(bits mailbox.Flags, set bool) func(*candidate) truth {
	return func(c *candidate) truth { return truthOf((c.entry.Flags&bits != 0) == set) }
}

// entryTest gives the test of a key that the hot list decides, nil of others.
func entryTest(k command.Key) func(*candidate) truth {
	size := int64(min(k.Num, 1<<62))
	switch k.Op {
	case command.KeyAll, command.KeyOld:
		return func(*candidate) truth { return yes }
	case command.KeyNew, command.KeyRecent:
		return func(*candidate) truth { return nope } // nothing is \Recent: see the package documentation
	case command.KeyAnswered:
		return flagTest(mailbox.FlagAnswered, true)
	case command.KeyUnanswered:
		return flagTest(mailbox.FlagAnswered, false)
	case command.KeyDeleted:
		return flagTest(mailbox.FlagDeleted, true)
	case command.KeyUndeleted:
		return flagTest(mailbox.FlagDeleted, false)
	case command.KeyDraft:
		return flagTest(mailbox.FlagDraft, true)
	case command.KeyUndraft:
		return flagTest(mailbox.FlagDraft, false)
	case command.KeyFlagged:
		return flagTest(mailbox.FlagFlagged, true)
	case command.KeyUnflagged:
		return flagTest(mailbox.FlagFlagged, false)
	case command.KeySeen:
		return flagTest(mailbox.FlagSeen, true)
	case command.KeyUnseen:
		return flagTest(mailbox.FlagSeen, false)
	case command.KeyLarger:
		return func(c *candidate) truth { return truthOf(int64(c.entry.Size) > size) }
	case command.KeySmaller:
		return func(c *candidate) truth { return truthOf(int64(c.entry.Size) < size) }
	case command.KeyBefore, command.KeyOn, command.KeySince:
		return func(c *candidate) truth {
			day := wire.DateOf(time.Unix(c.entry.Date, 0).UTC())
			return truthOf(compareDay(k.Op, day.Compare(k.Date)))
		}
	}
	return nil
}

func compareDay(op command.KeyOp, order int) bool {
	switch op {
	case command.KeyBefore, command.KeySentBefore:
		return order < 0
	case command.KeyOn, command.KeySentOn:
		return order == 0
	}
	return order >= 0
}

// searchesAddresses says whether a key looks at the addresses of envelopes.
func searchesAddresses(k command.Key) bool {
	switch k.Op {
	case command.KeyFrom, command.KeyTo, command.KeyCc, command.KeyBcc:
		return true
	case command.KeyHeader:
		switch strings.ToLower(k.Field) {
		case "from", "to", "cc", "bcc":
			return true
		}
	}
	return false
}

// readEnvelope reads as much of an encoded summary's envelope as the keys look
// at; it is good until the next call.
func (q *query) readEnvelope(encoded string) (*message.Envelope, error) {
	if q.addresses {
		return q.envelope.Decode(encoded)
	}
	return q.envelope.DecodeTexts(encoded)
}

// textTest gives the test of a key that looks at the message.
func textTest(k command.Key) func(*candidate) truth {
	needle := foldString(k.Text)
	switch k.Op {
	case command.KeySentBefore, command.KeySentOn, command.KeySentSince:
		return withEnvelope(func(e *message.Envelope) bool {
			t, err := mail.ParseDate(e.Date)
			return err == nil && compareDay(k.Op, wire.DateOf(t).Compare(k.Date))
		})
	case command.KeyFrom, command.KeyTo, command.KeyCc, command.KeyBcc, command.KeySubject:
		get := envelopeField(strings.ToLower(k.Op.String()))
		return withEnvelope(func(e *message.Envelope) bool {
			text, there := get(e)
			return there && strings.Contains(foldString(text), needle)
		})
	case command.KeyHeader:
		if get := envelopeField(strings.ToLower(k.Field)); get != nil {
			return withEnvelope(func(e *message.Envelope) bool {
				text, there := get(e)
				return there && strings.Contains(foldString(text), needle)
			})
		}
		return withBody(func(c *candidate) (bool, error) { return c.fold.headerHas(c, k.Field, needle) })
	case command.KeyBody:
		return withBody(func(c *candidate) (bool, error) { return c.fold.textHas(c, needle, false) })
	}
	// TEXT: the subject is in the envelope, and often decides.
	deep := withBody(func(c *candidate) (bool, error) { return c.fold.textHas(c, needle, true) })
	return func(c *candidate) truth {
		if c.body == nil && c.envelope != nil && c.envelope.Subject != "" &&
			strings.Contains(foldString(message.DecodeHeader(c.envelope.Subject)), needle) {
			return yes
		}
		return deep(c)
	}
}

// withEnvelope makes a test that needs the envelope.
func withEnvelope(test func(*message.Envelope) bool) func(*candidate) truth {
	return func(c *candidate) truth {
		if c.envelope == nil {
			return unknown
		}
		return truthOf(test(c.envelope))
	}
}

// withBody makes a test that needs the body. An error counts as "not found"
// and is kept.
func withBody(test func(*candidate) (bool, error)) func(*candidate) truth {
	return func(c *candidate) truth {
		if c.body == nil {
			return unknown
		}
		found, err := test(c)
		if err != nil && c.err == nil {
			c.err = err
		}
		return truthOf(err == nil && found)
	}
}

// envelopeField gives the field of that name, in lower case, of an envelope,
// decoded, and whether the message has it; nil if an envelope does not hold
// it. The field's exact text may differ in what means nothing (comments,
// folding, quotes).
func envelopeField(name string) func(*message.Envelope) (string, bool) {
	text := func(get func(*message.Envelope) string) func(*message.Envelope) (string, bool) {
		return func(e *message.Envelope) (string, bool) {
			v := get(e)
			return message.DecodeHeader(v), v != ""
		}
	}
	addresses := func(get func(*message.Envelope) []message.EnvelopeAddress) func(*message.Envelope) (string, bool) {
		return func(e *message.Envelope) (string, bool) {
			list := get(e)
			return addressText(list), len(list) > 0
		}
	}
	switch name {
	case "subject":
		return text(func(e *message.Envelope) string { return e.Subject })
	case "message-id":
		return text(func(e *message.Envelope) string { return e.MessageID })
	case "in-reply-to":
		return text(func(e *message.Envelope) string { return e.InReplyTo })
	case "date":
		return text(func(e *message.Envelope) string { return e.Date })
	case "from":
		return addresses(func(e *message.Envelope) []message.EnvelopeAddress { return e.From })
	case "to":
		return addresses(func(e *message.Envelope) []message.EnvelopeAddress { return e.To })
	case "cc":
		return addresses(func(e *message.Envelope) []message.EnvelopeAddress { return e.Cc })
	case "bcc":
		return addresses(func(e *message.Envelope) []message.EnvelopeAddress { return e.Bcc })
	}
	return nil
}

// addressText writes addresses as a header does.
func addressText(list []message.EnvelopeAddress) string {
	var b strings.Builder
	for i, a := range list {
		if i > 0 {
			b.WriteString(", ")
		}
		if a.Group() {
			b.WriteString(message.DecodeHeader(a.Mailbox))
			continue
		}
		if a.Name != "" {
			b.WriteString(message.DecodeHeader(a.Name))
			b.WriteByte(' ')
		}
		b.WriteByte('<')
		b.WriteString(a.Mailbox)
		b.WriteByte('@')
		b.WriteString(a.Host)
		b.WriteByte('>')
	}
	return b.String()
}
