package index

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// readers is a pool of read-only connections. They are opened when first
// wanted, and the one used last is taken first: a quiet host has one, warm.
type readers struct {
	path string
	slot chan struct{} // one token for each connection in use

	mu     sync.Mutex
	free   []*sqlite.Conn
	closed bool
}

func newReaders(path string) *readers {
	return &readers{path: path, slot: make(chan struct{}, readersMax)}
}

// take returns a connection that is interrupted when ctx ends.
func (p *readers) take(ctx context.Context) (*sqlite.Conn, error) {
	select {
	case p.slot <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		<-p.slot
		return nil, ErrClosed
	}
	var conn *sqlite.Conn
	if n := len(p.free); n > 0 {
		conn, p.free = p.free[n-1], p.free[:n-1]
	}
	p.mu.Unlock()
	if conn == nil {
		var err error
		if conn, err = openReader(p.path); err != nil {
			<-p.slot
			return nil, err
		}
	}
	if ctx.Done() != nil {
		conn.SetInterrupt(ctx.Done())
	}
	return conn, nil
}

func (p *readers) put(conn *sqlite.Conn) {
	conn.SetInterrupt(nil)
	p.mu.Lock()
	closed := p.closed
	if !closed {
		p.free = append(p.free, conn)
	}
	p.mu.Unlock()
	if closed {
		conn.Close() // a read-only connection has nothing left to say
	}
	<-p.slot
}

// close waits for the connections in use.
func (p *readers) close() error {
	p.mu.Lock()
	p.closed = true
	free := p.free
	p.free = nil
	p.mu.Unlock()
	var errs []error
	for _, c := range free {
		errs = append(errs, c.Close())
	}
	for range readersMax {
		p.slot <- struct{}{}
	}
	for range readersMax {
		<-p.slot // for those who come later, to be told
	}
	return errors.Join(errs...)
}

func openReader(path string) (*sqlite.Conn, error) {
	conn, err := sqlite.OpenConn(path, sqlite.OpenReadWrite)
	if err != nil {
		return nil, fmt.Errorf("open reader of index: %w", err)
	}
	if err := pragmas(conn, "query_only=1", fmt.Sprintf("cache_size=-%d", readerCacheKB)); err != nil {
		conn.Close()
		return nil, fmt.Errorf("open reader of index: %w", err)
	}
	return conn, nil
}

// Read waits until all records that are durable now have been applied and then
// calls fn with a connection that shows one snapshot and must not write or be
// kept.
func (x *Index) Read(ctx context.Context, fn func(*sqlite.Conn) error) error {
	if err := x.Wait(ctx, x.j.Durable()); err != nil {
		return err
	}
	return x.View(ctx, fn)
}

// View is Read without the wait: for those who know that what they want has
// been applied.
func (x *Index) View(ctx context.Context, fn func(*sqlite.Conn) error) (err error) {
	if x.one != nil {
		x.one.Lock()
		defer x.one.Unlock()
		if x.isClosed() {
			return ErrClosed
		}
		return fn(x.conn)
	}
	conn, err := x.readers.take(ctx)
	if err != nil {
		return err
	}
	defer x.readers.put(conn)
	end := sqlitex.Transaction(conn)
	defer end(&err)
	if err = fn(conn); err != nil && ctx.Err() != nil && sqlite.ErrCode(err) == sqlite.ResultInterrupt {
		err = fmt.Errorf("%w: %w", ctx.Err(), err) // SQLite does not say why
	}
	return err
}

func (x *Index) isClosed() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.closed
}
