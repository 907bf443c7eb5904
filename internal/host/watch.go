package host

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/ops/alarm"
	"github.com/breakwater-mail/breakwater/internal/ops/ledger"
	"github.com/breakwater-mail/breakwater/internal/spool/queue"
)

// watch is what looks at the host while it runs: the auditor of its books, and
// who is told when something is wrong.
type watch struct {
	c      Config
	store  *Store
	out    *out
	audit  *ledger.Audit
	ledger *ledger.Ledger
	alarms *alarm.Alarms
	given  atomic.Int64 // messages that were answered with 250
}

func openWatch(ctx context.Context, c Config, s *Store, o *out, reg prometheus.Registerer, log *slog.Logger) (*watch, error) {
	w := &watch{c: c, store: s, out: o}
	sinks, err := c.alarmSinks()
	if err != nil {
		return nil, err
	}
	w.alarms = alarm.New(alarm.Options{
		Hostname: c.Hostname, Repeat: c.Alarm.Repeat.Std(), Log: log, Metrics: alarm.NewMetrics(reg),
	}, sinks...)
	w.audit, err = ledger.NewAudit(ctx, ledger.AuditOptions{
		Every: c.Ledger.Audit.Std(), Log: log, Metrics: ledger.NewMetrics(reg),
	}, ledger.Witnesses{Table: s.Fates, Queue: o.queue, Bodies: s.Mailboxes, Asides: s.Index, Given: w.given.Load})
	if err != nil {
		return nil, fmt.Errorf("open the audit of the books: %w", err)
	}
	w.ledger = s.ledger(w.audit).Asking(o.queue.HeldWhy)
	if reg != nil {
		reg.MustRegister(newBacklogCollector(o.queue.Backlog))
	}
	return w, nil
}

// ledger makes the books of a store; audit is nil where no host runs.
func (s *Store) ledger(audit *ledger.Audit) *ledger.Ledger {
	return ledger.New(ledger.Options{Owner: s.ownerName, Asides: s.Index, Audit: audit}, s.Fates)
}

// alarmSinks makes what [alarm] names.
func (c *Config) alarmSinks() ([]alarm.Sink, error) {
	a := alarm.Config{Webhook: c.Alarm.Webhook, Exec: c.Alarm.Exec, Syslog: c.Alarm.Syslog}
	if c.Alarm.WebhookSecretFile != "" {
		secret, err := os.ReadFile(c.DirPath(c.Alarm.WebhookSecretFile))
		if err != nil {
			return nil, fmt.Errorf("alarm.webhook_secret_file: %w", err)
		}
		a.Secret = []byte(strings.TrimRight(string(secret), "\r\n"))
	}
	sinks, err := a.Sinks()
	if err != nil {
		return nil, fmt.Errorf("alarm: %w", err)
	}
	return sinks, nil
}

// run audits and watches until ctx ends.
func (w *watch) run(ctx context.Context) error {
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return ignoreEnd(gctx, w.audit.Run(gctx)) })
	g.Go(func() error {
		return ignoreEnd(gctx, w.alarms.Run(gctx, alarm.Watch{
			QueueAge: w.c.Alarm.QueueAge.Std(), QueueSize: w.c.queueAlarm(), DiskFree: healthFreeMin,
			Backlog: w.backlog, Unaccounted: w.audit.Unaccounted, Journal: w.store.ready,
			Disk: func() (int64, error) { return sys.OSFS().Free(w.c.Dir) },
		}))
	})
	return g.Wait()
}

// queueAlarm is how many may wait without an alarm: a queue that is nearly full,
// and then refuses what users send, is one in any case.
func (c *Config) queueAlarm() int {
	return min(c.Alarm.QueueSize, c.Queue.MaxRecipients/10*9)
}

// backlog is what waits without anybody having wanted it to: those that are
// held are not late.
func (w *watch) backlog() (size int, oldest time.Duration) {
	b := w.out.queue.Backlog()
	if t := b.Total; t.Queued+t.Deferred+t.Active > 0 && !t.Oldest.IsZero() {
		oldest = b.At.Sub(t.Oldest)
	}
	return b.Total.Queued + b.Total.Deferred + b.Total.Active, oldest
}

// freshQueue is the queue as operators ask it: with all that was answered 250
// before they asked.
type freshQueue struct {
	*queue.Queue
	store *Store
}

// List implements admin.Queue.
func (q freshQueue) List(ctx context.Context, s queue.Selection, limit int) ([]queue.Row, error) {
	if err := q.store.caughtUp(ctx); err != nil {
		return nil, err
	}
	return q.Queue.List(ctx, s, limit)
}

// Act implements admin.Queue.
func (q freshQueue) Act(ctx context.Context, a queue.Action, s queue.Selection, args queue.Args) (int, error) {
	if err := q.store.caughtUp(ctx); err != nil {
		return 0, err
	}
	return q.Queue.Act(ctx, a, s, args)
}

// caughtUp waits until the views, and whoever hears of them, know all that is
// durable.
func (s *Store) caughtUp(ctx context.Context) error {
	return s.Index.Wait(ctx, s.Journal.Durable())
}
