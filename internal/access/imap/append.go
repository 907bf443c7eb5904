package imap

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/breakwater-mail/breakwater/internal/access/imap/command"
	"github.com/breakwater-mail/breakwater/internal/access/imap/wire"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

// appending is an APPEND (RFC 9051 §6.3.12, RFC 3502) in progress: messages
// go to the store as they arrive and are filed together at the end.
type appending struct {
	s     *session
	tag   string
	box   mailbox.Info
	msgs  []mailbox.AppendMessage
	total int64
	// refused is the answer, once there is a reason not to file anything. What
	// the client sends without being asked is then read and thrown away.
	refused *answer
}

// appendCommand executes an APPEND from its first message's announcement on,
// which lit is; err is that of its text. It returns errAnswered, or the error
// that ends the session.
func (s *session) appendCommand(ctx context.Context, head command.AppendHead, m command.AppendMessage, lit wire.Literal, err error) error {
	a := &appending{s: s, tag: head.Tag}
	defer a.abort()
	if head.Tag == "" {
		a.tag = "*"
	}
	if err != nil {
		a.refuse(bad("Cannot parse the command: " + err.Error()))
	} else {
		a.find(ctx, head.Mailbox)
	}
	for {
		a.check(ctx, m, lit)
		if a.refused != nil && (!lit.Plus || lit.Size > skipMax) {
			return s.refuseLiteral(a.tag, lit, *a.refused)
		}
		if err := a.message(ctx, m, lit); err != nil {
			return err
		}
		s.cmd = s.cmd[:0]
		if err := s.readText(lineMax); err != nil {
			return err
		}
		var announced, end bool
		lit, announced = wire.ParseLiteral(s.cmd)
		m, end, err = command.ParseAppendNext(s.cmd, m.UTF8)
		if err != nil {
			a.refuse(bad("Cannot parse the command: " + err.Error()))
		}
		if end || !announced {
			break
		}
	}
	s.answer(ctx, a.tag, "APPEND", true, a.finish(ctx))
	return errAnswered
}

// refuse keeps the first reason.
func (a *appending) refuse(why answer) {
	if a.refused == nil {
		a.refused = &why
	}
}

// abort gives up bodies that were not filed.
func (a *appending) abort() {
	for _, m := range a.msgs {
		m.Body.Abort()
	}
}

// find looks up the mailbox before anything is read.
func (a *appending) find(ctx context.Context, raw string) {
	name, why, valid := a.s.mailboxName(raw)
	if !valid {
		a.refuse(why)
		return
	}
	fctx, cancel := changeCtx(ctx)
	defer cancel()
	var err error
	if a.box, err = a.s.srv.boxes.Lookup(fctx, a.s.account(), name); err != nil {
		a.refuse(a.s.failedInto("APPEND", err))
	}
}

// failedInto is failed for commands with a destination, which a client may
// create (RFC 9051 §7.1 TRYCREATE).
func (s *session) failedInto(what string, err error) answer {
	if errors.Is(err, mailbox.ErrNoSuchMailbox) {
		return no("TRYCREATE", "No such mailbox")
	}
	return s.failed(what, err)
}

// check finds reasons to refuse a message before it is read.
func (a *appending) check(ctx context.Context, m command.AppendMessage, lit wire.Literal) {
	limit := a.s.srv.o.AppendLimit
	a.total += lit.Size
	switch {
	case lit.Size > limit:
		a.refuse(no("TOOBIG", fmt.Sprintf("A message may have %d octets", limit)))
	case lit.Size == 0:
		a.refuse(no("CANNOT", "Message is empty"))
	case len(a.msgs) == appendMessagesMax || a.total > appendTotalFactor*limit:
		a.refuse(no("LIMIT", "Too much for one APPEND"))
	case m.UTF8 && !a.s.utf8:
		a.refuse(bad("ENABLE UTF8=ACCEPT first"))
	case a.refused == nil && a.s.overQuota(ctx, a.total):
		a.refuse(noRoom())
	}
}

// message reads one message into the store. Its error ends the session; one
// of the store refuses the command.
func (a *appending) message(ctx context.Context, m command.AppendMessage, lit wire.Literal) error {
	if a.refused != nil {
		_, err := a.s.link.readN(lit.Size, nil)
		return err
	}
	body, err := a.s.srv.boxes.NewBody(ctx, nil)
	if err != nil {
		// The client is not asked for what cannot be kept.
		a.refuse(a.s.failed("APPEND", err))
		if lit.Plus {
			_, err := a.s.link.readN(lit.Size, nil)
			return err
		}
		return a.s.refuseLiteral(a.tag, lit, *a.refused)
	}
	a.msgs = append(a.msgs, mailbox.AppendMessage{Body: body, Flags: m.Flags, Date: m.Date})
	a.s.ask(lit)
	storeErr, err := a.s.link.readN(lit.Size, func(b []byte) error {
		_, err := body.Write(b)
		return err
	})
	if storeErr != nil {
		a.refuse(a.s.failed("APPEND", storeErr))
	}
	return err
}

// finish files the messages: durable and visible when it returns OK.
func (a *appending) finish(ctx context.Context) answer {
	if a.refused != nil {
		return *a.refused
	}
	actx, cancel := changeCtx(ctx)
	defer cancel()
	uids, validity, err := a.s.srv.boxes.Append(actx, a.box.ID, a.msgs)
	if err != nil {
		return a.s.failedInto("APPEND", err)
	}
	a.msgs = nil
	code := append([]byte("APPENDUID "), strconv.FormatUint(uint64(validity), 10)...)
	code = appendUIDs(append(code, ' '), uids)
	return okCode(string(code), "APPEND completed")
}

// appendUIDs prints ascending UIDs as a set.
func appendUIDs(dst []byte, uids []mailbox.UID) []byte {
	ns := make([]uint32, len(uids))
	for i, uid := range uids {
		ns[i] = uint32(uid)
	}
	return wire.AppendNumbers(dst, ns)
}
