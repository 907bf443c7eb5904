package dsn

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"strings"
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// dateLayout is the form of dates in fields (RFC 5322 §3.3).
const dateLayout = "Mon, 02 Jan 2006 15:04:05 -0700"

// Build makes the message. It is pure: the same Report gives the same octets.
// The lines end in CRLF. It is 7-bit unless To is an international address:
// whoever has such a one can read UTF-8 too. The error is of a Report that
// cannot be told, or of reading Original.
func Build(r Report) ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	o, err := readOriginal(r.Original)
	if err != nil {
		return nil, fmt.Errorf("read the message that is reported on: %w", err)
	}
	wide := !r.To.ASCII()
	parts := []part{textPart(&r, o), statusPart(&r, wide)}
	if p, ok := o.part(r.returnsAll(), wide); ok {
		parts = append(parts, p)
	}
	var b bytes.Buffer
	r.writeHeader(&b, o)
	boundary := boundaryFor(r.ID, parts)
	fmt.Fprintf(&b, "MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"%s\"\r\n", boundary)
	if wide {
		b.WriteString("Content-Transfer-Encoding: 8bit\r\n")
	}
	b.WriteString("\r\n")
	for _, p := range parts {
		fmt.Fprintf(&b, "--%s\r\n%s\r\n", boundary, p.header)
		b.Write(p.body)
		b.WriteString("\r\n")
	}
	fmt.Fprintf(&b, "--%s--\r\n", boundary)
	return b.Bytes(), nil
}

// part is a part of the report: its header without the empty line, and its
// body as it is sent.
type part struct {
	header string
	body   []byte
}

// boundaryFor is a boundary that no line of the parts can be taken for,
// whatever a stranger has written into them.
func boundaryFor(id string, parts []part) string {
	for n := 0; ; n++ {
		sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", id, n))
		boundary := "=_" + hex.EncodeToString(sum[:12])
		clash := false
		for _, p := range parts {
			clash = clash || bytes.Contains(p.body, []byte(boundary))
		}
		if !clash {
			return boundary
		}
	}
}

// returnsAll tells whether the whole message is asked for. It is returned for
// failures only (RFC 3461 §6.2), and if nothing was said only its header is: a
// forged sender should not get what he did not write.
func (r *Report) returnsAll() bool {
	return r.Ret == retFull && r.worst() == Failed
}

// worst is the action that the report as a whole is named after.
func (r *Report) worst() Action {
	rank := map[Action]int{Failed: 5, Delayed: 4, Delivered: 3, Expanded: 2, Relayed: 1}
	var worst Action
	for _, rc := range r.Recipients {
		if rank[rc.Action] > rank[worst] {
			worst = rc.Action
		}
	}
	return worst
}

func (r *Report) writeHeader(b *bytes.Buffer, o *original) {
	fmt.Fprintf(b, "From: \"Mail delivery\" <MAILER-DAEMON@%s>\r\n", r.Hostname)
	fmt.Fprintf(b, "To: <%s>\r\n", r.To)
	b.WriteString("Subject: " + r.subject(o) + "\r\n")
	fmt.Fprintf(b, "Date: %s\r\n", r.Now.UTC().Format(dateLayout))
	fmt.Fprintf(b, "Message-ID: <%s@%s>\r\n", r.ID, r.Hostname)
	if o.messageID != "" {
		b.WriteString("In-Reply-To: " + o.messageID + "\r\nReferences:")
		for _, id := range o.references {
			b.WriteString("\r\n\t" + id)
		}
		b.WriteString("\r\n")
	}
	b.WriteString("Auto-Submitted: auto-replied\r\n") // RFC 3834 §5: nobody answers it by a program
}

// subject is the value of the field. What the sender wrote goes into encoded
// words if it needs to (RFC 2047).
func (r *Report) subject(o *original) string {
	what := map[Action]string{
		Failed: "Not delivered", Delayed: "Delayed", Delivered: "Delivered", Expanded: "Given to a list", Relayed: "Handed over",
	}[r.worst()]
	if o.subject == "" {
		return what + ": your message"
	}
	words := mime.QEncoding.Encode("utf-8", o.subject)
	if words == o.subject {
		return what + ": " + words
	}
	return what + ":\r\n " + strings.ReplaceAll(words, "?= =?", "?=\r\n =?")
}

// textPart is the part for people.
func textPart(r *Report, o *original) part {
	text := strings.ReplaceAll(r.text(o), "\n", "\r\n")
	header := "Content-Type: text/plain; charset=utf-8\r\n"
	if sevenBit([]byte(text)) {
		return part{header, []byte(text)}
	}
	return part{header + "Content-Transfer-Encoding: quoted-printable\r\n", quoted([]byte(text))}
}

// quoted is text in quoted-printable, its lines ended by CRLF.
func quoted(b []byte) []byte {
	var out bytes.Buffer
	w := quotedprintable.NewWriter(&out)
	_, err := w.Write(b)
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic(err) // a buffer takes everything
	}
	return out.Bytes()
}

// sevenBit tells whether octets can be sent as they are, in lines of a length
// that any host takes (RFC 2045 §2.7).
func sevenBit(b []byte) bool { return plainLines(b) && bytes.IndexFunc(b, notASCII) < 0 }

func notASCII(r rune) bool { return r >= 0x80 }

// plainLines tells whether octets are lines that end in CRLF and are not too
// long, without NUL.
func plainLines(b []byte) bool {
	line := 0
	for i, c := range b {
		switch {
		case c == 0, c == '\r' && (i+1 == len(b) || b[i+1] != '\n'), c == '\n' && (i == 0 || b[i-1] != '\r'):
			return false
		case c == '\n':
			line = 0
			continue
		}
		if line++; line > 999 { // 998 and the CR
			return false
		}
	}
	return true
}

// original is what is known of the message that is reported on.
type original struct {
	head  []byte // as much as was read, the header at least
	whole bool   // head is the whole message
	end   int    // of its header, the empty line not counted

	messageID  string
	references []string // with messageID, as In-Reply-To wants it
	subject    string   // decoded, cut, for a line of text
	date       time.Time
}

func readOriginal(r io.Reader) (*original, error) {
	o := &original{}
	if r == nil {
		return o, nil
	}
	var err error
	if o.head, err = io.ReadAll(io.LimitReader(r, OriginalMax+1)); err != nil {
		return nil, err
	}
	o.whole = len(o.head) <= OriginalMax
	if !o.whole {
		o.head = o.head[:OriginalMax]
	}
	o.end = headerEnd(o.head)
	if o.end == len(o.head) && !o.whole { // the header is cut: at the end of a line
		o.end = bytes.LastIndexByte(o.head, '\n') + 1
	}
	o.readFields()
	return o, nil
}

// headerEnd is where the header ends, before its empty line.
func headerEnd(b []byte) int {
	for pos := 0; pos < len(b); {
		i := bytes.IndexByte(b[pos:], '\n')
		if i < 0 {
			break
		}
		if i == 0 || i == 1 && b[pos] == '\r' {
			return pos
		}
		pos += i + 1
	}
	return len(b)
}

func (o *original) readFields() {
	var references []string
	for f := range message.Fields(o.head[:o.end]) {
		switch {
		case f.Is("Message-ID") && o.messageID == "":
			if ids := messageIDs(f.Value()); len(ids) > 0 {
				o.messageID = ids[0]
			}
		case f.Is("References") && references == nil:
			references = messageIDs(f.Value())
		case f.Is("Subject") && o.subject == "":
			o.subject = clean(message.DecodeHeader(f.Value()), subjectOctetsMax)
		case f.Is("Date") && o.date.IsZero():
			if d, err := message.ParseDate(f.Value()); err == nil {
				o.date = d
			}
		}
	}
	if o.messageID != "" {
		references = append(references, o.messageID)
		if cut := len(references) - referencesMax; cut > 0 {
			references = append(references[:1:1], references[1+cut:]...)
		}
		o.references = references
	}
}

// messageIDs are the ids in a field's value that can stand in a field of ours:
// in angle brackets, of visible ASCII, and short enough for a line.
func messageIDs(value string) []string {
	var out []string
	for {
		start := strings.IndexByte(value, '<')
		if start < 0 {
			return out
		}
		value = value[start:]
		end := strings.IndexByte(value, '>')
		if end < 0 {
			return out
		}
		id := value[:end+1]
		value = value[end+1:]
		if len(id) > 2 && len(id) < 900 && !strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' }) {
			out = append(out, id)
		}
	}
}
