package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/breakwater-mail/breakwater/bench/peers"
	"github.com/breakwater-mail/breakwater/bench/proc"
	"github.com/breakwater-mail/breakwater/bench/wire"
)

const (
	bodyBytes  = 4 << 10
	perMessage = 1000 // recipients of a message of the row of the queue
	drainMax   = 10 * time.Minute
	lookGap    = 5 * time.Millisecond
)

// config lifts what would hold the load of one account, and names the next hop.
func config(nextHop string) string {
	return fmt.Sprintf("[submission]\nhold_sudden = false\nrecipients_per_hour = 1000000000\nrecipients_per_day = 1000000000\n"+
		"[delivery]\nrelay = \"smtp://%s\"\n[log]\nlevel = \"warn\"\n", nextHop)
}

// hop is one server's part of the row with one next hop.
type hop struct {
	Name    string  `json:"name"`
	Rate    float64 `json:"messages_per_s"`
	Flushes float64 `json:"flushes_per_message"`
	CPU     float64 `json:"server_cpu_ms_per_message"`
	Conns   int     `json:"connections"`
	PSS     float64 `json:"pss_mb"`
}

// handIn opens a connection on which mail for anybody is taken.
type handIn func() (*wire.SMTP, string, error)

// startSender starts a server that sends everything to nextHop.
func startSender(ctx context.Context, o *options, name, nextHop string) (*peers.Server, handIn, error) {
	dir := filepath.Join(o.Dir, name)
	if name == "postfix" {
		conf, err := peers.Certify(dir)
		if err != nil {
			return nil, nil, err
		}
		s, err := peers.StartPostfixRelay(ctx, dir, nextHop)
		if err != nil {
			return nil, nil, err
		}
		return s, func() (*wire.SMTP, string, error) {
			c, err := wire.DialSMTP(s.SMTP, conf)
			return c, "sender@bench.example", err
		}, nil
	}
	b, err := peers.NewBreakwater(ctx, peers.Bin(o.Bin), dir, config(nextHop))
	if err != nil {
		return nil, nil, err
	}
	if err := b.Start(ctx); err != nil {
		return nil, nil, err
	}
	if err := b.Provision(ctx, 1); err != nil {
		return nil, nil, errors.Join(err, b.Stop())
	}
	return &b.Server, submission(b), nil
}

// submission logs in as the first user.
func submission(b *peers.Breakwater) handIn {
	return func() (*wire.SMTP, string, error) {
		conf, err := b.TLS()
		if err != nil {
			return nil, "", err
		}
		c, err := wire.DialSMTP(b.Submissions, conf)
		if err != nil {
			return nil, "", err
		}
		token := base64.StdEncoding.EncodeToString([]byte("\x00" + b.User(0) + "\x00" + b.Password))
		return c, b.User(0), c.Command("AUTH PLAIN "+token, 235)
	}
}

// message makes one of 4 KB.
func message(from string, n int64) []byte {
	head := fmt.Sprintf("From: <%s>\r\nTo: <someone@elsewhere.example>\r\nSubject: message %d\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\nMessage-ID: <%d@bench.example>\r\n\r\n", from, n, n)
	line := strings.Repeat("0123456789abcdef", 4) + "\r\n"
	return []byte(head + strings.Repeat(line, (bodyBytes-len(head))/len(line)))
}

// oneHop measures one server.
func oneHop(ctx context.Context, o *options, disk *proc.Disk, name string) (h hop, err error) {
	sink, err := wire.NewSink("127.0.0.1:0")
	if err != nil {
		return h, err
	}
	defer sink.Close()
	s, open, err := startSender(ctx, o, name, sink.Addr())
	if err != nil {
		return h, err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	if err := pour(ctx, open, 16, 1, nil); err != nil { // so that what is made once is there
		return h, err
	}
	if err := wait(ctx, sink, 16); err != nil {
		return h, err
	}
	var before, after proc.Counters
	if disk != nil {
		if before, err = disk.Settled(); err != nil {
			return h, err
		}
	}
	cpu, began := proc.CPU(s.Pids()...), time.Now()
	if err := pour(ctx, open, o.messages, o.conns, nil); err != nil {
		return h, err
	}
	h.PSS = float64(proc.PSS(s.Pids()...)) / (1 << 20)
	if err := wait(ctx, sink, int64(16+o.messages)); err != nil {
		return h, err
	}
	_, last, conns := sink.Times()
	n := float64(o.messages)
	h.Name, h.Conns, h.Rate = name, conns, n/last.Sub(began).Seconds()
	if disk != nil {
		if after, err = disk.Read(); err != nil {
			return h, err
		}
		h.Flushes = float64(after.Sub(before).Flushes) / n
	}
	h.CPU = float64((proc.CPU(s.Pids()...) - cpu).Milliseconds()) / n
	return h, nil
}

// pour hands n messages in over conns connections; rcpts gives the recipients of
// the i-th, nil is one.
func pour(ctx context.Context, open handIn, n, conns int, rcpts func(i int64) []string) error {
	if rcpts == nil {
		rcpts = func(int64) []string { return []string{"someone@elsewhere.example"} }
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, conns)
	for k := range conns {
		wg.Go(func() {
			c, from, err := open()
			if err != nil {
				errs[k] = err
				return
			}
			defer c.Quit()
			for i := next.Add(1); i <= int64(n) && ctx.Err() == nil; i = next.Add(1) {
				if err := c.Send(from, rcpts(i), message(from, i)); err != nil {
					errs[k] = fmt.Errorf("message %d: %w", i, err)
					return
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// wait waits until the sink has n messages.
func wait(ctx context.Context, sink *wire.Sink, n int64) error {
	ctx, cancel := context.WithTimeout(ctx, drainMax)
	defer cancel()
	for sink.Messages() < n {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d messages of %d at the next hop: %w", sink.Messages(), n, ctx.Err())
		case <-time.After(lookGap):
		}
	}
	return nil
}

// queued is the row of the queue.
type queued struct {
	Recipients int     `json:"recipients"`
	Rate       float64 `json:"taken_per_s"`
	Before     float64 `json:"pss_mb_before"`
	PSS        float64 `json:"pss_mb"`
	PSSAfter   float64 `json:"pss_mb_after_restart"`
	Healthy    float64 `json:"healthy_s"`
	First      float64 `json:"first_message_s"`
}

// millions fills the queue, and restarts the host on it.
func millions(ctx context.Context, o *options) (q queued, err error) {
	dead, err := deadPort()
	if err != nil {
		return q, err
	}
	dir := filepath.Join(o.Dir, "queued")
	b, err := peers.NewBreakwater(ctx, peers.Bin(o.Bin), dir, config(dead))
	if err != nil {
		return q, err
	}
	if err := b.Start(ctx); err != nil {
		return q, err
	}
	defer func() { err = errors.Join(err, b.Stop()) }()
	if err := b.Provision(ctx, 1); err != nil {
		return q, err
	}
	q.Recipients, q.Before = o.queued, float64(proc.PSS(b.Pids()...))/(1<<20)
	began := time.Now()
	err = pour(ctx, submission(b), o.queued/perMessage, 4, func(i int64) []string {
		to := make([]string, perMessage)
		for k := range to {
			to[k] = fmt.Sprintf("user%d-%d@domain%d.example", i, k, k%200)
		}
		return to
	})
	if err != nil {
		return q, err
	}
	q.Rate = float64(o.queued) / time.Since(began).Seconds()
	time.Sleep(5 * time.Second) // so that what was needed for taking them is given back
	q.PSS = float64(proc.PSS(b.Pids()...)) / (1 << 20)
	if err := b.Stop(); err != nil {
		return q, err
	}
	sink, err := wire.NewSink("127.0.0.1:0")
	if err != nil {
		return q, err
	}
	defer sink.Close()
	if err := b.Configure(config(sink.Addr())); err != nil {
		return q, err
	}
	began = time.Now()
	if err := b.Start(ctx); err != nil {
		return q, err
	}
	q.Healthy = time.Since(began).Seconds()
	if err := wait(ctx, sink, 1); err != nil {
		return q, err
	}
	first, _, _ := sink.Times()
	q.First = first.Sub(began).Seconds()
	time.Sleep(10 * time.Second) // in the midst of sending them
	q.PSSAfter = float64(proc.PSS(b.Pids()...)) / (1 << 20)
	return q, nil
}

// deadPort is an address where nobody listens.
func deadPort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
