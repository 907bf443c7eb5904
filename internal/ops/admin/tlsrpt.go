package admin

import (
	"context"
	"errors"

	"github.com/breakwater-mail/breakwater/internal/mail/tlsrpt"
	"github.com/breakwater-mail/breakwater/internal/spool/tlsreport"
)

// The requests about reports on TLS (RFC 8460).
const (
	TLSReportList Op = "tlsrpt list"
	TLSReportShow Op = "tlsrpt show"
)

// TLSReports are the reports that were sent and those that came.
type TLSReports interface {
	// Received lists what came, the newest first; Sent what was sent.
	Received() []tlsreport.Received
	Sent() []tlsreport.Sent
	// Show gives one that came; an error that wraps tlsreport.ErrNoReport
	// says that there is none of this id.
	Show(id string) (tlsreport.Received, *tlsrpt.Report, error)
}

// TLSReportAnswer is the answer to a request about reports on TLS.
type TLSReportAnswer struct {
	Received []tlsreport.Received `json:"received,omitempty"`
	Sent     []tlsreport.Sent     `json:"sent,omitempty"`
	Report   *tlsrpt.Report       `json:"report,omitempty"`
}

var errNoTLSReports = errors.New("no running host to ask; start it with `breakwater serve` or `breakwater demo`")

func (x *Executor) tlsReportList(_ context.Context, _ Request, a *Answer) error {
	if x.TLSReports == nil {
		return errNoTLSReports
	}
	a.TLSReports = &TLSReportAnswer{Received: x.TLSReports.Received(), Sent: x.TLSReports.Sent()}
	return nil
}

func (x *Executor) tlsReportShow(_ context.Context, q Request, a *Answer) error {
	if x.TLSReports == nil {
		return errNoTLSReports
	}
	in, report, err := x.TLSReports.Show(q.ID)
	if errors.Is(err, tlsreport.ErrNoReport) {
		return errors.New("no report of this id came; `breakwater tlsrpt list` lists them")
	}
	if err != nil {
		return err
	}
	a.TLSReports = &TLSReportAnswer{Received: []tlsreport.Received{in}, Report: report}
	return nil
}
