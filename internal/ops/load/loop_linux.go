package load

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	tick      = 5 * time.Millisecond   // between looks at the curve
	sweepGap  = 200 * time.Millisecond // between looks for those whose patience has ended
	eventsMax = 512                    // events taken at once: 6 KB
	readMax   = 4096                   // octets read at once; replies are shorter
)

// loop has all strangers' sockets. Everything but the snapshot belongs to the
// goroutine of run.
type loop struct {
	o      *Options
	to     unix.SockaddrInet4
	crowd  *crowd
	tally  *tally
	began  time.Time
	epoll  int
	people []stranger // by descriptor
	queue  []resident // holding, the longest first
	lives  uint32
	buf    [readMax]byte
	out    []byte
	sweep  time.Duration // when next

	mu   sync.Mutex
	seen counts // guarded by mu
}

// resident is a stranger that holds on.
type resident struct {
	fd   int32
	life uint32
}

// descriptors raises the soft limit to the hard one and tells how many there
// may be.
func descriptors() (uint64, error) {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return 0, fmt.Errorf("ask for the limit of descriptors: %w", err)
	}
	if l.Cur < l.Max {
		l.Cur = l.Max
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
			return 0, fmt.Errorf("raise the limit of descriptors: %w", err)
		}
	}
	return l.Cur, nil
}

func newLoop(o *Options, to netip.AddrPort, c *crowd, limit uint64) (*loop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make an epoll set: %w", err)
	}
	return &loop{
		o: o, crowd: c, tally: newTally(), epoll: epoll,
		to: unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()},
		// Descriptors are handed out from the lowest, so that more are never seen.
		people: make([]stranger, min(limit, uint64(c.offered()+descriptorsElse))),
	}, nil
}

// snapshot gives the counts as of the last tick.
func (l *loop) snapshot() counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seen
}

// run plays the crowd until its end and until everybody has had an answer or
// lost patience, or until ctx ends.
func (l *loop) run(ctx context.Context) error {
	defer unix.Close(l.epoll)
	l.began = time.Now()
	events := make([]unix.EpollEvent, eventsMax)
	for {
		now := l.now()
		if err := l.steer(now); err != nil {
			l.finish()
			return err
		}
		over := now >= l.crowd.end() && l.tally.open == 0
		if over || ctx.Err() != nil {
			l.finish()
			return nil
		}
		n, err := unix.EpollWait(l.epoll, events, int(tick/time.Millisecond))
		if err != nil && !errors.Is(err, unix.EINTR) {
			l.finish()
			return fmt.Errorf("wait for events: %w", err)
		}
		woke := l.now()
		for _, e := range events[:max(n, 0)] {
			l.event(woke, &e)
		}
		l.tally.lateMax = max(l.tally.lateMax, l.now()-woke)
	}
}

func (l *loop) now() time.Duration { return time.Since(l.began) }

// steer opens and closes what the crowd says, and looks after patience.
func (l *loop) steer(now time.Duration) error {
	more, fewer := l.crowd.step(now, l.tally.open)
	for range more {
		if err := l.open(now); err != nil {
			return err
		}
	}
	for ; fewer > 0 && len(l.queue) > 0; l.queue = l.queue[1:] {
		if r := l.queue[0]; l.people[r.fd].life == r.life {
			l.close(int(r.fd))
			fewer--
		}
	}
	if now >= l.sweep {
		l.sweep = now + sweepGap
		l.impatient(now)
		if len(l.queue) > 2*len(l.people) { // of those that the server closed
			l.queue = slices.DeleteFunc(l.queue, func(r resident) bool { return l.people[r.fd].life != r.life })
		}
	}
	t := l.tally
	t.wanted = l.crowd.wanted(now)
	l.mu.Lock()
	l.seen = t.counts
	l.mu.Unlock()
	return nil
}

// open sends one more stranger on its way.
func (l *loop) open(now time.Duration) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open connection %d: %w", l.tally.open+1, err)
	}
	if fd >= len(l.people) {
		l.people = append(l.people, make([]stranger, fd+1-len(l.people))...)
	}
	n := uint32(l.tally.attempted)
	l.lives++
	l.people[fd] = stranger{
		since: millis(now), due: millis(now + l.o.Patience), number: n, life: l.lives, stage: connecting,
		quits: quits(n, l.o.Quit),
	}
	l.tally.attempted++
	l.tally.open++
	// The port is chosen when the connection is made: then it need only differ
	// from others to the same server.
	err = errors.Join(unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1),
		unix.Bind(fd, &unix.SockaddrInet4{Addr: strangerAddr(n)}))
	if err != nil {
		return fmt.Errorf("take the address %v: %w", netip.AddrFrom4(strangerAddr(n)), err)
	}
	if err := unix.Connect(fd, &l.to); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		l.lose(now, fd, err)
		return nil
	}
	event := unix.EpollEvent{Fd: int32(fd), Pad: int32(l.lives), Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET}
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		return fmt.Errorf("watch connection %d: %w", l.tally.open, err)
	}
	return nil
}

func millis(d time.Duration) uint32 { return uint32(d / time.Millisecond) }

// event has a stranger do what it can.
func (l *loop) event(now time.Duration, e *unix.EpollEvent) {
	fd := int(e.Fd)
	s := &l.people[fd]
	if s.life != uint32(e.Pad) || s.stage == absent {
		return // of one that is gone
	}
	if s.stage == connecting {
		errno, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && errno != 0 {
			err = unix.Errno(errno)
		}
		if err != nil {
			l.lose(now, fd, err)
			return
		}
		if e.Events&unix.EPOLLOUT == 0 {
			return
		}
		s.stage = atBanner
		s.due = millis(now + l.o.Patience)
		l.tally.established++
		l.tally.heldMax = max(l.tally.heldMax, l.tally.established)
	}
	const ended = unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR
	if e.Events&(unix.EPOLLIN|ended) != 0 {
		l.read(now, fd, e.Events&ended != 0)
	}
}

// read takes what the server said, until there is no more. Events come at
// edges: whatever comes after a short read makes another, unless the end has
// been announced already.
func (l *loop) read(now time.Duration, fd int, ended bool) {
	s := &l.people[fd]
	for {
		n, err := unix.Read(fd, l.buf[:])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return
		case err != nil:
			l.lose(now, fd, err)
			return
		case n == 0:
			l.lose(now, fd, nil)
			return
		}
		s.due = millis(now + l.o.Patience)
		for _, b := range l.buf[:n] {
			if code := s.hear(b); code != 0 && !l.reply(now, fd, code) {
				return
			}
		}
		if n < len(l.buf) && !ended {
			return
		}
	}
}

// reply has a stranger take a whole reply. It tells whether the connection is
// still there.
func (l *loop) reply(now time.Duration, fd int, code uint16) bool {
	s := &l.people[fd]
	t := l.tally
	t.reply(s.stage, code)
	since := now - time.Duration(s.since)*time.Millisecond
	before := s.stage
	m := s.answer(code)
	if before == atBanner {
		t.wait.add(since)
		if s.stage == atEHLO {
			t.greeted++
			t.greetedMax = max(t.greetedMax, t.greeted)
		}
	}
	if m.fate != undecided {
		t.fates[m.fate]++
	}
	if m.fate == refused {
		t.refusal.add(since)
	}
	if m.say != absent {
		l.out = s.line(l.out[:0], m.say, l.o.Rcpt)
		// A command is short: a socket that does not take it whole is broken.
		if n, err := unix.Write(fd, l.out); err != nil || n < len(l.out) {
			l.lose(now, fd, err)
			return false
		}
	}
	if s.stage == holding && before != holding {
		l.queue = append(l.queue, resident{int32(fd), s.life})
	}
	if m.close {
		l.depart(now, fd)
	}
	return !m.close
}

// lose ends a connection that the server or the network ended; err nil is a
// close in order.
func (l *loop) lose(now time.Duration, fd int, err error) {
	l.giveUp(fd, why(err))
	l.depart(now, fd)
}

// depart takes a stranger away that goes before the crowd is done with it. Who
// had its answer is replaced at once, others after a while.
func (l *loop) depart(now time.Duration, fd int) {
	if !l.people[fd].stage.answered() {
		l.crowd.left(now)
	}
	l.close(fd)
}

// giveUp counts a stranger that went without an answer.
func (l *loop) giveUp(fd int, reason string) {
	if s := &l.people[fd]; !s.stage.answered() {
		l.tally.fates[lost]++
		l.tally.lostBy[reason+" at "+s.stage.String()]++
	}
}

func why(err error) string {
	switch {
	case err == nil:
		return "closed"
	case errors.Is(err, unix.ECONNREFUSED):
		return "refused"
	case errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.EPIPE):
		return "reset"
	case errors.Is(err, unix.ETIMEDOUT):
		return "timed out"
	default:
		return err.Error()
	}
}

// impatient closes those that have waited long enough.
func (l *loop) impatient(now time.Duration) {
	for fd := range l.people {
		s := &l.people[fd]
		if s.stage == absent || s.stage == holding || now < time.Duration(s.due)*time.Millisecond {
			continue
		}
		l.giveUp(fd, "no answer")
		l.depart(now, fd)
	}
}

func (l *loop) close(fd int) {
	s := &l.people[fd]
	if s.stage != connecting {
		l.tally.established--
	}
	if s.stage > atBanner {
		l.tally.greeted--
	}
	l.tally.open--
	*s = stranger{}
	unix.Close(fd)
}

// finish closes everything; who has had no answer yet is unfinished.
func (l *loop) finish() {
	for fd := range l.people {
		if s := &l.people[fd]; s.stage != absent {
			if !s.stage.answered() {
				l.tally.unfinished++
			}
			l.close(fd)
		}
	}
	l.mu.Lock()
	l.seen = l.tally.counts
	l.mu.Unlock()
}
