package lobby

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/edge/listen"
	"github.com/breakwater-mail/breakwater/internal/edge/policy"
)

func (g *guest) remote() netip.AddrPort { return netip.AddrPortFrom(g.ip(), g.port) }

// logEnd writes a guest's one line. v is the verdict that let it pass.
func (h *hall) logEnd(g *guest, c *conversation, how ending, v *policy.Verdict) {
	ctx := context.Background()
	if !h.o.Log.Enabled(ctx, slog.LevelInfo) {
		return
	}
	var all [16]slog.Attr
	a := append(all[:0], slog.String(telemetry.Conn, listen.FormatID(g.id)), slog.String(telemetry.RemoteIP, g.ip().String()))
	if helo := c.d.Helo(); helo != "" {
		a = append(a, slog.String(telemetry.Helo, helo))
	}
	if c.named {
		a = append(a, slog.String(telemetry.From, c.from.String()), slog.String(telemetry.Rcpt, c.to.String()), slog.Int(telemetry.Count, int(g.rcpts)))
	} else if e := c.d.Envelope(); e != nil {
		a = append(a, slog.String(telemetry.From, e.From.String()))
	}
	switch {
	case v != nil:
		a = append(a, slog.String(telemetry.Verdict, v.Kind.String()), slog.String(telemetry.Check, v.By), slog.Int(telemetry.Score, v.Score))
	case g.ruling != nil:
		a = append(a, slog.String(telemetry.Verdict, g.ruling.kind.String()), slog.String(telemetry.Check, g.ruling.by),
			slog.Int(telemetry.Score, g.ruling.score))
	}
	if g.faults != 0 {
		a = append(a, slog.String(telemetry.Faults, faultNames(g.faults)))
	}
	a = append(a, slog.String(telemetry.Reason, how.String()),
		slog.Duration(telemetry.Dur, time.Duration(h.now-g.arrived).Round(time.Millisecond)), slog.Int64(telemetry.Size, g.octets))
	h.o.Log.LogAttrs(ctx, slog.LevelInfo, "guest left", a...)
}

// faultList has the names of the faults, bit by bit.
func faultList() [7]string {
	return [...]string{"early_talk", "pipelined", "not_smtp", "bare_newline", "bad_helo", "long_line", "many_errors"}
}

func faultNames(f policy.Faults) string {
	var names []string
	for i, n := range faultList() {
		if f>>i&1 != 0 {
			names = append(names, n)
		}
	}
	return strings.Join(names, " ")
}
