package tlsreport

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/tlsrpt"
)

const (
	// receivedMax reports of others are kept: a month of those that a domain
	// gets from some 15 large hosts.
	receivedMax = 500
	// receivedOctetsMax of each: failures are left out until it fits.
	receivedOctetsMax = 32 << 10
	// domainsOfReport are named in its summary.
	domainsOfReport = 8
)

// ErrNoReport says that no report has this id.
var ErrNoReport = errors.New("no such TLS report")

// Received is a report of another host, in short. Nobody has checked that it
// is of whom it says.
type Received struct {
	ID           string           `json:"id"`
	At           time.Time        `json:"at"` // when it came
	Organization string           `json:"organization"`
	From         string           `json:"from"` // of the message
	Domains      []message.Domain `json:"domains"`
	Start        time.Time        `json:"start"`
	End          time.Time        `json:"end"`
	Successful   int64            `json:"successful"`
	Failed       int64            `json:"failed"`
	Trimmed      bool             `json:"trimmed,omitempty"` // details were left out
}

// archived is a report as it is kept.
type archived struct {
	Received
	Name   string          `json:"name"` // id that its sender gave it
	Report json.RawMessage `json:"report"`
}

type fileOfArchive struct {
	Version int        `json:"version"`
	Next    uint64     `json:"next"`
	Reports []archived `json:"reports"`
}

// ArchiveOptions of an [Archive]. The zero value of a field has a default.
type ArchiveOptions struct {
	FS      sys.FS
	Path    string // in memory only if ""
	Clock   sys.Clock
	Log     *slog.Logger
	Metrics *Metrics
}

// Archive keeps the last reports of other hosts.
type Archive struct {
	o       ArchiveOptions
	mu      sync.Mutex
	next    uint64     // guarded by mu
	reports []archived // guarded by mu; the oldest first
	dirty   bool       // guarded by mu
	writing sync.Mutex // held while the file is written
}

// OpenArchive reads the archive from its file. One that cannot be used is set
// aside and logged.
func OpenArchive(o ArchiveOptions) *Archive {
	if o.FS == nil {
		o.FS = sys.OSFS()
	}
	if o.Clock == nil {
		o.Clock = sys.RealClock()
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	o.Log = telemetry.Logger(o.Log, "tlsreport")
	a := &Archive{o: o, next: 1}
	if o.Path != "" {
		if _, err := snapshot(o.FS, o.Path).Load(a.decode); err != nil {
			o.Log.Error("the file of others' TLS reports cannot be used and begins anew", telemetry.Err, err)
		}
	}
	return a
}

func (a *Archive) decode(b []byte) error {
	var all fileOfArchive
	if err := json.Unmarshal(b, &all); err != nil {
		return fmt.Errorf("%w: %w", errFile, err)
	}
	if all.Version != fileVersion {
		return fmt.Errorf("%w: version %d", errFile, all.Version)
	}
	for _, r := range all.Reports {
		if len(r.Report) > receivedOctetsMax {
			return fmt.Errorf("%w: report %.20q has %d octets", errFile, r.ID, len(r.Report))
		}
	}
	a.next, a.reports = max(all.Next, 1), all.Reports[max(0, len(all.Reports)-receivedMax):]
	return nil
}

// Collect reads the report in a message and keeps it. The error wraps
// tlsrpt.ErrReport if there is none that can be read.
func (a *Archive) Collect(r io.ReaderAt, size int64) (Received, error) {
	if size > tlsrpt.MessageMax {
		a.o.Metrics.received[1].Inc()
		return Received{}, fmt.Errorf("%w: a message of %d octets", tlsrpt.ErrReport, size)
	}
	raw := make([]byte, size)
	if n, err := r.ReadAt(raw, 0); n < len(raw) {
		return Received{}, fmt.Errorf("read a TLS report: %w", err)
	}
	report, err := tlsrpt.ParseMessage(raw)
	if err != nil {
		a.o.Metrics.received[1].Inc()
		return Received{}, err
	}
	entry, err := archive(report)
	if err != nil {
		return Received{}, err
	}
	if from := message.Parse(raw).Envelope.From; len(from) > 0 && !from[0].Group() {
		entry.From = string(printable(from[0].Mailbox + "@" + from[0].Host))
	}
	a.o.Metrics.received[0].Inc()
	return a.keep(entry), nil
}

// archive makes what is kept of a report.
func archive(r *tlsrpt.Report) (archived, error) {
	sum := r.Totals()
	e := archived{Name: r.ID, Received: Received{
		Organization: r.Organization, Start: r.Range.Start.Time, End: r.Range.End.Time,
		Successful: int64(sum.Successful), Failed: int64(sum.Failed),
	}}
	for _, p := range r.Policies {
		if d, err := message.ParseDomain(string(p.Policy.Domain)); err == nil && !slices.Contains(e.Domains, d) && len(e.Domains) < domainsOfReport {
			e.Domains = append(e.Domains, d)
		}
	}
	for {
		b, err := json.Marshal(r)
		if err != nil {
			return archived{}, fmt.Errorf("keep a TLS report: %w", err)
		}
		if len(b) <= receivedOctetsMax {
			e.Report = b
			return e, nil
		}
		e.Trimmed = true
		trim(r)
	}
}

// trim makes a report smaller: half of the longest lists goes.
func trim(r *tlsrpt.Report) {
	longest := 0
	for _, p := range r.Policies {
		longest = max(longest, len(p.Failures))
	}
	if longest == 0 {
		r.Policies = r.Policies[:(len(r.Policies)+1)/2]
		for i := range r.Policies {
			p := &r.Policies[i].Policy
			p.Text, p.MX = p.Text[:len(p.Text)/2], p.MX[:len(p.MX)/2]
		}
		return
	}
	for i := range r.Policies {
		p := &r.Policies[i]
		p.Failures = p.Failures[:min(len(p.Failures), longest/2)]
	}
}

// keep takes a report in. One that came before is replaced.
func (a *Archive) keep(e archived) Received {
	e.At = a.o.Clock.Now().UTC().Truncate(time.Second)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.reports = slices.DeleteFunc(a.reports, func(o archived) bool {
		return o.Name == e.Name && o.Organization == e.Organization && o.Start.Equal(e.Start) && slices.Equal(o.Domains, e.Domains)
	})
	if extra := len(a.reports) + 1 - receivedMax; extra > 0 {
		a.reports = slices.Delete(a.reports, 0, extra)
	}
	e.ID = strconv.FormatUint(a.next, 10)
	a.next++
	a.reports = append(a.reports, e)
	a.dirty = true
	return e.Received
}

// List gives the reports that are kept, the newest first.
func (a *Archive) List() []Received {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make([]Received, 0, len(a.reports))
	for i := len(a.reports) - 1; i >= 0; i-- {
		out = append(out, a.reports[i].Received)
	}
	return out
}

// Show gives one report; ErrNoReport says that there is none of this id.
func (a *Archive) Show(id string) (Received, *tlsrpt.Report, error) {
	a.mu.Lock()
	i := slices.IndexFunc(a.reports, func(e archived) bool { return e.ID == id })
	if i < 0 {
		a.mu.Unlock()
		return Received{}, nil, fmt.Errorf("%w: %.40q", ErrNoReport, id)
	}
	e := a.reports[i]
	a.mu.Unlock()
	r, err := tlsrpt.DecodeReport(e.Report)
	return e.Received, r, err
}

// Run keeps the file written until ctx ends.
func (a *Archive) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return a.save()
		case <-a.o.Clock.After(runEvery):
		}
		if err := a.save(); err != nil {
			a.o.Log.Error("save the TLS reports of others", telemetry.Err, err)
		}
	}
}

func (a *Archive) save() error {
	if a.o.Path == "" {
		return nil
	}
	a.writing.Lock()
	defer a.writing.Unlock()
	a.mu.Lock()
	dirty := a.dirty
	a.dirty = false
	all := fileOfArchive{Version: fileVersion, Next: a.next, Reports: slices.Clone(a.reports)}
	a.mu.Unlock()
	if !dirty {
		return nil
	}
	b, err := json.Marshal(all)
	if err == nil {
		err = snapshot(a.o.FS, a.o.Path).Replace(b)
	}
	if err != nil {
		a.mu.Lock()
		a.dirty = true
		a.mu.Unlock()
	}
	return err
}
