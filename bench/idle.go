package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/breakwater-mail/breakwater/bench/proc"
	"github.com/breakwater-mail/breakwater/bench/wire"
)

const (
	noticeRounds  = 50
	noticeWait    = 65 * time.Second       // for one notice: Dovecot misses one now and then and looks again after 30 s
	noticePause   = 100 * time.Millisecond // between rounds: no notice may ride on the one before
	settleWait    = 3 * time.Second        // until a host's memory is what it stays at
	hostGoalMB    = 40
	sessionGoalKB = 35
)

// idleHostRow measures a host that has done nothing yet.
func idleHostRow() row {
	return row{
		name: "memory of an idle host", unit: "MB PSS", goals: map[string]goal{"": {factor: hostGoalMB}},
		run: func(_ context.Context, b *bench, h *host, _ []int) (map[string]float64, error) {
			time.Sleep(settleWait)
			return map[string]float64{"": float64(proc.PSS(h.Pids()...)) / (1 << 20)}, nil
		},
	}
}

// noticeRow measures from APPEND sent to EXISTS seen by another session in IDLE.
func noticeRow() row {
	return row{
		name: "idle notice, p50", unit: "ms", users: 1, goals: map[string]goal{"": {factor: 3}},
		run: func(_ context.Context, b *bench, h *host, users []int) (map[string]float64, error) {
			waits, err := b.notices(h, users[0])
			if err != nil {
				return nil, err
			}
			slices.Sort(waits)
			return map[string]float64{"": ms(waits[len(waits)/2]), p99: ms(waits[len(waits)-1])}, nil
		},
	}
}

func (b *bench) notices(h *host, user int) ([]time.Duration, error) {
	idler, err := h.IMAP(user)
	if err != nil {
		return nil, err
	}
	defer idler.Conn.Close()
	writer, err := h.IMAP(user)
	if err != nil {
		return nil, err
	}
	defer writer.Logout()
	if err := idler.Do("SELECT INBOX", nil); err != nil {
		return nil, err
	}
	if _, err := idler.Idle(); err != nil {
		return nil, err
	}
	var waits []time.Duration
	for i := range noticeRounds {
		msg := b.content.text(i)
		seen := make(chan error, 1)
		go func() { seen <- awaitExists(idler, i+1) }()
		began := time.Now()
		if err := writer.Append("INBOX", msg); err != nil {
			return nil, err
		}
		if err := <-seen; err != nil {
			return nil, fmt.Errorf("notice %d: %w", i+1, err)
		}
		waits = append(waits, time.Since(began))
		time.Sleep(noticePause)
	}
	return waits, nil
}

// awaitExists reads until the session is told of n messages.
func awaitExists(c *wire.IMAP, n int) error {
	c.Conn.SetReadDeadline(time.Now().Add(noticeWait))
	want := fmt.Appendf(nil, "* %d EXISTS", n)
	for {
		resp, err := c.Read()
		if err != nil {
			return err
		}
		if bytes.Equal(resp.Text, want) {
			return nil
		}
	}
}

// idleSessionsRow measures what sessions in IDLE under TLS cost.
func idleSessionsRow(o *options) row {
	return row{
		name: fmt.Sprintf("memory of an idle TLS session (%d)", o.idle), unit: "KB PSS", users: 1,
		goals: map[string]goal{"": {factor: sessionGoalKB}},
		run: func(ctx context.Context, b *bench, h *host, users []int) (map[string]float64, error) {
			var conns []*wire.IMAP
			defer func() {
				for _, c := range conns {
					c.Conn.Close()
				}
			}()
			time.Sleep(settleWait)
			before := proc.PSS(h.Pids()...)
			for range o.idle {
				c, err := h.IMAP(users[0])
				if err != nil {
					return nil, fmt.Errorf("session %d: %w", len(conns)+1, err)
				}
				conns = append(conns, c)
				if err := c.Do("SELECT INBOX", nil); err != nil {
					return nil, err
				}
				if _, err := c.Idle(); err != nil {
					return nil, fmt.Errorf("session %d: %w", len(conns), err)
				}
				c.Shrink()
				if ctx.Err() != nil {
					return nil, context.Cause(ctx)
				}
			}
			time.Sleep(settleWait)
			after := proc.PSS(h.Pids()...)
			return map[string]float64{
				"":           float64(after-before) / 1024 / float64(o.idle),
				"MB in all":  float64(after) / (1 << 20),
				"MB without": float64(before) / (1 << 20),
			}, nil
		},
	}
}
