package tlsreport

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/mail/tlsrpt"
	"github.com/breakwater-mail/breakwater/internal/spool/tlspolicy"
)

// TestReports_run lets some days go by.
func TestReports_run(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.o.Clock = sys.RealClock() // that of the bubble
		f.start(t)
		f.wants("example.org", "v=TLSRPTv1; rua=mailto:reports@example.org")
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- f.Run(ctx) }()
		for day := range 3 {
			f.Session(session(opportunistic("example.org"), ""))
			time.Sleep(24 * time.Hour)
			time.Sleep(jitterMax + runEvery)
			if got := len(f.Sent()); got != day+1 {
				t.Errorf("day %d: %d reports, want %d", day, got, day+1)
			}
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		f.start(t)
		if got := len(f.Sent()); got != 3 {
			t.Errorf("%d reports after a restart, want 3", got)
		}
	})
}

// TestReports_trouble: a policy that could not be had is reported, though the
// session was as well as could be.
func TestReports_trouble(t *testing.T) {
	f := newFixture(t)
	p := opportunistic("example.org")
	p.Trouble = &tlspolicy.Failure{Policy: p, Type: tlspolicy.STSPolicyFetchError, Err: errors.New("the policy host answers 404\r\nBcc: x")}
	f.Session(session(p, ""))
	f.Session(session(p, tlspolicy.StartTLSNotSupported))
	a := f.tally.domains[key{"2026-03-01", "example.org"}]
	if len(a.Policies) != 1 || a.Policies[0].Summary != (tlsrpt.Summary{Failed: 2}) || len(a.Policies[0].Failures) != 2 {
		t.Fatalf("got %+v, want two failures", a.Policies)
	}
	if got := a.Policies[0].Failures[0]; got.Type != "sts-policy-fetch-error" || strings.ContainsAny(string(got.Reason), "\r\n") {
		t.Errorf("got %+v", got)
	}
}

func TestArchive_run(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		o := ArchiveOptions{FS: f.o.FS, Path: "received.json"}
		a := OpenArchive(o)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- a.Run(ctx) }()
		raw := string(build(t, &tlsrpt.Report{Policies: tlsrpt.Policies{{}}}))
		if _, err := a.Collect(strings.NewReader(raw), int64(len(raw))); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * runEvery)
		if got := len(OpenArchive(o).List()); got != 1 {
			t.Errorf("%d reports in the file, want 1", got)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
