package ban

import (
	"context"
	"errors"
	"runtime"

	"golang.org/x/sys/unix"
)

// errThread says that the thread has ended.
var errThread = errors.New("the thread that speaks to the kernel has ended")

// thread is an operating system's thread that does all that needs the right
// to change the packet filter. The kernel asks for CAP_NET_ADMIN of whoever
// sends on a netlink socket, whoever opened it: one that root opened is of no
// use when root was given up. So the capability must be kept. It is kept here
// alone; a goroutine on any other thread, which is to say all that reads what
// strangers send, has none.
//
// It works so: PR_SET_KEEPCAPS belongs to a thread. Set on this one while the
// process is root, it lets setuid take away what is effective but leave what
// is permitted. Before its next work the thread then gives up all but
// CAP_NET_ADMIN. It is never unlocked from its goroutine and ends with it, and
// the runtime starts no other threads from a locked one.
type thread struct {
	work chan func()
	gone chan struct{}
}

func startThread() *thread {
	t := &thread{work: make(chan func()), gone: make(chan struct{})}
	ready := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer close(t.gone)
		// Without root there is nothing to keep and nothing is lost.
		_ = unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0)
		close(ready)
		for f := range t.work {
			shed()
			f()
		}
	}()
	<-ready
	return t
}

// do runs f on the thread and gives its error, or that of ctx if it ends
// first: f then goes on by itself.
func (t *thread) do(ctx context.Context, f func() error) error {
	done := make(chan error, 1)
	select {
	case t.work <- func() { done <- f() }:
	case <-t.gone:
		return errThread
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stop ends the thread after what it is doing.
func (t *thread) stop() { close(t.work) }

// shed reduces what this thread may do to CAP_NET_ADMIN once the process has
// given up root. Whatever goes wrong shows as the refusal of what comes next.
func shed() {
	if unix.Geteuid() == 0 {
		return
	}
	const netAdmin = 1 << unix.CAP_NET_ADMIN
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var have [2]unix.CapUserData
	if unix.Capget(&hdr, &have[0]) != nil {
		return
	}
	want := [2]unix.CapUserData{{
		Permitted:   have[0].Permitted & netAdmin,
		Effective:   have[0].Permitted & netAdmin,
		Inheritable: have[0].Inheritable & netAdmin,
	}}
	if want != have {
		_ = unix.Capset(&hdr, &want[0])
	}
}
