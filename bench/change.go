package main

import (
	"fmt"
	"strconv"
	"time"
)

func (b *bench) storeAtOnce(r *reading) (time.Duration, error) {
	return r.timed("STORE "+set(r.some())+` +FLAGS.SILENT (\Flagged)`, " BAD ", 0)
}

func (b *bench) storeSingly(r *reading) (time.Duration, error) {
	numbers := r.some()
	began := time.Now()
	for _, n := range numbers {
		if err := r.conn.Do("STORE "+strconv.Itoa(n)+` +FLAGS (\Answered)`, nil); err != nil {
			return 0, err
		}
	}
	return time.Since(began), nil
}

// appendSingly appends to the mailbox that is selected.
func (b *bench) appendSingly(r *reading) (time.Duration, error) {
	var msgs [][]byte
	for i := range changeCount {
		msgs = append(msgs, b.content.text(r.n+i))
	}
	began := time.Now()
	for _, m := range msgs {
		if err := r.conn.Append("INBOX", m); err != nil {
			return 0, err
		}
	}
	d := time.Since(began)
	r.n += changeCount
	n, err := r.conn.Messages("INBOX")
	if err == nil && n != r.n {
		err = fmt.Errorf("%d messages after APPEND, not %d", n, r.n)
	}
	return d, err
}

func (b *bench) copyMany(r *reading) (time.Duration, error) {
	return r.into("COPY", r.some())
}

func (b *bench) moveMany(r *reading) (time.Duration, error) {
	d, err := r.into("MOVE", r.some())
	r.n -= changeCount
	return d, err
}

// into copies or moves to Other and checks that it arrived.
func (r *reading) into(cmd string, numbers []int) (time.Duration, error) {
	before, err := r.conn.Messages("Other")
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if err := r.conn.Do(cmd+" "+set(numbers)+" Other", nil); err != nil {
		return 0, err
	}
	d := time.Since(began)
	after, err := r.conn.Messages("Other")
	if err == nil && after != before+len(numbers) {
		err = fmt.Errorf("%s of %d: Other went from %d to %d messages", cmd, len(numbers), before, after)
	}
	return d, err
}

func (b *bench) expungeMany(r *reading) (time.Duration, error) {
	if err := r.conn.Do("STORE "+set(r.some())+` +FLAGS.SILENT (\Deleted)`, nil); err != nil {
		return 0, err
	}
	d, err := r.timed("EXPUNGE", " EXPUNGE", changeCount)
	r.n -= changeCount
	return d, err
}
