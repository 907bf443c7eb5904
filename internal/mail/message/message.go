package message

// Limits bound what the parser keeps of one message. A limit never refuses a
// message: what lies beyond it is one opaque leaf, and a Defect says so. Zero
// fields mean the default.
type Limits struct {
	// Depth is how deep parts may nest below the root: a part at this depth
	// is not opened. Real mail stays below 20; every level costs every reader
	// a stack frame. At most 500.
	Depth int
	// Parts is how many parts a message may have, the root counted. Digests
	// reach hundreds; 10,000 parts cost about 3 MB while they are parsed.
	Parts int
	// HeaderBytes is the sum of the bytes of all headers of a message that
	// are looked at. Large relays stop at 256 KB for one header; the sum
	// bounds the memory of a parse and the size of the binary form.
	HeaderBytes int64
}

// Limits of other kinds, not adjustable.
const (
	defaultDepth       = 100
	defaultParts       = 10_000
	defaultHeaderBytes = 1 << 20
	maxDepth           = 500

	// maxBoundary bounds a boundary parameter, in bytes. RFC 2046 §5.1.1 says
	// 70; some senders write more, and test suites 7,000.
	maxBoundary = 8000
	// maxDelimiter bounds a line that can be a boundary delimiter: dashes,
	// boundary, dashes, padding, line end. That much of a line is held back.
	maxDelimiter = 4 + maxBoundary + 188
	// maxAddresses bounds the addresses kept of all envelopes of a message:
	// an address of two bytes in a header costs 64 in memory.
	maxAddresses = 10_000
	// maxParams bounds the parameters of one field: real ones have fewer than
	// ten, long RFC 2231 file names some dozens.
	maxParams = 200
	// maxLanguages bounds the tags of one Content-Language.
	maxLanguages = 50
)

// DefaultLimits are the limits of architecture and docs/limits.md: depth 100,
// 10,000 parts, 1 MB of headers.
func DefaultLimits() Limits {
	return Limits{Depth: defaultDepth, Parts: defaultParts, HeaderBytes: defaultHeaderBytes}
}

func (l Limits) orDefault() Limits {
	d := DefaultLimits()
	if l.Depth > 0 {
		d.Depth = min(l.Depth, maxDepth)
	}
	if l.Parts > 0 {
		d.Parts = l.Parts
	}
	if l.HeaderBytes > 0 {
		d.HeaderBytes = l.HeaderBytes
	}
	return d
}

// Message is what the index keeps of a message: its tree of parts with byte
// offsets, its ENVELOPE, and what was wrong with it. It is immutable once the
// parser or DecodeMessage has returned it, and holds no body bytes.
type Message struct {
	Root     *Part    // never nil
	Size     int64    // bytes of the whole message
	Envelope Envelope // of Root
	Defects  []Defect // one per kind, in order of kind
}

// Part is one node of the tree. The offsets count from the first byte of the
// message: the header is [HeaderStart, BodyStart) with its blank line, the
// body [BodyStart, End).
//
// Always 0 ≤ HeaderStart ≤ BodyStart ≤ End ≤ Size; the children lie inside
// the parent's body, in order, without overlap. A body ends before the line
// end that precedes the delimiter line, since that belongs to the delimiter
// (RFC 2046 §5.1.1). A header without a blank line (missing, or the part ends
// before it) ends where the body starts.
//
// Every string of a part is without CR, LF and NUL (bare CR and NUL became a
// space), and else as the sender wrote it: it may hold 8-bit bytes that are
// not UTF-8 and RFC 2047 words, see DecodeHeader.
//
// Section numbers (RFC 9051 §6.4.5.1): child i of a multipart is number i+1
// below it. The child of a message/rfc822 part is the embedded message
// itself: it has no number of its own; if it is a multipart its children are
// numbered right below the message part, else it is number 1 there. The same
// holds for the root.
type Part struct {
	HeaderStart, BodyStart, End int64

	// Lines is the number of line ends (LF) in the body: a last line without
	// an end is not counted, as other servers do for BODYSTRUCTURE.
	Lines int64

	// Type and Subtype are lower case and never empty. Without a (usable)
	// Content-Type they are text/plain, in a multipart/digest message/rfc822
	// (RFC 2046 §5.1.5), and Params is empty. A part that says multipart or
	// message/rfc822 and could not be opened (a limit; an encoded embedded
	// message) is application/octet-stream.
	Type, Subtype string
	// Params are the parameters in order, names in lower case, values without
	// quoting, but RFC 2231 forms as written ("filename*0*" is a name), as
	// BODYSTRUCTURE wants them; Param gives decoded values.
	Params []Param

	// Disposition is lower case, "" when there is no Content-Disposition.
	Disposition       string
	DispositionParams []Param
	// Encoding is the lower-case Content-Transfer-Encoding, common misspellings
	// mended, "" when there is none: BODYSTRUCTURE then says "7bit".
	Encoding    string
	ID          string   // Content-ID
	Description string   // Content-Description
	MD5         string   // Content-MD5
	Location    string   // Content-Location
	Language    []string // tags of Content-Language

	// Envelope is set exactly for message/rfc822 and message/global parts: it
	// is the embedded message's, whose root is Children[0].
	Envelope *Envelope
	// Children of a multipart are at least one: where no delimiter was found
	// at all the only child is a text/plain leaf without a header that covers
	// the whole body, so that nothing is out of a reader's reach. A message
	// part has exactly one child, even if its body is empty. A leaf has none.
	Children []*Part
}

// Multipart reports whether p is a multipart; it then has children.
func (p *Part) Multipart() bool { return p.Type == "multipart" }

// Message reports whether p is an embedded message (message/rfc822, RFC 6532
// message/global); it then has Envelope and one child, the message's root.
func (p *Part) Message() bool { return p.Envelope != nil }

// Size is the number of bytes of the body as it is transferred.
func (p *Part) Size() int64 { return p.End - p.BodyStart }

// Section returns the part that a section number names (RFC 9051 §6.4.5.1),
// "2.1" being Section(2, 1), or nil when there is none. A message that is no
// multipart is its own part 1. Without numbers it is the root.
func (m *Message) Section(path ...int) *Part {
	p, whole := m.Root, true // whole: p is the root of a message, which has no number yet
	for _, n := range path {
		if !whole && p.Message() {
			p, whole = p.Children[0], true
		}
		switch {
		case p.Multipart() && n >= 1 && n <= len(p.Children):
			p = p.Children[n-1]
		case !whole || p.Multipart() || n != 1:
			return nil
		}
		whole = false
	}
	return p
}

// Param is one parameter of a structured field.
type Param struct{ Name, Value string }

// Envelope is the ENVELOPE of RFC 9051 §7.5.2. The strings are the unfolded
// text of the first field of that name, without surrounding white space, not
// decoded; "" stands for NIL, that is, absent or empty. They hold neither CR,
// LF nor NUL, but may hold 8-bit bytes.
//
// To, Cc and Bcc are the addresses of all fields of that name (RFC 5322
// §4.5.3), the others those of the first. Sender and ReplyTo are From's where
// the field is absent or has no address, as IMAP wants; the Own… flags tell.
type Envelope struct {
	Date, Subject, InReplyTo, MessageID string

	From, Sender, ReplyTo, To, Cc, Bcc []EnvelopeAddress

	OwnSender, OwnReplyTo bool // the field is there and has an address
}

// What stands in an EnvelopeAddress for what the sender left out: NIL there
// means a group marker.
const (
	MissingMailbox = "missing-mailbox"
	MissingHost    = "missing-host.invalid"
)

// EnvelopeAddress is one address of an ENVELOPE (RFC 9051 §7.5.2); "" stands
// for NIL. Host "" is a group marker: Mailbox then is the group's name, or ""
// at the end of the group. Groups are always closed and never nested.
type EnvelopeAddress struct {
	Name    string // phrase without quoting, or the comment after a bare address; RFC 2047 words as they are
	Route   string // "@a,@b" of an obsolete source route
	Mailbox string // local part without quoting
	Host    string // domain as written, without comments and white space
}

// Group reports whether a is the start or the end of a group.
func (a EnvelopeAddress) Group() bool { return a.Host == "" }
