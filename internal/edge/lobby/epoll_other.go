//go:build !linux

package lobby

import (
	"context"
	"errors"
	"net"
)

// loop is never made here.
type loop struct{}

func listenEpoll(*Options) ([][]int, []net.Addr, error) { return nil, nil, errors.ErrUnsupported }

func closeSockets([][]int) {}

func newLoop(*Options, *hall, []int, func(Handover)) (*loop, error) {
	return nil, errors.ErrUnsupported
}

func (*loop) run(context.Context) error { return errors.ErrUnsupported }

const hasEpoll = false
