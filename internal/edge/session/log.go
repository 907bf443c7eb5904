package session

import (
	"context"
	"log/slog"
	"strings"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

// line writes one log line with the facts that every line has.
func (n *session) line(level slog.Level, msg string, attrs ...slog.Attr) {
	ctx := context.Background()
	if !n.s.o.Log.Enabled(ctx, level) {
		return
	}
	all := make([]slog.Attr, 0, len(attrs)+6)
	all = append(all, slog.String(telemetry.Part, n.kind.String()), slog.String(telemetry.Conn, n.c.ID()), slog.String(telemetry.RemoteIP, n.c.RemoteIP().String()),
		slog.String(telemetry.Helo, n.d.Helo()))
	if n.tls != "" {
		all = append(all, slog.String(telemetry.TLS, n.tls))
	}
	if n.id.Account != 0 {
		all = append(all, slog.String(telemetry.User, n.id.Address.String()))
	}
	n.s.o.Log.LogAttrs(ctx, level, msg, append(all, attrs...)...)
}

func (n *session) logAccepted(id string, size int64) {
	n.tally.Accepted++
	n.metrics.accepted.Inc()
	if !n.s.o.Log.Enabled(context.Background(), slog.LevelInfo) {
		return // before anything is made for it
	}
	n.line(slog.LevelInfo, "message accepted", slog.String(telemetry.Env, id),
		slog.String(telemetry.From, n.env.From.String()), slog.Any(telemetry.Rcpt, recipients(n.env.Recipients)),
		slog.Int(telemetry.Count, len(n.env.Recipients)), slog.Int64(telemetry.Size, size),
		slog.Duration(telemetry.Dur, n.s.o.Clock.Now().Sub(n.began)))
}

// logRefused notes a message that was not taken: for a reason of the
// machine's or because of an error. Without either the client has given up.
func (n *session) logRefused(reason string, err error) {
	if n.env == nil || reason == "" && err == nil {
		return
	}
	n.tally.Refused++
	n.metrics.refused.Inc()
	attrs := []slog.Attr{
		slog.String(telemetry.From, n.env.From.String()), slog.Any(telemetry.Rcpt, recipients(n.env.Recipients)),
		slog.Int(telemetry.Count, len(n.env.Recipients)), slog.Int64(telemetry.Size, n.d.Size()),
		slog.Duration(telemetry.Dur, n.s.o.Clock.Now().Sub(n.began)),
	}
	if err != nil {
		attrs = append(attrs, slog.String(telemetry.Reply, replyTo(err).String()), slog.Any(telemetry.Err, err))
	} else {
		attrs = append(attrs, slog.String(telemetry.Reason, reason))
	}
	n.line(slog.LevelInfo, "message refused", attrs...)
}

func (n *session) logSender(e *Envelope, err error) {
	n.line(slog.LevelInfo, "sender refused", slog.String(telemetry.From, e.From.String()), slog.String(telemetry.Reply, replyTo(err).String()))
}

func (n *session) logRecipient(e *Envelope, to message.Address, err error) {
	n.line(slog.LevelInfo, "recipient refused", slog.String(telemetry.From, e.From.String()),
		slog.String(telemetry.Rcpt, to.String()), slog.String(telemetry.Reply, replyTo(err).String()))
}

func (n *session) logFault(err error) {
	n.metrics.faults.Inc()
	n.line(slog.LevelError, "fault", slog.Any(telemetry.Err, err))
}

// logReplies is the dialogue for whoever debugs: what the client was told.
// What it said is not logged, since there are passwords and mail in it.
func (n *session) logReplies() {
	if n.s.o.Log.Enabled(context.Background(), slog.LevelDebug) {
		n.line(slog.LevelDebug, "replies", slog.String(telemetry.Reply, string(n.out)))
	}
}

func (n *session) logLogin() { n.line(slog.LevelInfo, "login") }

// logLoginFailed says how a login failed; the error of package sasl never
// holds credentials.
func (n *session) logLoginFailed(r interface{ String() string }, err error) {
	n.line(slog.LevelInfo, "login failed", slog.String(telemetry.Reply, r.String()), slog.Any(telemetry.Err, err))
}

func (n *session) logEnd() {
	attrs := []slog.Attr{
		slog.String(telemetry.Reason, n.ending), slog.Int(telemetry.Count, n.tally.Accepted),
		slog.Int64(telemetry.Size, n.tally.Octets), slog.Int(telemetry.Reply, n.d.LastCode()),
		slog.Duration(telemetry.Dur, n.s.o.Clock.Now().Sub(n.opened)),
	}
	if n.endErr != nil {
		attrs = append(attrs, slog.Any(telemetry.Err, n.endErr))
	}
	n.line(slog.LevelInfo, "session ended", attrs...)
}

// rcptsLogMax is how many recipients a log line names; the count tells the
// rest.
const rcptsLogMax = 20

// recipients is a list of recipients that becomes text only when it is
// logged.
type recipients []smtp.Recipient

// LogValue is slog.LogValuer.
func (r recipients) LogValue() slog.Value {
	out := make([]string, 0, min(len(r), rcptsLogMax))
	for _, to := range r[:min(len(r), rcptsLogMax)] {
		out = append(out, to.To.String())
	}
	return slog.StringValue(strings.Join(out, " "))
}
