package tlsreport

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/mail/tlsrpt"
)

// answerOctetsMax of an HTTPS answer are read, so that the connection can be
// ended in order; nothing is made of them.
const answerOctetsMax = 4 << 10

// send tells who wants to know, and writes into the job what became of it.
func (rs *Reports) send(ctx context.Context, j *job) {
	to, err := rs.destinations(ctx, j)
	if err != nil {
		j.again, j.err = true, err
		rs.o.Metrics.count(failed)
		return
	}
	if len(to) == 0 {
		rs.o.Metrics.count(unwanted)
		return
	}
	report := rs.report(j)
	for _, d := range to {
		if slices.Contains(j.Sent, d.String()) || slices.Contains(j.to, d.String()) {
			continue
		}
		if err := rs.deliver(ctx, j, report, d); err != nil {
			j.again, j.err = true, fmt.Errorf("%s: %w", d, err)
			rs.o.Metrics.count(failed)
			rs.o.Log.Warn("TLS report was not taken", telemetry.Domain, string(j.domain), telemetry.Rcpt, d.String(), telemetry.Err, err)
			continue
		}
		j.to = append(j.to, d.String())
		rs.o.Metrics.count(sent)
	}
}

// destinations asks who wants a domain's reports (RFC 8460 §3); the error says
// that nobody could tell.
func (rs *Reports) destinations(ctx context.Context, j *job) ([]tlsrpt.Destination, error) {
	a := rs.r.Lookup(ctx, dns.Question{Name: "_smtp._tls." + string(j.domain), Type: dns.TXT})
	switch a.Status() {
	case dns.NoData, dns.NoName:
		return nil, nil
	case dns.Failing:
		return nil, fmt.Errorf("ask who wants the report: %s", a.RCode)
	case dns.Unanswered:
		if errors.Is(a.Err, dns.ErrName) {
			return nil, nil
		}
		return nil, fmt.Errorf("ask who wants the report: %w", a.Err)
	}
	var record *string
	for i, text := range a.Texts {
		rest, ok := strings.CutPrefix(text, "v=TLSRPTv1")
		if !ok || !strings.HasPrefix(strings.TrimLeft(rest, " \t"), ";") {
			continue // another's, or of a version to come
		}
		if record != nil {
			return nil, nil // RFC 8460 §3: more than one is as good as none
		}
		record = &a.Texts[i]
	}
	if record == nil {
		return nil, nil
	}
	to, err := tlsrpt.ParseRecord(*record)
	if err != nil {
		return nil, nil // nobody can be told
	}
	return to, nil
}

// report makes the report of a domain and day.
func (rs *Reports) report(j *job) *tlsrpt.Report {
	day, _ := time.Parse(time.DateOnly, j.date) // which due has parsed
	return &tlsrpt.Report{
		Organization: rs.o.Organization,
		Range:        tlsrpt.Range{Start: tlsrpt.Time{Time: day}, End: tlsrpt.Time{Time: day.AddDate(0, 0, 1).Add(-time.Second)}},
		Contact:      rs.o.From.String(),
		ID:           rs.id(j) + "@" + string(rs.o.Hostname),
		Policies:     j.Policies,
	}
}

// id of a report: the same whenever it is made.
func (rs *Reports) id(j *job) string {
	sum := sha256.Sum256([]byte(j.date + " " + string(j.domain)))
	return fmt.Sprintf("tlsrpt.%s.%x", strings.ReplaceAll(j.date, "-", ""), sum[:8])
}

func (rs *Reports) deliver(ctx context.Context, j *job, r *tlsrpt.Report, d tlsrpt.Destination) error {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	if d.URL != "" {
		return rs.post(ctx, r, d.URL)
	}
	m := tlsrpt.Mail{
		ID: rs.id(j), Now: rs.o.Clock.Now(), From: rs.o.From, To: d.Mail, Domain: j.domain, Submitter: rs.o.Hostname, Report: r,
	}
	body, err := m.Build()
	if err != nil {
		return err
	}
	return rs.poster.Post(ctx, rs.o.From, d.Mail, body)
}

// post sends a report over HTTPS (RFC 8460 §5.4).
func (rs *Reports) post(ctx context.Context, r *tlsrpt.Report, url string) error {
	if rs.web == nil {
		return errors.New("nothing is sent over HTTPS here")
	}
	packed, err := r.Encode()
	if err != nil {
		return err
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(packed))
	if err != nil {
		return err
	}
	q.Header.Set("Content-Type", "application/tlsrpt+gzip")
	q.Header.Set("User-Agent", "breakwater")
	answer, err := rs.web.Do(q)
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, answerOctetsMax))
	_ = answer.Body.Close()
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("the answer is %d", answer.StatusCode)
	}
	return nil
}
