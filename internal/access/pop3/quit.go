package pop3

import (
	"context"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

// quit answers QUIT (RFC 1939 §4, §6). In the TRANSACTION state it removes
// what was marked, in one change; the drop-box is free again before the
// client reads the answer.
func (s *session) quit(ctx context.Context) {
	s.over = "quit"
	if s.drop == nil || s.deletedCount == 0 {
		s.release()
		s.ok("goodbye")
		return
	}
	uids := make([]mailbox.UID, 0, s.deletedCount)
	for i := range s.drop.messages {
		if s.isDeleted(i + 1) {
			uids = append(uids, s.drop.messages[i].UID)
		}
	}
	uctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), updateTimeout)
	defer cancel()
	err := s.srv.drops.remove(uctx, s.drop, uids)
	s.release()
	if err != nil {
		// The change may still become durable behind a timeout.
		s.refuse("SYS/TEMP", "some deleted messages may not be removed")
		s.log.Error("update failed", telemetry.Count, len(uids), telemetry.Err, err)
		return
	}
	s.srv.o.Metrics.removed.Add(float64(len(uids)))
	s.log.Info("messages removed", telemetry.Count, len(uids))
	s.ok("goodbye, %d messages removed", len(uids))
}
