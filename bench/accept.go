package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/breakwater-mail/breakwater/bench/proc"
	"github.com/breakwater-mail/breakwater/bench/wire"
)

const (
	drainWait = 4 * time.Minute // from the last 250 until the last message is readable
	sendMax   = 500_000         // messages of one row, however fast
	mailboxes = 16              // that the messages of a row go to
	noisyRate = 5               // flushes a second of others from which on a note is made
)

// acceptance is one way of handing mail in.
type acceptance struct {
	conns      int
	mix        bool // mail-like sizes, else 4 KB
	oneEach    bool // a connection for every message
	recipients int  // of each message
}

// users tells how many mailboxes a row fills. A message to one recipient goes to
// each in turn: a single hot mailbox would measure the peers' locks instead.
func (a acceptance) users() int { return max(a.recipients, mailboxes) }

func acceptRows(*options) []row {
	cpuGoal := goal{factor: 0.5}
	spec := func(name string, a acceptance, goals map[string]goal) row {
		return row{
			name: "accept " + name, unit: "delivered/s", more: true, users: a.users(), goals: goals,
			run: func(ctx context.Context, b *bench, h *host, users []int) (map[string]float64, error) {
				return b.accept(ctx, h, a, users)
			},
		}
	}
	return []row{
		spec("4 KB, 1 connection", acceptance{conns: 1, recipients: 1}, map[string]goal{"": {4, "maildir"}, cpu: cpuGoal}),
		spec("4 KB, 16 connections", acceptance{conns: 16, recipients: 1}, map[string]goal{"": {10, "maildir"}, cpu: cpuGoal, flushes: {factor: 0.3}}),
		spec("4 KB, 64 connections", acceptance{conns: 64, recipients: 1}, map[string]goal{cpu: cpuGoal, flushes: {factor: 0.1}, written: {factor: 2.5}}),
		spec("4 KB, 256 connections", acceptance{conns: 256, recipients: 1}, map[string]goal{cpu: cpuGoal, flushes: {factor: 0.03}}),
		spec("4 KB, one message a connection, 16 at a time", acceptance{conns: 16, oneEach: true, recipients: 1}, map[string]goal{"": {5, "maildir"}}),
		spec("mail-like sizes, 16 connections", acceptance{conns: 16, mix: true, recipients: 1}, map[string]goal{"": {5, "maildir"}, written: {factor: 1.2}}),
		spec("4 KB to 10 recipients, 16 connections", acceptance{conns: 16, recipients: 10}, map[string]goal{"": {20, "maildir"}}),
	}
}

// sent is what the load did; each connection adds its part at its end.
type sent struct {
	mu       sync.Mutex
	waits    []time.Duration
	bytes    int64
	errs     []error
	expected []int64 // by user, with the message of prime
	messages atomic.Int64
}

// accept measures one row on one host.
func (b *bench) accept(ctx context.Context, h *host, a acceptance, users []int) (map[string]float64, error) {
	if err := prime(h, users); err != nil {
		return nil, err
	}
	var before proc.Counters
	if b.disk != nil {
		noise, err := b.disk.Noise(time.Second)
		if err != nil {
			return nil, err
		}
		if noise.Flushes > noisyRate {
			b.report.note("%s, %s: others flush the device %d times a second (%d KB/s): flushes and bytes are too high", h.key, a, noise.Flushes, noise.Written>>10)
		}
		if before, err = b.disk.Read(); err != nil {
			return nil, err
		}
	}
	cpuBefore, loadBefore := proc.CPU(h.Pids()...), selfCPU()
	began := time.Now()
	load := b.send(ctx, h, a, users, began.Add(b.o.duration))
	acceptedAt := time.Since(began)
	n := int(load.messages.Load())
	if len(load.errs) > 0 {
		return nil, fmt.Errorf("%d messages, then: %w", n, errors.Join(load.errs[:1]...))
	}
	if n == 0 {
		return nil, errors.New("no message was accepted")
	}
	if err := drain(ctx, h, users, load.expected); err != nil {
		return nil, err
	}
	deliveredAt := time.Since(began)
	v := map[string]float64{
		"":       float64(n) / deliveredAt.Seconds(),
		accepted: float64(n) / acceptedAt.Seconds(),
		cpu:      ms(proc.CPU(h.Pids()...)-cpuBefore) / float64(n),
		loadCPU:  ms(selfCPU()-loadBefore) / float64(n),
	}
	slices.Sort(load.waits)
	v[p50] = ms(load.waits[len(load.waits)/2])
	v[p99] = ms(load.waits[len(load.waits)*99/100])
	if b.disk == nil {
		return v, nil
	}
	after, err := b.disk.Read()
	if err != nil {
		return v, err
	}
	settled, err := b.disk.Settled()
	v[flushes] = float64(after.Sub(before).Flushes) / float64(n)
	v[written] = float64(settled.Sub(before).Written) / float64(load.bytes)
	return v, err
}

func (a acceptance) String() string {
	return fmt.Sprintf("%d connections, %d recipients, mail-like %v", a.conns, a.recipients, a.mix)
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// selfCPU is what this program has used.
func selfCPU() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// prime sends one message to every user, so that mailboxes and processes exist,
// and waits for it.
func prime(h *host, users []int) error {
	c, err := wire.DialSMTP(h.SMTP, nil)
	if err != nil {
		return err
	}
	defer c.Quit()
	var to []string
	for _, u := range users {
		to = append(to, h.User(u))
	}
	if err := c.Send("sender@bench.example", to, []byte("Subject: first\r\n\r\nfirst\r\n")); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	want := make([]int64, len(users))
	for i := range want {
		want[i] = 1
	}
	return drain(ctx, h, users, want)
}

// drain waits until every user has the messages that he should have.
func drain(ctx context.Context, h *host, users []int, want []int64) error {
	began := time.Now()
	for i, u := range users {
		n := int(want[i])
		c, err := h.IMAP(u)
		if err != nil {
			return err
		}
		for {
			have, err := c.Messages("INBOX")
			if err != nil {
				c.Conn.Close()
				return err
			}
			if have > n {
				c.Conn.Close()
				return fmt.Errorf("%s has %d messages of %d sent", h.User(u), have, n)
			}
			if have == n {
				break
			}
			waited := time.Since(began)
			if waited > drainWait || ctx.Err() != nil {
				c.Conn.Close()
				return fmt.Errorf("%s has %d messages of %d after %s", h.User(u), have, n, waited.Round(time.Second))
			}
			// Looking costs the server: look often only at first.
			time.Sleep(max(10*time.Millisecond, waited/20))
		}
		c.Logout()
	}
	return nil
}

// send runs the connections until the deadline.
func (b *bench) send(ctx context.Context, h *host, a acceptance, users []int, deadline time.Time) *sent {
	s := &sent{expected: make([]int64, len(users))}
	var to []string
	for i, u := range users {
		to = append(to, h.User(u))
		s.expected[i] = 1
	}
	c := b.content
	var wg sync.WaitGroup
	for i := range a.conns {
		wg.Go(func() {
			l := &sender{h: h, a: a, to: to, content: c, id: i, all: s, took: make([]int64, len(to))}
			err := l.loop(ctx, deadline)
			s.mu.Lock()
			defer s.mu.Unlock()
			s.waits = append(s.waits, l.waits...)
			s.bytes += l.bytes
			for u, n := range l.took {
				s.expected[u] += n
			}
			if err != nil {
				s.errs = append(s.errs, err)
			}
		})
	}
	wg.Wait()
	return s
}

// sender is one connection of the load, or one after the other of it.
type sender struct {
	h       *host
	a       acceptance
	to      []string
	content *content
	id      int
	all     *sent
	conn    *wire.SMTP
	head    bytes.Buffer
	took    []int64 // messages by user
	waits   []time.Duration
	bytes   int64
}

func (l *sender) loop(ctx context.Context, deadline time.Time) error {
	run := fmt.Sprint(deadline.UnixNano())
	defer func() {
		if l.conn != nil {
			l.conn.Quit()
		}
	}()
	for i := 0; ctx.Err() == nil && time.Now().Before(deadline) && l.all.messages.Load() < sendMax; i++ {
		head := header(&l.head, run, l.id, i)
		size := smallBytes
		if l.a.mix {
			size = l.content.sizes[(i+l.id*37)%len(l.content.sizes)]
		}
		body := l.content.bulk(size-len(head), l.id*31+i)
		first := (i*l.a.recipients + l.id) % (len(l.to) - l.a.recipients + 1)
		began := time.Now()
		if err := l.one(l.to[first:first+l.a.recipients], head, body); err != nil {
			return err
		}
		l.waits = append(l.waits, time.Since(began))
		l.bytes += int64(len(head) + len(body))
		l.all.messages.Add(1)
		for u := first; u < first+l.a.recipients; u++ {
			l.took[u]++
		}
	}
	return nil
}

func (l *sender) one(to []string, head, body []byte) error {
	if l.conn == nil {
		conn, err := wire.DialSMTP(l.h.SMTP, nil)
		if err != nil {
			return err
		}
		l.conn = conn
	}
	err := l.conn.Send("sender@bench.example", to, head, body)
	if l.a.oneEach {
		l.conn.Quit()
		l.conn = nil
	}
	return err
}
