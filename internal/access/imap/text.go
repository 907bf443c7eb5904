package imap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/fulltext"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

// stretch is what a search looks through in one go: the fields of a part's
// header one by one, or a text part's body.
type stretch struct {
	part   *message.Part
	header bool
}

// stretches gives what TEXT looks through in a part, with headers, or BODY,
// without, which is less. The subject of the summary is looked at besides.
func stretches(p *message.Part, headers bool) iter.Seq[stretch] {
	return func(yield func(stretch) bool) { walkStretches(p, headers, yield) }
}

func walkStretches(p *message.Part, headers bool, yield func(stretch) bool) bool {
	if headers && p.BodyStart > p.HeaderStart && !yield(stretch{p, true}) {
		return false
	}
	for _, child := range p.Children {
		// The header of an embedded message is part of the text around it.
		if !walkStretches(child, headers || p.Message(), yield) {
			return false
		}
	}
	return p.Type != "text" || len(p.Children) > 0 || yield(stretch{p, false})
}

// fields gives the decoded fields of a part's header, each as one text.
func fields(r io.ReaderAt, p *message.Part) (iter.Seq[string], error) {
	raw, err := rawHeader(r, p)
	if err != nil {
		return nil, err
	}
	return func(yield func(string) bool) {
		for field := range message.Fields(raw) {
			if !yield(field.Name + ": " + message.DecodeHeader(field.Value())) {
				return
			}
		}
	}, nil
}

// bodyText gives the decoded text of a text part, in UTF-8 or what comes as
// such: whoever folds it takes other octets as U+FFFD, without a converter.
func bodyText(r io.ReaderAt, p *message.Part) io.Reader {
	switch p.Charset() {
	case "", "us-ascii", "utf-8":
		return p.Decode(r)
	}
	return p.Text(r)
}

// searchText reads all that SEARCH TEXT and BODY look through, one stretch
// after the other, and opens each when the one before has been read.
type searchText struct {
	body io.ReaderAt
	next func() (stretch, bool)
	stop func()
	now  io.Reader
}

// newSearchText begins with the subject, which is in the summary.
func newSearchText(m *message.Message, body io.ReaderAt) *searchText {
	t := &searchText{body: body, now: strings.NewReader(message.DecodeHeader(m.Envelope.Subject) + "\n")}
	t.next, t.stop = iter.Pull(stretches(m.Root, true))
	return t
}

// Read implements io.Reader. Stretches are apart by a line end, so that what
// is cut off at the end of one is not made whole by the next.
func (t *searchText) Read(b []byte) (int, error) {
	for {
		n, err := t.now.Read(b)
		if !errors.Is(err, io.EOF) {
			return n, err
		}
		if n > 0 {
			return n, nil
		}
		st, ok := t.next()
		if !ok {
			return 0, io.EOF
		}
		if !st.header {
			t.now = io.MultiReader(bodyText(t.body, st.part), strings.NewReader("\n"))
			continue
		}
		texts, err := fields(t.body, st.part)
		if err != nil {
			return 0, err
		}
		var header strings.Builder
		for text := range texts {
			header.WriteString(text)
			header.WriteByte('\n')
		}
		t.now = strings.NewReader(header.String())
	}
}

// openText is a message's text with the body that it is read from.
type openText struct {
	*searchText
	message *journal.Body
}

// Close implements io.Closer.
func (t openText) Close() error {
	t.stop()
	return t.message.Close()
}

// OpenText gives all that SEARCH TEXT and BODY look through in a message, for
// fulltext.Options.Text. The caller must close it. The error is
// fulltext.ErrGone if there is no such message any more.
func OpenText(ctx context.Context, boxes *mailbox.Store, lsn journal.LSN) (io.ReadCloser, error) {
	body, err := boxes.OpenMessage(ctx, lsn)
	if errors.Is(err, mailbox.ErrNoSuchMessage) {
		return nil, fulltext.ErrGone
	}
	if err != nil {
		return nil, err
	}
	parser := message.NewParser(message.DefaultLimits())
	if _, err := io.Copy(parser, io.NewSectionReader(body, 0, body.Size())); err != nil {
		return nil, errors.Join(fmt.Errorf("read message: %w", err), body.Close())
	}
	return openText{newSearchText(parser.Close(), body), body}, nil
}
