package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/breakwater-mail/breakwater/bench/wire"
)

const (
	changeCount = 1000 // messages that the bodies, STORE, APPEND, COPY, MOVE and EXPUNGE rows touch
	fillBatch   = 100  // messages of one MULTIAPPEND while a mailbox is filled

	appendFillMax = 20_000 // messages from which on a maildir is filled with files
	repeats       = 5      // of a row that changes nothing; its median counts
	fourClients   = 4
)

// reading is a filled mailbox of one host with an open session.
type reading struct {
	h    *host
	user int
	n    int // messages in INBOX now
	conn *wire.IMAP
	rand *rand.Rand
}

// readRows lists what is done to a mailbox of n messages, in this order: the
// rows that change it come last.
func readRows(n int) []row {
	at := fmt.Sprintf("%d messages: ", n)
	type work = func(b *bench, r *reading) (time.Duration, error)
	spec := func(name string, g goal, w work) row {
		r := row{name: at + name, unit: "ms"}
		if g.factor > 0 {
			r.goals = map[string]goal{"": g}
		}
		r.run = func(ctx context.Context, b *bench, h *host, _ []int) (map[string]float64, error) {
			m, err := b.reading(ctx, h, n)
			if err != nil {
				return nil, err
			}
			d, err := w(b, m)
			if err != nil {
				m.conn.Conn.Close() // the next row starts afresh
				m.conn = nil
				return nil, err
			}
			return map[string]float64{"": ms(d)}, nil
		}
		return r
	}
	level := goal{1, "mdbox"}
	return []row{
		spec("SELECT first", goal{}, (*bench).selectFirst),
		spec("SELECT warm", level, (*bench).selectWarm),
		spec("FETCH 1:* (UID FLAGS)", level, (*bench).fetchFlags),
		spec("FETCH 1:* (ENVELOPE), first", goal{0.5, "best"}, (*bench).fetchEnvelope),
		spec("FETCH 1:* (ENVELOPE), again", goal{0.5, "best"}, again((*bench).fetchEnvelope)),
		spec("1,000 random bodies, one by one", goal{0.7, "mdbox"}, (*bench).bodiesSingly),
		spec("1,000 random bodies, one command", level, (*bench).bodiesAtOnce),
		spec("SEARCH SUBJECT", goal{1, "best"}, again(search("SUBJECT "+rareTitle, 0))),
		spec("SEARCH UNSEEN", goal{1, "best"}, again(search("UNSEEN", -1))),
		spec("SEARCH TEXT, first", goal{}, search("TEXT "+rareText, rareEvery/2)),
		spec("SEARCH TEXT, again", goal{0.05, "best"}, settled(again(search("TEXT "+rareText, rareEvery/2)))),
		spec("four clients: SELECT, FLAGS, ENVELOPE", goal{0.5, "mdbox"}, (*bench).four),
		spec("STORE 1,000, one command", level, (*bench).storeAtOnce),
		spec("STORE 1,000, one by one", level, (*bench).storeSingly),
		spec("APPEND 1,000 of 4 KB, one by one", goal{0.5, "mdbox"}, (*bench).appendSingly),
		spec("COPY 1,000", level, (*bench).copyMany),
		spec("MOVE 1,000", level, (*bench).moveMany),
		spec("EXPUNGE 1,000", level, (*bench).expungeMany),
	}
}

// reading gives the host's mailbox of n messages, filled and selected.
func (b *bench) reading(ctx context.Context, h *host, n int) (*reading, error) {
	r := h.mail[n]
	if r == nil {
		users, err := b.nextUsers(ctx, 1)
		if err != nil {
			return nil, err
		}
		r = &reading{h: h, user: users[0], n: n, rand: rand.New(rand.NewPCG(5, uint64(n)))}
		began := time.Now()
		if err := b.fill(ctx, r); err != nil {
			return nil, fmt.Errorf("fill with %d messages: %w", n, err)
		}
		fmt.Fprintf(b.out, "(filled in %.1fs) ", time.Since(began).Seconds())
		h.mail[n] = r
	}
	if r.conn != nil {
		return r, nil
	}
	var err error
	if r.conn, err = h.IMAP(r.user); err != nil {
		return nil, err
	}
	return r, r.conn.Do("SELECT INBOX", nil)
}

// fill puts n messages into INBOX and leaves no session behind.
func (b *bench) fill(ctx context.Context, r *reading) error {
	put := b.fillByAppend
	if r.h.Maildir && r.n > appendFillMax {
		put = b.fillByFiles
	}
	c, err := r.h.IMAP(r.user)
	if err != nil {
		return err
	}
	defer c.Logout()
	if err := put(ctx, r, c); err != nil {
		return err
	}
	if err := c.Do("CREATE Other", nil); err != nil {
		return err
	}
	n, err := c.Messages("INBOX")
	if err == nil && n != r.n {
		err = fmt.Errorf("%d messages instead of %d", n, r.n)
	}
	return err
}

// fillByFiles writes the files of a maildir, named as Dovecot names them: its
// APPEND takes five minutes for 100,000.
func (b *bench) fillByFiles(ctx context.Context, r *reading, c *wire.IMAP) error {
	if err := c.Do("SELECT INBOX", nil); err != nil { // makes the folders
		return err
	}
	if err := c.Do("UNSELECT", nil); err != nil {
		return err
	}
	for i := range r.n {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		crlf := b.content.text(i)
		lf := bytes.ReplaceAll(crlf, []byte("\r\n"), []byte("\n"))
		name := fmt.Sprintf("%d.M%dP1.bench,S=%d,W=%d", 1793872800+i/1000, i%1000, len(lf), len(crlf))
		if err := r.h.PutFile(r.user, name, lf); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) fillByAppend(ctx context.Context, r *reading, c *wire.IMAP) error {
	for i := 0; i < r.n; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var msgs [][]byte
		for ; i < r.n && len(msgs) < fillBatch; i++ {
			msgs = append(msgs, b.content.text(i))
		}
		if err := c.Append("INBOX", msgs...); err != nil {
			return err
		}
	}
	return nil
}

// timed runs one command and checks how many responses with the word it had.
func (r *reading) timed(cmd, word string, want int) (time.Duration, error) {
	needle := []byte(word)
	got := 0
	began := time.Now()
	err := r.conn.Do(cmd, func(resp wire.Response) {
		if bytes.Contains(resp.Text, needle) {
			got++
		}
	})
	d := time.Since(began)
	if err == nil && want >= 0 && got != want {
		err = fmt.Errorf("%.60s: %d responses with %s, not %d", cmd, got, word, want)
	}
	return d, err
}

// again gives the median of some runs.
func again(w func(*bench, *reading) (time.Duration, error)) func(*bench, *reading) (time.Duration, error) {
	return func(b *bench, r *reading) (time.Duration, error) {
		var all []time.Duration
		for range repeats {
			d, err := w(b, r)
			if err != nil {
				return 0, err
			}
			all = append(all, d)
		}
		slices.Sort(all)
		return all[repeats/2], nil
	}
}

// settled has the host do first what an earlier answer left it to do.
func settled(w func(*bench, *reading) (time.Duration, error)) func(*bench, *reading) (time.Duration, error) {
	return func(b *bench, r *reading) (time.Duration, error) {
		if err := r.h.Settle(context.Background()); err != nil {
			return 0, err
		}
		return w(b, r)
	}
}

// selectFirst is the first SELECT of a new session after the mailbox was filled.
func (b *bench) selectFirst(r *reading) (time.Duration, error) {
	r.conn.Logout()
	var err error
	if r.conn, err = r.h.IMAP(r.user); err != nil {
		return 0, err
	}
	return r.timed("SELECT INBOX", " EXISTS", 1)
}

func (b *bench) selectWarm(r *reading) (time.Duration, error) {
	return again(func(_ *bench, r *reading) (time.Duration, error) {
		if err := r.conn.Do("UNSELECT", nil); err != nil {
			return 0, err
		}
		return r.timed("SELECT INBOX", " EXISTS", 1)
	})(b, r)
}

func (b *bench) fetchFlags(r *reading) (time.Duration, error) {
	return again(func(_ *bench, r *reading) (time.Duration, error) {
		return r.timed("FETCH 1:* (UID FLAGS)", " FETCH (", r.n)
	})(b, r)
}

func (b *bench) fetchEnvelope(r *reading) (time.Duration, error) {
	return r.timed("FETCH 1:* (ENVELOPE)", " FETCH (", r.n)
}

// some gives changeCount different sequence numbers in random order.
func (r *reading) some() []int {
	all := r.rand.Perm(r.n)[:changeCount]
	for i := range all {
		all[i]++
	}
	return all
}

// set writes sequence numbers as an IMAP sequence set.
func set(numbers []int) string {
	parts := make([]string, len(numbers))
	for i, n := range numbers {
		parts[i] = strconv.Itoa(n)
	}
	return strings.Join(parts, ",")
}

func (b *bench) bodiesSingly(r *reading) (time.Duration, error) {
	numbers := r.some()
	began := time.Now()
	for _, n := range numbers {
		if err := r.body(strconv.Itoa(n), 1); err != nil {
			return 0, err
		}
	}
	return time.Since(began), nil
}

func (b *bench) bodiesAtOnce(r *reading) (time.Duration, error) {
	numbers := r.some()
	began := time.Now()
	err := r.body(set(numbers), changeCount)
	return time.Since(began), err
}

// body fetches whole messages and checks their number and size.
func (r *reading) body(numbers string, want int) error {
	got := 0
	err := r.conn.Do("FETCH "+numbers+" BODY.PEEK[]", func(resp wire.Response) {
		if len(resp.Literals) == 1 && len(resp.Literals[0]) >= smallBytes-20 {
			got++
		}
	})
	if err == nil && got != want {
		err = fmt.Errorf("%d bodies of %d", got, want)
	}
	return err
}

// search gives a SEARCH that must find every message that rareEvery picks at
// offset; a negative offset checks nothing.
func search(key string, offset int) func(*bench, *reading) (time.Duration, error) {
	return func(_ *bench, r *reading) (time.Duration, error) {
		found := -1
		began := time.Now()
		err := r.conn.Do("SEARCH "+key, func(resp wire.Response) {
			if rest, ok := bytes.CutPrefix(resp.Text, []byte("* SEARCH")); ok {
				found = len(bytes.Fields(rest))
			}
		})
		d := time.Since(began)
		if err == nil && offset >= 0 && found != rareIn(r.n, offset) {
			err = fmt.Errorf("SEARCH %s found %d messages, not %d", key, found, rareIn(r.n, offset))
		}
		return d, err
	}
}

// four runs four sessions on the same mailbox at the same time.
func (b *bench) four(r *reading) (time.Duration, error) {
	var all []*reading
	for range fourClients {
		c, err := r.h.IMAP(r.user)
		if err != nil {
			return 0, err
		}
		defer c.Logout()
		all = append(all, &reading{h: r.h, n: r.n, conn: c})
	}
	errs := make(chan error, fourClients)
	began := time.Now()
	for _, one := range all {
		go func() {
			_, err := one.timed("SELECT INBOX", " EXISTS", 1)
			if err == nil {
				_, err = one.timed("FETCH 1:* (UID FLAGS)", " FETCH (", one.n)
			}
			if err == nil {
				_, err = one.timed("FETCH 1:* (ENVELOPE)", " FETCH (", one.n)
			}
			errs <- err
		}()
	}
	var err error
	for range fourClients {
		err = errors.Join(err, <-errs)
	}
	return time.Since(began), err
}
