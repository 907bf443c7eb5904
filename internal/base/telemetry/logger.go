package telemetry

import "log/slog"

// Logger gives the logger that a part uses: l with the part's name on every
// line, or one that discards when l is nil. It never returns nil and is safe
// for concurrent use.
func Logger(l *slog.Logger, part string) *slog.Logger {
	if l == nil {
		return slog.New(slog.DiscardHandler)
	}
	return l.With(Part, part)
}
