package host

import (
	"context"
	"errors"

	"github.com/breakwater-mail/breakwater/internal/ops/admin"
)

// Verify reads every byte of the journal and compares the index with it: in
// the running host, or in the store itself when no host is running. report is
// called for each finding.
func Verify(ctx context.Context, c Config, report func(admin.Damage) error) error {
	err := admin.Client{Dir: c.Dir}.Verify(ctx, report)
	if !errors.Is(err, admin.ErrNotRunning) {
		return err
	}
	s, err := OpenStore(ctx, c, StoreOptions{})
	if err != nil {
		return err
	}
	x := s.Admin()
	return errors.Join(x.Verify(ctx, x.Scratch(), report), s.Close())
}
