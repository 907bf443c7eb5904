package load

import (
	"context"
	"errors"
)

// Wave runs the quiet phase and then the wave. When ctx ends, it ends with what
// there is so far.
func Wave(ctx context.Context, o Options) (*Result, error) {
	if err := o.fill(); err != nil {
		return nil, err
	}
	if _, err := target(o.To); err != nil {
		return nil, err
	}
	return nil, errors.New("not made yet")
}
