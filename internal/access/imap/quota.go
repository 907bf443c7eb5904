package imap

import (
	"context"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
)

// overQuota says whether the account has no room for so many octets more
// (RFC 5530 §3 OVERQUOTA). A quota that cannot be looked up stops nobody: it is
// a brake, and mail is not to be lost for it.
func (s *session) overQuota(ctx context.Context, octets int64) bool {
	if s.srv.o.Quota == nil {
		return false
	}
	qctx, cancel := changeCtx(ctx)
	defer cancel()
	limit, err := s.srv.o.Quota(qctx, s.account())
	if err == nil && limit == 0 {
		return false
	}
	var used int64
	if err == nil {
		used, _, err = s.srv.boxes.Usage(qctx, s.account())
	}
	if err != nil {
		s.log.Warn("quota cannot be looked up", telemetry.Err, err)
		return false
	}
	return used+octets > limit
}

// noRoom is the answer to a command for which there is none.
func noRoom() answer { return no("OVERQUOTA", "No room within the account's quota") }
