package host

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/tlsrpt"
	"github.com/breakwater-mail/breakwater/internal/spool/delivery"
	"github.com/breakwater-mail/breakwater/internal/spool/intake"
	"github.com/breakwater-mail/breakwater/internal/spool/tlsreport"
)

// openReports builds what reports on TLS sessions, and what keeps the reports
// of others.
func (o *out) openReports(names delivery.Resolver, reg prometheus.Registerer, log *slog.Logger) error {
	c, metrics := o.c, tlsreport.NewMetrics(reg)
	o.received = tlsreport.OpenArchive(tlsreport.ArchiveOptions{
		FS: sys.OSFS(), Path: c.DirPath("tls-received"), Log: log, Metrics: metrics,
	})
	if !c.TLSReport.Send || o.resolver == nil {
		return nil
	}
	hostname, err := message.ParseDomain(c.Hostname)
	if err != nil {
		return fmt.Errorf("hostname: %w", err)
	}
	from := message.Address{Local: "tls-reports", Domain: hostname}
	if c.TLSReport.From != "" {
		if from, err = message.ParseAddress(c.TLSReport.From); err != nil {
			return fmt.Errorf("tlsrpt.from: %w", err)
		}
	}
	o.reports, err = tlsreport.New(tlsreport.Options{
		Hostname: hostname, From: from, FS: sys.OSFS(), Path: c.DirPath("tls-reports"), Log: log, Metrics: metrics,
	}, names, reportPoster{o}, o.policies.Web())
	if err != nil {
		return fmt.Errorf("tlsrpt: %w", err)
	}
	return nil
}

// reportPoster sends reports as the host's own mail.
type reportPoster struct{ out *out }

// Post implements tlsreport.Poster.
func (p reportPoster) Post(ctx context.Context, from, to message.Address, body []byte) error {
	_, err := p.out.own.Post(ctx, intake.Post{From: from, To: []message.Address{to}, Body: body})
	return err
}

// read keeps the report in a message that was taken for tlsrpt.read.
func (o *out) read(ctx context.Context, id string) {
	err := func() error {
		if err := o.store.caughtUp(ctx); err != nil {
			return err
		}
		m, err := o.store.Fates.ByID(ctx, id)
		if err != nil {
			return err
		}
		b, err := o.store.Mailboxes.OpenMessage(ctx, m.LSN)
		if err != nil {
			return err
		}
		defer b.Close()
		_, err = o.received.Collect(b, b.Size())
		return err
	}()
	if err != nil {
		o.log.Warn("a message to tlsrpt.read holds no report that can be read", telemetry.Env, id, telemetry.Err, err)
	}
}

// tlsReports are the reports as operators ask for them.
type tlsReports struct{ out *out }

// Received implements admin.TLSReports.
func (r tlsReports) Received() []tlsreport.Received { return r.out.received.List() }

// Sent implements admin.TLSReports.
func (r tlsReports) Sent() []tlsreport.Sent {
	if r.out.reports == nil {
		return nil
	}
	return r.out.reports.Sent()
}

// Show implements admin.TLSReports.
func (r tlsReports) Show(id string) (tlsreport.Received, *tlsrpt.Report, error) {
	return r.out.received.Show(id)
}
