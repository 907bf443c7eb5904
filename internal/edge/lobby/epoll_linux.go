package lobby

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/edge/dnsbl"
)

const (
	// acceptBacklog is how many connections the kernel keeps for accept: a
	// second and a half of the worst wave.
	acceptBacklog = 4096
	// acceptsMax is how many are accepted before guests are looked after.
	acceptsMax = 256
	// acceptPauseMin is the wait after an accept that failed for want of
	// descriptors or memory.
	acceptPauseMin = 50 * time.Millisecond
	// eventsMax is how many events are taken from the kernel at a time.
	eventsMax = 512
	// goneMax is how many refused guests are seen off in a turn, so that others
	// wait for few of them.
	goneMax = 32

	// restTurns is how many turns in a restSpan make a loop rest between two:
	// waking for one event costs more than the event does.
	restTurns = 120
	restSpan  = 100 * time.Millisecond
	// rest is how long events gather then. A dialogue has four replies to wait
	// for: nobody notices.
	rest = time.Millisecond
)

// loop is a shell of one hall: a goroutine with an epoll set. Guests are
// watched edge-triggered, so that what they send early, or before they have
// taken their replies, can stay in the kernel without a call for each.
type loop struct {
	h         *hall
	o         *Options
	admit     func(Handover)
	ep, wake  int
	set       *os.File        // of ep, which the runtime's poller waits for
	raw       syscall.RawConn // of set
	listeners []int
	spare     int // a descriptor to give up when there are none, so that a connection can be refused
	paused    time.Time
	pace      pace
	half      map[int32]*os.File // connections that are being handed over
	gone      []gone             // refused guests that are leaving
	buf       [readMax]byte
	events    [eventsMax]unix.EpollEvent

	mu      sync.Mutex
	answers []answer // guarded by mu
	closed  bool     // guarded by mu: wake is no more
	resting bool     // guarded by mu: it will look for answers without being woken
}

// gone is a refused guest's leaving. When a wave ends thousands leave at once,
// each with its line in the log: those who want to say something come first.
type gone struct {
	slot, gen uint32
	events    uint32
}

// pace tells whether a loop wakes up too often.
type pace struct {
	since int64 // when this span began, Unix nanoseconds
	turns int   // in it
	fast  bool  // the last one had too many
}

// turn counts a turn with n events and reports whether to rest before the next.
func (p *pace) turn(n int, now int64) bool {
	if p.turns++; now-p.since >= int64(restSpan) {
		// At rest there are 100 turns in a span at most; it goes on while most
		// have something to do.
		p.fast = p.turns >= restTurns || p.fast && p.turns >= restTurns/4
		p.since, p.turns = now, 0
	}
	if p.fast && n == 0 {
		p.turns-- // it has rested for nothing
	}
	return p.fast
}

const hasEpoll = true

// What is no guest has the generation 0, which no guest has.
const (
	tagWake     = -1 // others are listeners, by their index
	guestEvents = unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLET
	goneEvents  = unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR
)

// listenEpoll binds one socket for each loop and address.
func listenEpoll(o *Options) (sockets [][]int, addrs []net.Addr, err error) {
	sockets = make([][]int, o.Loops)
	defer func() {
		if err != nil {
			closeSockets(sockets)
		}
	}()
	for _, addr := range o.Addrs {
		addr, err := claim(addr)
		if err != nil {
			return sockets, nil, err
		}
		for i := range sockets {
			fd, bound, err := bind(addr)
			if err != nil {
				return sockets, nil, err
			}
			sockets[i] = append(sockets[i], fd)
			if i == 0 {
				addrs = append(addrs, bound)
			}
		}
	}
	return sockets, addrs, nil
}

func closeSockets(sockets [][]int) {
	for _, fds := range sockets {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}
}

// claim finds out that nobody else listens on addr, and returns the address with
// its port: the loops' sockets share theirs, so that the kernel would let a
// second program share it too, and halve the mail of the first.
func claim(addr string) (string, error) {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	nl, err := lc.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return "", fmt.Errorf("listen: %w", err)
	}
	return nl.Addr().String(), nl.Close()
}

// bind makes a listening socket that others may share the address of, out of
// sight of the runtime's poller.
func bind(addr string) (int, net.Addr, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if e := c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		}); e != nil {
			return e
		}
		return err
	}}
	lc.SetMultipathTCP(false)
	nl, err := lc.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return -1, nil, fmt.Errorf("listen: %w", err)
	}
	defer nl.Close()
	raw, err := nl.(*net.TCPListener).SyscallConn()
	if err != nil {
		return -1, nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	fd := -1
	if e := raw.Control(func(have uintptr) {
		if fd, err = unix.FcntlInt(have, unix.F_DUPFD_CLOEXEC, 0); err == nil {
			err = unix.Listen(fd, acceptBacklog)
		}
	}); e != nil {
		err = e
	}
	if err != nil {
		unix.Close(fd)
		return -1, nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	return fd, nl.Addr(), nil
}

// newLoop makes the loop of some listening sockets, which it owns from then.
func newLoop(o *Options, h *hall, listeners []int, admit func(Handover)) (*loop, error) {
	l := &loop{h: h, o: o, admit: admit, ep: -1, wake: -1, spare: -1, listeners: listeners, half: map[int32]*os.File{}}
	h.sh = l
	var err error
	if l.ep, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err == nil {
		l.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	}
	if err == nil {
		err = l.watch(unix.EPOLL_CTL_ADD, l.wake, unix.EPOLLIN, tagWake, 0)
	}
	for i, fd := range listeners {
		if err == nil {
			err = l.watch(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN, int32(i), 0)
		}
	}
	if err == nil {
		err = l.openSet()
	}
	if err != nil {
		l.release()
		return nil, fmt.Errorf("epoll: %w", err)
	}
	l.takeSpare()
	return l, nil
}

// openSet gives the epoll set to the runtime's poller to wait for. A goroutine
// that waited in epoll_wait itself would keep a thread, and the runtime would
// look every 20 µs whether it still does: its sleeps alone were 9 % of a profile.
func (l *loop) openSet() (err error) {
	if err := unix.SetNonblock(l.ep, true); err != nil {
		return err
	}
	l.set = os.NewFile(uintptr(l.ep), "epoll")
	if err := l.set.SetReadDeadline(time.Time{}); err != nil {
		return err // the poller does not take it
	}
	l.raw, err = l.set.SyscallConn()
	return err
}

// await returns the events that are there, or comes within d.
func (l *loop) await(d time.Duration) (n int, err error) {
	n, err = pollNow(l.ep, l.events[:])
	if n != 0 || err != nil || d <= 0 {
		return n, err
	}
	if err := l.set.SetReadDeadline(l.o.Clock.Now().Add(d)); err != nil {
		return 0, err
	}
	e := l.raw.Read(func(fd uintptr) bool {
		n, err = pollNow(int(fd), l.events[:])
		return n != 0 || err != nil
	})
	if e != nil && !errors.Is(e, os.ErrDeadlineExceeded) {
		return 0, e
	}
	return max(n, 0), err
}

func (l *loop) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.set != nil {
		l.set.Close()
		l.ep = -1
	}
	for _, fd := range append(l.listeners, l.ep, l.wake, l.spare) {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// watch adds or changes a descriptor of the set. The event's user data is the
// slot and the generation.
func (l *loop) watch(op, fd int, events uint32, slot int32, gen uint32) error {
	return unix.EpollCtl(l.ep, op, fd, &unix.EpollEvent{Events: events, Fd: slot, Pad: int32(gen)})
}

func (l *loop) takeSpare() {
	if l.spare < 0 {
		l.spare, _ = unix.FcntlInt(uintptr(l.wake), unix.F_DUPFD_CLOEXEC, 0) // -1 again if there is none
	}
}

// run works until ctx ends.
func (l *loop) run(ctx context.Context) error {
	defer l.release()
	defer context.AfterFunc(ctx, l.rouse)()
	h := l.h
	h.mu.Lock()
	h.begin(l.o.Clock.Now())
	h.mu.Unlock()
	wait := time.Duration(0)
	for ctx.Err() == nil {
		n, err := l.await(wait)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("epoll: %w", err)
		}
		h.mu.Lock()
		wait = l.turn(l.events[:max(n, 0)])
		now := h.now
		h.mu.Unlock()
		resting := l.pace.turn(n, now) && wait > 0
		if resting {
			l.setResting(true)
			<-l.o.Clock.After(rest)
		}
		if resting || l.setResting(false) {
			wait = 0
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.setTime(l.o.Clock.Now())
	h.stop()
	h.observe()
	return nil
}

// setResting says whether the loop will look for answers by itself. It reports
// whether some are there, which came while it would have.
func (l *loop) setResting(on bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.resting = on
	return len(l.answers) > 0
}

// turn works off what has happened, and returns for how long nothing will be
// due.
func (l *loop) turn(events []unix.EpollEvent) time.Duration {
	h := l.h
	h.setTime(l.o.Clock.Now())
	for i := range events {
		ev := &events[i]
		slot, gen := uint32(ev.Fd), uint32(ev.Pad)
		if gen == 0 {
			l.door(ev.Fd)
			continue
		}
		g := h.live(slot, gen)
		if g == nil {
			continue
		}
		if ev.Events&goneEvents != 0 && g.flags&flagRefused != 0 {
			l.gone = append(l.gone, gone{slot, gen, ev.Events})
			continue
		}
		l.guest(slot, gen, ev.Events)
		h.setTime(h.charge(slot, gen, l.o.Clock.Now()))
	}
	l.deliver()
	h.tick()
	again := l.readReady()
	again = l.seeOff() || again
	if !l.paused.IsZero() && !l.o.Clock.Now().Before(l.paused) {
		l.paused = time.Time{}
		l.listen(unix.EPOLLIN)
	}
	if again || len(h.ready) > 0 {
		return 0
	}
	wait := h.wait()
	if !l.paused.IsZero() {
		wait = min(wait, acceptPauseMin)
	}
	return wait
}

// seeOff looks after some of the refused guests that are leaving. It reports
// whether there are more.
func (l *loop) seeOff() bool {
	n := min(len(l.gone), goneMax)
	for _, g := range l.gone[:n] {
		if l.h.live(g.slot, g.gen) != nil {
			l.guest(g.slot, g.gen, g.events)
			l.h.setTime(l.h.charge(g.slot, g.gen, l.o.Clock.Now()))
		}
	}
	l.gone = append(l.gone[:0], l.gone[n:]...)
	return len(l.gone) > 0
}

// door handles what is no guest.
func (l *loop) door(tag int32) {
	if tag != tagWake {
		l.accept(l.listeners[tag])
		return
	}
	var b [8]byte
	readNow(l.wake, b[:]) // an error means that there was nothing
}

// deliver brings the scores that have come.
func (l *loop) deliver() {
	l.mu.Lock()
	answers := l.answers
	l.answers = nil
	l.mu.Unlock()
	for _, a := range answers {
		l.h.scored(a.slot, a.gen, a.score)
		l.h.setTime(l.h.charge(a.slot, a.gen, l.o.Clock.Now()))
	}
}

// answer implements shell, from any goroutine.
func (l *loop) answer(slot, gen uint32, s dnsbl.Score) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answers = append(l.answers, answer{slot, gen, s})
	if len(l.answers) == 1 && !l.resting {
		l.rouseLocked()
	}
}

func (l *loop) rouse() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rouseLocked()
}

func (l *loop) rouseLocked() {
	if !l.closed {
		writeNow(l.wake, []byte{0, 0, 0, 0, 0, 0, 0, 1}) // it fails only if it is full of wake-ups
	}
}

// readReady reads from those whose reading may go on. It reports whether more
// is to be done at once.
func (l *loop) readReady() bool {
	ready := l.h.ready
	l.h.ready = nil
	for _, slot := range ready {
		g := l.h.taken(slot)
		if g == nil || g.flags&flagReadable == 0 {
			continue
		}
		gen := g.gen
		l.read(slot, gen, g)
		l.h.setTime(l.h.charge(slot, gen, l.o.Clock.Now()))
	}
	return len(l.h.ready) > 0
}

// accept takes connections until there are none.
func (l *loop) accept(listener int) {
	for range acceptsMax {
		fd, peer, err := acceptNow(listener)
		switch {
		case err == nil:
		case errors.Is(err, unix.EAGAIN):
			return
		case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.ENOMEM):
			if !l.short(listener, err) {
				return
			}
			continue
		default: // it has gone already
			l.o.Metrics.errors.Inc()
			continue
		}
		l.arrive(fd, peer)
	}
}

func (l *loop) arrive(fd int, peer netip.AddrPort) {
	slot, gen := l.h.arrive(int32(fd), peer)
	if slot != 0 {
		if err := l.watch(unix.EPOLL_CTL_ADD, fd, guestEvents, int32(slot), gen); err != nil {
			l.o.Log.Warn("watch a connection", telemetry.Err, err)
			l.h.broken(slot, gen)
		}
	}
	l.h.setTime(l.h.charge(slot, gen, l.o.Clock.Now()))
}

// short makes room when the system has no more descriptors: the worst guest
// leaves, or if there is none, the connection is refused with the spare
// descriptor. It reports whether to go on accepting.
func (l *loop) short(listener int, err error) bool {
	l.o.Metrics.errors.Inc()
	if l.h.evict(0, rankUnscored) {
		return true
	}
	if l.paused.IsZero() {
		l.o.Log.Warn("accept", telemetry.Err, err, telemetry.Dur, acceptPauseMin)
	}
	if l.spare >= 0 {
		unix.Close(l.spare)
		l.spare = -1
		fd, _, err := unix.Accept4(listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err == nil {
			l.h.turnAway(int32(fd))
		}
		l.takeSpare()
		if err == nil && l.spare >= 0 {
			return true
		}
	}
	l.paused = l.o.Clock.Now().Add(acceptPauseMin)
	l.listen(0)
	return false
}

// listen switches the waiting for connections on and off.
func (l *loop) listen(events uint32) {
	for i, fd := range l.listeners {
		if err := l.watch(unix.EPOLL_CTL_MOD, fd, events, int32(i), 0); err != nil {
			l.o.Log.Error("watch a listening socket", telemetry.Err, err)
		}
	}
}

// guest handles the events of one guest.
func (l *loop) guest(slot, gen uint32, events uint32) {
	h := l.h
	if events&(unix.EPOLLERR|unix.EPOLLHUP) != 0 {
		h.broken(slot, gen)
		return
	}
	if events&unix.EPOLLOUT != 0 {
		h.writable(slot, gen)
	}
	g := h.live(slot, gen)
	if g == nil || events&(unix.EPOLLIN|unix.EPOLLRDHUP) == 0 {
		return
	}
	g.flags |= flagReadable
	if events&unix.EPOLLRDHUP != 0 {
		g.flags |= flagHup
	}
	if h.want(slot, gen) > 0 {
		l.read(slot, gen, g)
		return
	}
	if events&unix.EPOLLRDHUP != 0 {
		var b [1]byte
		if n, _, err := unix.Recvfrom(int(g.fd), b[:], unix.MSG_PEEK); err == nil && n == 0 {
			h.eof(slot, gen)
			return
		}
	}
	h.waiting(slot, gen)
}

// read reads once. If more is there it is left for the next turn, so that
// nobody waits for one who sends much.
func (l *loop) read(slot, gen uint32, g *guest) {
	h := l.h
	want := min(h.want(slot, gen), len(l.buf))
	if want == 0 {
		return
	}
	n, err := readNow(int(g.fd), l.buf[:want])
	switch {
	case errors.Is(err, unix.EAGAIN):
		g.flags &^= flagReadable
		return
	case errors.Is(err, unix.EINTR):
		h.ready = append(h.ready, slot)
		return
	case err != nil:
		h.broken(slot, gen)
		return
	case n == 0:
		h.eof(slot, gen)
		return
	}
	if n < want && g.flags&flagHup == 0 {
		g.flags &^= flagReadable // the next octet is a new event
	}
	h.octets(slot, gen, l.buf[:n])
	if g = h.live(slot, gen); g != nil && g.flags&flagReadable != 0 && h.want(slot, gen) > 0 {
		h.ready = append(h.ready, slot)
	}
}

// write implements shell.
func (l *loop) write(fd int32, slot, gen uint32, b []byte) int {
	n, err := writeNow(int(fd), b)
	for errors.Is(err, unix.EINTR) {
		n, err = writeNow(int(fd), b)
	}
	switch {
	case errors.Is(err, unix.EAGAIN):
		n = 0
	case err != nil:
		return -1
	}
	if n < len(b) && gen != 0 {
		if l.watch(unix.EPOLL_CTL_MOD, int(fd), guestEvents|unix.EPOLLOUT, int32(slot), gen) != nil {
			return -1
		}
	}
	return n
}

// shutdown implements shell.
func (l *loop) shutdown(fd int32) {
	unix.Shutdown(int(fd), unix.SHUT_WR) // it fails if the client has gone, which is an event of its own
}

// close implements shell.
func (l *loop) close(fd int32) {
	if f := l.half[fd]; f != nil {
		delete(l.half, fd)
		f.Close()
		return
	}
	unix.Close(int(fd))
}

// pass implements shell. The connection leaves the set before its descriptor
// is copied, since a copy would stay in it. Copying needs a descriptor: if
// there is none the first half is done for the next time.
func (l *loop) pass(fd int32, rest []byte, o Handover) bool {
	f := l.half[fd]
	if f == nil {
		unix.EpollCtl(l.ep, unix.EPOLL_CTL_DEL, int(fd), nil) // a new connection is not in it
		f = os.NewFile(uintptr(fd), "guest")
	}
	nc, err := net.FileConn(f)
	if err != nil {
		l.half[fd] = f
		return false
	}
	delete(l.half, fd)
	f.Close()
	o.Conn = nc
	passOn(l.o, o, rest, l.admit)
	return true
}
