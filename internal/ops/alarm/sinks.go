package alarm

import (
	"context"
	"log/slog"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
)

// Config names the sinks. The host makes it of its [alarm] section.
type Config struct {
	Webhook string   // URL; "" is none
	Secret  []byte   // of the webhook's signature; empty is none
	Exec    []string // program and arguments; empty is none
	Syslog  string   // "unix:/dev/log", "udp:host:514", "tcp:host:601", "tls:host:6514"; "" is none
}

// Sinks makes the sinks that are configured. The error says what cannot work;
// it names no secret.
func (c Config) Sinks() ([]Sink, error) {
	var out []Sink
	if c.Webhook != "" {
		w, err := newWebhook(c.Webhook, c.Secret)
		if err != nil {
			return nil, err
		}
		out = append(out, w)
	}
	if len(c.Exec) > 0 {
		p, err := newProgram(c.Exec)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	if c.Syslog != "" {
		s, err := newSyslog(c.Syslog)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// logSink writes each notice into the host's log, whatever else is configured.
type logSink struct{ log *slog.Logger }

func (l logSink) Name() string { return "log" }

// Send implements Sink.
func (l logSink) Send(ctx context.Context, n Notice) error {
	level := slog.LevelWarn
	if n.Event == Cleared {
		level = slog.LevelInfo
	}
	l.log.Log(ctx, level, "alarm", telemetry.State, n.Event, telemetry.Check, n.Key, telemetry.Reason, n.Text)
	return nil
}
