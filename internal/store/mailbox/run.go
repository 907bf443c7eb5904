package mailbox

import (
	"context"
	"errors"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

const (
	// compactEvery is how often the store looks for segments to rewrite. A
	// look costs a scan of a small table.
	compactEvery = time.Hour

	// scrubEvery is the pause between two scrubs: media damage is found
	// within days, while a backup still has the message.
	scrubEvery = 24 * time.Hour

	// scrubShare is the part of the time that a scrub works, and scrubWork
	// how long at a stretch: readers and the log hardly notice it.
	scrubShare = 0.1
	scrubWork  = 2 * time.Millisecond
	scrubRest  = 2 * time.Second
)

// Run keeps house until ctx ends: it compacts the journal, and scrubs it slowly
// from end to end, reporting damage with its owners in the log. It returns
// ctx's error.
func (s *Store) Run(ctx context.Context) error {
	if !s.j.Recovery().Clean {
		if n, err := s.j.SweepLarge(ctx); err != nil {
			s.o.Log.Warn("large bodies that nobody refers to are not removed", telemetry.Err, err)
		} else if n > 0 {
			s.o.Log.Info("large bodies removed that nobody refers to", telemetry.Count, n)
		}
	}
	scrubbed := make(chan struct{})
	go func() {
		defer close(scrubbed)
		s.scrubAll(ctx)
	}()
	for {
		select {
		case <-ctx.Done():
			<-scrubbed
			return ctx.Err()
		case <-s.o.Clock.After(compactEvery):
		}
		n, err := s.Compact(ctx)
		switch {
		case ctx.Err() != nil:
		case errors.Is(err, journal.ErrFull):
			s.o.Log.Warn("no room to compact the journal", telemetry.Err, err)
		case err != nil:
			s.o.Log.Error("compaction did not come to its end", telemetry.Err, err)
		case n > 0:
			s.o.Log.Info("journal compacted", telemetry.Count, n)
		}
	}
}

// scrubAll scrubs again and again until ctx ends.
func (s *Store) scrubAll(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.o.Clock.After(scrubEvery):
		}
		if err := s.Scrub(ctx); err != nil && ctx.Err() == nil {
			s.o.Log.Error("scrub did not come to its end", telemetry.Err, err)
		}
	}
}

// Scrub reads the whole journal at a tenth of the disk's speed, compares every
// checksum, and logs what is damaged and whose it is.
func (s *Store) Scrub(ctx context.Context) error {
	slow := &pacedContext{Context: ctx, clock: s.o.Clock, began: s.o.Clock.Now()}
	n := 0
	err := s.verifyJournal(slow, func(f Finding) {
		n++
		s.o.Metrics.findings.Inc()
		s.o.Log.Error("stored bytes are damaged", telemetry.Reason, f.String(),
			telemetry.LSN, uint64(f.LSN), telemetry.Segment, f.Segment.String())
	})
	if err != nil {
		return err
	}
	s.o.Metrics.scrubbed.Inc()
	s.o.Log.Info("journal scrubbed", telemetry.Count, n)
	return nil
}

// pacedContext slows down whoever asks it often whether to go on: after each
// scrubWork of work Err waits until the share of work is scrubShare.
type pacedContext struct {
	context.Context
	clock sys.Clock
	began time.Time // of the present stretch of work; the scrub's goroutine only
}

// Err implements context.Context.
func (p *pacedContext) Err() error {
	if worked := p.clock.Now().Sub(p.began); worked >= scrubWork {
		rest := min(time.Duration(float64(worked)*(1-scrubShare)/scrubShare), scrubRest)
		select {
		case <-p.Done():
		case <-p.clock.After(rest):
		}
		p.began = p.clock.Now()
	}
	return p.Context.Err()
}
