package wire

import (
	"bufio"
	"bytes"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Sink is an SMTP server that takes everything and keeps nothing: the next hop
// of a benchmark. It offers what Postfix's own smtp-sink does (PIPELINING,
// 8BITMIME, SIZE), and counts.
type Sink struct {
	l        net.Listener
	messages atomic.Int64
	rcpts    atomic.Int64
	mu       sync.Mutex
	conns    map[net.Conn]struct{} // guarded by mu
	first    time.Time             // of the first message; guarded by mu
	last     time.Time             // guarded by mu
	open     int                   // guarded by mu
	most     int                   // connections at once; guarded by mu
	wg       sync.WaitGroup
}

// NewSink listens on addr; "127.0.0.1:0" is any port.
func NewSink(addr string) (*Sink, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	s := &Sink{l: l, conns: map[net.Conn]struct{}{}}
	s.wg.Go(s.accept)
	return s, nil
}

// Addr gives host:port.
func (s *Sink) Addr() string { return s.l.Addr().String() }

// Messages gives how many were taken so far, Recipients to how many addresses.
func (s *Sink) Messages() int64 { return s.messages.Load() }

// Recipients gives to how many addresses the messages went.
func (s *Sink) Recipients() int64 { return s.rcpts.Load() }

// Times gives when the first and the last message were taken, and how many
// connections there were at once at most.
func (s *Sink) Times() (first, last time.Time, conns int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.first, s.last, s.most
}

// Close ends it with all its connections.
func (s *Sink) Close() error {
	err := s.l.Close()
	s.mu.Lock()
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
	return err
}

func (s *Sink) accept() {
	for {
		c, err := s.l.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns[c] = struct{}{}
		s.open++
		s.most = max(s.most, s.open)
		s.mu.Unlock()
		s.wg.Go(func() {
			s.serve(c)
			c.Close()
			s.mu.Lock()
			delete(s.conns, c)
			s.open--
			s.mu.Unlock()
		})
	}
}

// serve is one session. Replies are written when no further command is waiting.
func (s *Sink) serve(c net.Conn) {
	r, w := bufio.NewReaderSize(c, 64<<10), bufio.NewWriterSize(c, 4<<10)
	w.WriteString("220 sink.bench.example\r\n")
	for {
		if r.Buffered() == 0 && w.Flush() != nil {
			return
		}
		line, err := r.ReadSlice('\n')
		if err != nil {
			return
		}
		verb := bytes.ToUpper(line[:min(4, len(line))])
		switch string(verb) {
		case "EHLO":
			w.WriteString("250-sink.bench.example\r\n250-PIPELINING\r\n250-SIZE\r\n250 8BITMIME\r\n")
		case "DATA":
			w.WriteString("354 go\r\n")
			if w.Flush() != nil || !skipData(r) {
				return
			}
			s.took()
			w.WriteString("250 taken\r\n")
		case "RCPT":
			s.rcpts.Add(1)
			w.WriteString("250 ok\r\n")
		case "QUIT":
			w.WriteString("221 bye\r\n")
			w.Flush()
			return
		default:
			w.WriteString("250 ok\r\n")
		}
	}
}

func (s *Sink) took() {
	now := time.Now()
	s.mu.Lock()
	if s.first.IsZero() {
		s.first = now
	}
	s.last = now
	s.mu.Unlock()
	s.messages.Add(1)
}

// skipData reads up to the line with the dot.
func skipData(r *bufio.Reader) bool {
	for {
		line, err := r.ReadSlice('\n')
		if err != nil && err != bufio.ErrBufferFull {
			return false
		}
		if string(line) == ".\r\n" {
			return true
		}
	}
}
