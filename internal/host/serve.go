package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/edge/listen"
	"github.com/breakwater-mail/breakwater/internal/edge/session"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/ops/admin"
	"github.com/breakwater-mail/breakwater/internal/ops/certs"
)

const (
	// Readers keep what they have for this long after the journal has failed,
	// then the process ends so that its supervisor starts it anew.
	failedGrace = 30 * time.Second
	// How often the journal is asked whether it has failed.
	failedPoll = 250 * time.Millisecond
)

// ServeOptions are what a command adds to the configuration.
type ServeOptions struct {
	Log     Logger
	Prepare func(context.Context, *Store) error // called when the store is open, before anybody is served
	Ready   func(Bound)                         // called when everybody is served
}

// Serve runs a host until ctx is done, which is a graceful stop and no error.
func Serve(ctx context.Context, c Config, o ServeOptions) error {
	log := telemetry.Logger(o.Log.Logger, "host")
	if err := ensureCertificate(c, log); err != nil {
		return err
	}
	cert, err := certs.Open(c.DirPath(c.TLS.Certificate), c.DirPath(c.TLS.Key))
	if err != nil {
		return err
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	ls, err := bind(c, cert, reg, o.Log.Logger)
	if err != nil {
		return err
	}
	defer ls.close()
	if err := dropPrivileges(c.User); err != nil {
		return err
	}

	h := &health{dir: c.Dir, free: sys.OSFS().Free}
	stop, served := ctx, false
	ready := o.Ready
	o.Ready = func(b Bound) {
		served = true
		if ready != nil {
			ready(b)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, gctx := errgroup.WithContext(ctx)
	for _, l := range ls.metrics {
		g.Go(func() error { return serveHTTP(gctx, l, h.handler(reg)) })
	}
	err = serveStore(gctx, c, o, ls, h, cert, reg, log)
	cancel()
	if !served && stop.Err() != nil && errors.Is(err, stop.Err()) {
		log.Info("stopped before the start was over", telemetry.Reason, err.Error())
		err = nil
	}
	return errors.Join(err, g.Wait())
}

// serveStore opens the store and serves it until ctx is done or the journal
// fails.
func serveStore(ctx context.Context, c Config, o ServeOptions, ls *listeners, h *health, cert *certs.Store, reg prometheus.Registerer, log *slog.Logger) error {
	s, err := OpenStore(ctx, c, StoreOptions{Log: o.Log.Logger, Metrics: reg})
	if err != nil {
		return err
	}
	if o.Prepare != nil {
		if err := o.Prepare(ctx, s); err != nil {
			return errors.Join(err, s.Close())
		}
	}
	s.openText(c, reg, o.Log.Logger)
	h.store.Store(s)
	g, gctx := errgroup.WithContext(ctx)
	al, err := admin.Listen(c.Dir)
	if err != nil {
		return errors.Join(err, s.Close())
	}
	e, err := openEdge(c, ls.door, reg, o.Log.Logger)
	if err != nil {
		return errors.Join(err, al.Close(), s.Close())
	}
	away, err := openAway(ctx, c, s, e, reg, o.Log.Logger)
	if err != nil {
		return errors.Join(err, al.Close(), e.close(), s.Close())
	}
	operator := s.Admin()
	operator.Edge, operator.Queue, operator.Ledger, operator.Alarms = e.admin(), freshQueue{away.out.queue, s}, away.watch.ledger, away.watch.alarms
	operator.Sending, operator.TLSReports = away.out.learned, tlsReports{away.out}
	g.Go(func() error { return admin.Serve(gctx, al, operator) })
	g.Go(func() error { return away.run(gctx) })
	handlers := services(c, s, e, away, reg, o.Log.Logger)
	for _, l := range ls.mail {
		g.Go(func() error { return l.Serve(gctx, handlers[l.service]) })
	}
	g.Go(func() error {
		pool := listen.NewPool("smtp", ls.metered, telemetry.Logger(o.Log.Logger, "smtp"))
		return e.serve(gctx, pool, listen.Facts{TLS: cert.TLS()})
	})
	g.Go(func() error { return watchJournal(gctx, s, log) })
	g.Go(func() error { return tendHeap(gctx) })
	g.Go(func() error { return ignoreEnd(gctx, s.Mailboxes.Run(gctx)) })
	g.Go(func() error { return reload(gctx, c, cert, e, o.Log, log) })

	// Opening the store, and the passwords of new accounts, took memory that
	// serving does not need.
	debug.FreeOSMemory()
	o.Ready(ls.bound)
	log.Info("serving", telemetry.Version, Version(), telemetry.Path, c.Dir)
	if err := notifySystemd("READY=1"); err != nil {
		log.Warn("tell systemd", telemetry.Err, err)
	}
	<-gctx.Done()
	if err := notifySystemd("STOPPING=1"); err != nil {
		log.Warn("tell systemd", telemetry.Err, err)
	}
	err = g.Wait()
	log.Info("stopped serving")
	return errors.Join(err, away.out.close(), e.close(), s.Close())
}

// reportsMax bounds the reports of other hosts that wait to be read: what comes
// faster is a flood, and the messages are in the mailbox all the same.
const reportsMax = 16

// away is all that has to do with mail that leaves.
type away struct {
	out     *out
	watch   *watch
	holds   *holds
	hearing *hearing
	read    message.Address // that reports on TLS come to; zero is none
	reports chan string     // ids of messages to it
}

func openAway(ctx context.Context, c Config, s *Store, e *edge, reg prometheus.Registerer, log *slog.Logger) (*away, error) {
	o, err := openOut(c, s, e.dns, reg, log)
	if err != nil {
		return nil, err
	}
	w, err := openWatch(ctx, c, s, o, reg, log)
	if err != nil {
		return nil, err
	}
	h, err := newHolds(ctx, c, s, o, w.alarms, o.learned.Released, log)
	if err != nil {
		return nil, err
	}
	a := &away{out: o, watch: w, holds: h, hearing: openHearing(c, o, e.policy.Allowed, log), reports: make(chan string, reportsMax)}
	if c.TLSReport.Read != "" {
		if a.read, err = message.ParseAddress(c.TLSReport.Read); err != nil {
			return nil, fmt.Errorf("tlsrpt.read: %w", err)
		}
	}
	return a, nil
}

// heard notes what was taken from another host: whom our users hear from they
// may well answer, and a report is read.
func (a *away) heard(ctx context.Context, e *session.Envelope, id string) {
	came := arrival{ip: e.RemoteIP, helo: e.Helo, from: e.From}
	for _, r := range e.Recipients {
		if r.To == a.read {
			select {
			case a.reports <- id:
			default:
				a.out.log.Warn("a report on TLS is not read: too many at once", telemetry.Env, id)
			}
		}
		rs, err := a.out.store.Accounts.Resolve(ctx, r.To) // reads memory
		if err != nil {
			continue
		}
		for _, to := range rs {
			if !to.Remote() {
				came.to = append(came.to, to.Account)
			}
		}
	}
	a.hearing.note(came)
}

// run runs until ctx ends.
func (a *away) run(ctx context.Context) error {
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.out.run(gctx) })
	g.Go(func() error { return a.watch.run(gctx) })
	g.Go(func() error { return a.holds.run(gctx) })
	g.Go(func() error { return a.holds.origins.run(gctx) })
	g.Go(func() error { return a.hearing.run(gctx) })
	g.Go(func() error {
		for {
			select {
			case <-gctx.Done():
				return nil
			case id := <-a.reports:
				a.out.read(gctx, id)
			}
		}
	})
	return g.Wait()
}

// watchJournal returns the journal's failure, after a grace period in which
// readers keep what they have.
func watchJournal(ctx context.Context, s *Store, log *slog.Logger) error {
	tick := time.NewTicker(failedPoll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		err := s.Journal.Err()
		if err == nil {
			continue
		}
		log.Error("the journal has failed: no mail is taken, the host will end", telemetry.Err, err, telemetry.Dur, failedGrace)
		select {
		case <-ctx.Done():
		case <-time.After(failedGrace):
		}
		return fmt.Errorf("journal: %w", err)
	}
}

// needStart lists the keys whose values differ and that only a start takes over.
func needStart(was, fresh *Config) []string {
	values := map[string]string{}
	for _, k := range was.Keys() {
		values[k.Name] = k.Value
	}
	var out []string
	for _, k := range fresh.Keys() {
		if k.Value != values[k.Name] && k.Name != "log.level" && !strings.HasPrefix(k.Name, "policy.") {
			out = append(out, k.Name)
		}
	}
	return out
}

// reload takes over on SIGHUP what can change without a restart: certificate,
// policy and log level. A configuration that is not valid changes nothing.
func reload(ctx context.Context, c Config, cert *certs.Store, e *edge, level Logger, log *slog.Logger) error {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	was, err := Load(c.path) // c may have what a command line added
	if err != nil {
		was = c
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hup:
		}
		if c.path != "" {
			fresh, err := Load(c.path)
			if err != nil {
				log.Error("configuration not changed", telemetry.Err, err)
				continue
			}
			if err := level.setLevel(fresh.Log); err != nil {
				log.Error("log level not changed", telemetry.Err, err)
			}
			if err := e.reload(fresh); err != nil {
				log.Error("policy not changed", telemetry.Err, err)
			}
			if keys := needStart(&was, &fresh); len(keys) > 0 {
				log.Warn("keys of the configuration have changed that take effect at the next start", telemetry.Reason, strings.Join(keys, " "))
			}
		}
		if err := cert.Reload(); err != nil {
			log.Error("certificate not changed", telemetry.Err, err)
			continue
		}
		log.Info("read again: certificate, policy, log level", telemetry.Path, c.path)
	}
}

// ignoreEnd drops the error that only says that ctx is done.
func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}
