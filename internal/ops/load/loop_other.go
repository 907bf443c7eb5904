//go:build !linux

package load

import (
	"context"
	"errors"
	"net/netip"
)

// loop needs epoll, and loopback addresses in all of 127.0.0.0/8.
type loop struct{ tally *tally }

var errLinux = errors.New("the wave can only be played on Linux")

func descriptors() (uint64, error) { return 0, errLinux }

func newLoop(*Options, netip.AddrPort, *crowd, uint64) (*loop, error) { return nil, errLinux }

func (l *loop) snapshot() counts { return counts{} }

func (l *loop) run(context.Context) error { return errLinux }
