package fulltext

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// pace makes the worker rest in proportion to its work.
type pace struct {
	x     *Index
	since time.Time // when it began to work
}

func (x *Index) pace() *pace { return &pace{x: x, since: x.o.Clock.Now()} }

// step rests if there has been enough work. It says whether to go on.
func (p *pace) step(ctx context.Context) bool {
	worked := p.x.o.Clock.Now().Sub(p.since)
	if p.x.o.Rest > 0 && worked >= workMax {
		p.x.rest(ctx, worked*time.Duration(p.x.o.Rest))
		p.since = p.x.o.Clock.Now()
	}
	return ctx.Err() == nil
}

// rest waits, or less if ctx ends.
func (x *Index) rest(ctx context.Context, d time.Duration) {
	select {
	case <-x.o.Clock.After(d):
	case <-ctx.Done():
	}
}

// work is the worker: it indexes what is wanted, now and then removes what is
// gone, and replaces the file if that is damaged.
func (x *Index) work(ctx context.Context) {
	defer close(x.done)
	swept := x.o.Clock.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-x.kick:
		case <-x.o.Clock.After(sweepEvery - x.o.Clock.Now().Sub(swept)):
		}
		if x.o.Rest > 0 {
			x.rest(ctx, lingerWait)
		}
		for x.pending() && ctx.Err() == nil {
			x.attempt(ctx, x.fill)
		}
		if x.o.Clock.Now().Sub(swept) >= sweepEvery {
			swept = x.o.Clock.Now()
			x.attempt(ctx, x.sweep)
		}
	}
}

func (x *Index) pending() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.damaged || len(x.wanted) > 0
}

// attempt runs one piece of work and does what its error asks for.
func (x *Index) attempt(ctx context.Context, piece func(context.Context) error) {
	x.mu.Lock()
	damaged := x.damaged
	x.mu.Unlock()
	var err error
	if damaged || x.conn == nil {
		err = x.replace(errUnusable)
	} else if err = piece(ctx); err != nil && mendable(err) {
		err = x.replace(err)
	}
	if err != nil && ctx.Err() == nil {
		x.o.Log.Warn("text index could not be written", telemetry.Err, err)
		x.o.Metrics.faults.Inc()
		x.rest(ctx, faultWait)
	}
}

// take takes the next messages that are wanted.
func (x *Index) take() []journal.LSN {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := min(len(x.wanted), batchMax)
	var out []journal.LSN
	for _, lsn := range x.wanted[:n] {
		if !x.known.settled(lsn) {
			out = append(out, lsn)
		}
	}
	x.wanted = x.wanted[n:]
	if len(x.wanted) == 0 {
		x.wanted = nil
	}
	x.o.Metrics.wanted.Set(float64(len(x.wanted)))
	return out
}

// fill indexes one batch in one transaction. What it could not do is wanted
// again by the next search.
func (x *Index) fill(ctx context.Context) error {
	lsns := x.take()
	if free, err := x.o.FS.Free(filepath.Dir(x.o.Path)); err != nil || free < freeMin {
		return fmt.Errorf("%w: %d bytes are free on the disk, error %v", errOutside, free, err)
	}
	b, err := x.begin()
	if err != nil {
		return err
	}
	p := x.pace()
	for _, lsn := range lsns {
		if !p.step(ctx) {
			break
		}
		if err := x.indexOne(ctx, b, lsn); err != nil {
			b.rollback()
			return err
		}
	}
	return b.commit() // also when the program ends: what is done is done
}

// indexOne indexes one message. The error is one of the database; of a message
// that cannot be read, nothing becomes known.
func (x *Index) indexOne(ctx context.Context, b *batch, lsn journal.LSN) error {
	if !b.room(lsn) {
		return nil
	}
	switch err := x.readGrams(ctx, lsn); {
	case errors.Is(err, errLong):
		x.o.Metrics.passed.Inc()
		b.block(lsn).passed.add(lsn)
		return nil
	case err != nil:
		if !errors.Is(err, ErrGone) && ctx.Err() == nil {
			x.o.Log.Warn("message could not be indexed", telemetry.LSN, uint64(lsn), telemetry.Err, err)
		}
		return nil
	}
	x.terms = x.grams.appendTerms(x.terms[:0])
	if err := b.insert(lsn, x.terms); err != nil {
		return err
	}
	x.o.Metrics.indexed.Inc()
	return nil
}

// readGrams finds the grams of a message. A panic over its bytes is of no
// consequence to anybody else: the message counts as too long.
func (x *Index) readGrams(ctx context.Context, lsn journal.LSN) (err error) {
	defer func() {
		if r := recover(); r != nil {
			x.o.Log.Error("panic while a message was indexed", telemetry.LSN, uint64(lsn),
				telemetry.Err, fmt.Sprint(r), telemetry.State, string(debug.Stack()))
			err = errLong
		}
	}()
	r, err := x.o.Text(ctx, lsn)
	if err != nil {
		return fmt.Errorf("open text: %w", err)
	}
	defer r.Close()
	if x.grams == nil {
		x.grams = new(grammar)
	}
	n, err := x.grams.read(r)
	x.o.Metrics.octets.Add(float64(n))
	return err
}

// sweep removes messages that are gone.
func (x *Index) sweep(ctx context.Context) error {
	if x.o.Gone == nil {
		return nil
	}
	ids := x.blockIDs()
	p := x.pace()
	for len(ids) > 0 && p.step(ctx) {
		var lsns []journal.LSN
		x.mu.Lock()
		for len(ids) > 0 && len(lsns)+blockLSNs <= askedMax {
			lsns = x.known[ids[0]].lsns(lsns, ids[0])
			ids = ids[1:]
		}
		x.mu.Unlock()
		gone, err := x.o.Gone(ctx, lsns)
		if err != nil {
			return fmt.Errorf("%w: ask which messages are gone: %w", errOutside, err)
		}
		if len(gone) == 0 {
			continue
		}
		if err := x.remove(gone); err != nil {
			return err
		}
	}
	return nil
}

func (x *Index) remove(lsns []journal.LSN) error {
	b, err := x.begin()
	if err != nil {
		return err
	}
	for _, lsn := range lsns {
		if err := b.remove(lsn); err != nil {
			b.rollback()
			return err
		}
	}
	return b.commit()
}
