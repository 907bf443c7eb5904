package imap

import (
	"context"
	"errors"
	"strings"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
)

// idleLineMax bounds the line that ends an IDLE: "DONE".
const idleLineMax = 64

// errDeleted ends an IDLE whose mailbox is gone.
var errDeleted = errors.New("selected mailbox was deleted")

// idle answers IDLE (RFC 9051 §6.3.13). The session waits for DONE in one
// read, which a change of the mailbox interrupts.
func (s *session) idle(ctx context.Context) answer {
	s.link.put(append(s.link.buf(), "+ idling\r\n"...))
	if s.box != nil {
		cancel := s.box.mb.OnChange(s.wake.change)
		defer cancel()
		// What happened before OnChange was set is told now.
		if err := s.notify(ctx, true); err != nil {
			return s.failed("IDLE", err)
		}
		s.link.onChange = func() error { return s.idleNotice(ctx) }
		defer func() { s.link.onChange = nil }()
	}
	if err := s.await(); err != nil {
		return s.idleLost(err)
	}
	line, err := s.link.readLine(s.cmd, idleLineMax)
	s.cmd = line
	switch {
	case errors.Is(err, errLongLine):
		if err := s.link.skipLine(skipMax); err != nil {
			return s.idleLost(err)
		}
		return bad("DONE ends an IDLE")
	case err != nil:
		return s.idleLost(err)
	case !strings.EqualFold(strings.TrimRight(string(line), "\r\n"), "DONE"):
		return bad("DONE ends an IDLE")
	}
	return ok("IDLE completed")
}

func (s *session) idleLost(err error) answer {
	if errors.Is(err, errDeleted) {
		s.end("deleted", "", "Selected mailbox was deleted")
		return answer{}
	}
	s.lost(err)
	return answer{}
}

// idleNotice tells an idling client what has changed. A fault of the store is
// no reason to end the session: the next change, or DONE, tries again.
func (s *session) idleNotice(ctx context.Context) error {
	if s.box.mb.Deleted() {
		return errDeleted
	}
	if err := s.notify(ctx, true); err != nil {
		s.log.Warn("changes are not told", telemetry.Cmd, "IDLE", telemetry.Err, err)
		return nil
	}
	s.srv.o.Metrics.notices.Inc()
	return s.link.flush()
}
