package policy

import (
	"context"
	"sync"
)

// Run writes the history and asks for sender policies until ctx ends.
func (p *Policy) Run(ctx context.Context) error {
	var wait sync.WaitGroup
	defer wait.Wait()
	wait.Go(func() { p.history.run(ctx) })
	for range poolAskersMax {
		wait.Go(func() { p.pools.run(ctx, p.deferredOf) })
	}
	<-ctx.Done()
	return nil
}

// deferredOf repeats a greylisted attempt for the pool that its sender turned
// out to belong to.
func (p *Policy) deferredOf(d defers) {
	if p.parts.Greylist != nil {
		p.parts.Greylist.Check(d.sender, d.to, d.at)
	}
}
