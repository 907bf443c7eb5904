package host

import (
	"context"
	"io"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/breakwater-mail/breakwater/internal/access/imap"
	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/store/fulltext"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// textName is the text index's file in the data directory.
const textName = "fulltext.db"

// openText opens the text index, which only searches of a serving host use.
// Without it they are slow and no more, so that an error is only logged.
func (s *Store) openText(c Config, reg prometheus.Registerer, log *slog.Logger) {
	x, err := fulltext.Open(fulltext.Options{
		Path:  c.DirPath(textName),
		Store: s.Journal.StoreID().String(), Last: s.Journal.Durable(),
		Text: func(ctx context.Context, lsn journal.LSN) (io.ReadCloser, error) {
			return imap.OpenText(ctx, s.Mailboxes, lsn)
		},
		Gone: s.Mailboxes.Gone,
		Log:  log, Metrics: fulltext.NewMetrics(reg),
	})
	if err != nil {
		telemetry.Logger(log, "host").Warn("there is no text index: searches of text will be slow", telemetry.Err, err)
		return
	}
	s.text = x
}

// narrower is the text index as IMAP wants it: nil if there is none.
func (s *Store) narrower() imap.Narrower {
	if s.text == nil {
		return nil
	}
	return s.text
}
