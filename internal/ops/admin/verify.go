package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/store/index"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

// Damage is one thing that Verify found wrong.
type Damage struct {
	What     string    `json:"what"`
	Messages []Message `json:"messages,omitempty"` // that it concerns
	Segment  string    `json:"segment,omitempty"`  // of the journal
	Offset   int64     `json:"offset,omitempty"`   // in the segment, bytes
	Index    bool      `json:"index"`              // only the index is wrong: rebuild-index mends it
}

// Message names a message by its place; UID 0 is the mailbox itself.
type Message struct {
	Owner   string `json:"owner"`
	Mailbox string `json:"mailbox"`
	UID     uint32 `json:"uid,omitempty"`
}

// Verify reads every byte of the journal and compares the index with what the
// journal makes of it. Everything else goes on meanwhile. scratch is a file
// for the comparison, which is removed; "" makes it in memory. report is called for each finding; its
// error, or that of ctx, ends the work.
func (x *Executor) Verify(ctx context.Context, scratch string, report func(Damage) error) error {
	remove := func() error {
		if scratch == "" {
			return nil
		}
		return index.Remove(scratch)
	}
	if err := remove(); err != nil { // of a run that was killed
		return fmt.Errorf("remove scratch file: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	err := x.Mailboxes.Verify(ctx, scratch, func(f mailbox.Finding) {
		if err := report(damage(f)); err != nil {
			cancel(err)
		}
	})
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return errors.Join(err, remove())
}

func damage(f mailbox.Finding) Damage {
	d := Damage{What: f.What, Offset: f.Offset, Index: f.Index}
	if f.Segment != 0 {
		d.Segment = f.Segment.String()
	}
	for _, o := range f.Owners {
		d.Messages = append(d.Messages, Message{Owner: o.Address, Mailbox: o.Name, UID: uint32(o.UID)})
	}
	return d
}

// verifyLine is one line of the answer to a request to verify: a finding, or
// at the end how it went.
type verifyLine struct {
	Damage *Damage `json:"damage,omitempty"`
	Done   bool    `json:"done,omitempty"`
	Error  string  `json:"error,omitempty"`
}

// serveVerify answers with a line for each finding as it is found. It takes as
// long as reading the journal does, so that only a client that takes nothing
// is given up.
func (x *Executor) serveVerify(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	enc := json.NewEncoder(w)
	send := func(l verifyLine) error {
		if err := control.SetWriteDeadline(sys.RealClock().Now().Add(answerWaitMax)); err != nil {
			return err
		}
		if err := enc.Encode(l); err != nil {
			return err
		}
		return control.Flush()
	}
	last := verifyLine{Done: true}
	if err := x.Verify(r.Context(), x.Scratch(), func(d Damage) error { return send(verifyLine{Damage: &d}) }); err != nil {
		last = verifyLine{Error: err.Error()}
	}
	_ = send(last) // a broken connection is the client's to notice
}

// Verify has the running host verify its store. Errors are those of Do.
func (c Client) Verify(ctx context.Context, report func(Damage) error) error {
	resp, done, err := c.post(ctx, "/verify", nil)
	if err != nil {
		return err
	}
	defer done()
	dec := json.NewDecoder(resp.Body)
	for {
		var l verifyLine
		if err := dec.Decode(&l); err != nil {
			return fmt.Errorf("read the host's answer: %w", err)
		}
		switch {
		case l.Damage != nil:
			if err := report(*l.Damage); err != nil {
				return err
			}
		case l.Done:
			return nil
		default:
			return errors.New(l.Error)
		}
	}
}
