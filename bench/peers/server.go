package peers

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/breakwater-mail/breakwater/bench/proc"
	"github.com/breakwater-mail/breakwater/bench/wire"
)

const (
	readyWait = 60 * time.Second // a start: recovery of a large store included
	textWait  = 15 * time.Minute // the text index of 100,000 messages, at a quarter of a core
	stopWait  = 60 * time.Second // a graceful end before SIGKILL
	pollEvery = 5 * time.Millisecond
)

// Server is a running mail host.
type Server struct {
	Name       string
	SMTP       string // host:port, no TLS
	IMAPS      string // host:port, TLS from the first byte
	CA         string // file of the certificate authority, PEM
	Password   string // of every user
	Maildir    bool   // keeps a file per message: PutFile works
	user       func(i int) string
	children   []*proc.Child
	provision  func(ctx context.Context, n int) error
	settle     func(ctx context.Context) error // nil: nothing is done behind an answer
	undo       func() error                    // nil: nothing is to be undone when the processes have ended
	provided   int
	serverName string
	mailFolder string // of a Postfix + Dovecot host
	mailUID    int    // who owns what is in it
	mailGID    int
	holds      []*os.File // its ports, closed when it is collected
}

// User gives the address of the i-th user (from 0). Provision has made them.
func (s *Server) User(i int) string { return s.user(i) }

// Provision makes sure that n users exist.
func (s *Server) Provision(ctx context.Context, n int) error {
	if s.provision == nil || n <= s.provided {
		return nil
	}
	if err := s.provision(ctx, n); err != nil {
		return fmt.Errorf("%s: make %d users: %w", s.Name, n, err)
	}
	s.provided = n
	return nil
}

// Settle waits until the host has done what it does behind its answers.
func (s *Server) Settle(ctx context.Context) error {
	if s.settle == nil {
		return nil
	}
	if err := s.settle(ctx); err != nil {
		return fmt.Errorf("%s: settle: %w", s.Name, err)
	}
	return nil
}

// Pids gives the roots of the host's process trees.
func (s *Server) Pids() []int {
	var pids []int
	for _, c := range s.children {
		pids = append(pids, c.Pid())
	}
	return pids
}

// TLS gives the client's configuration that trusts the host.
func (s *Server) TLS() (*tls.Config, error) {
	pem, err := os.ReadFile(s.CA)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("no certificate in %s", s.CA)
	}
	return &tls.Config{RootCAs: pool, ServerName: s.serverName}, nil
}

// IMAP opens a session of the i-th user.
func (s *Server) IMAP(i int) (*wire.IMAP, error) {
	conf, err := s.TLS()
	if err != nil {
		return nil, err
	}
	c, err := wire.DialIMAP(s.IMAPS, conf)
	if err != nil {
		return nil, err
	}
	if err := c.Login(s.User(i), s.Password); err != nil {
		c.Conn.Close()
		return nil, err
	}
	return c, nil
}

// Stop ends every process of the host, last started first.
func (s *Server) Stop() error {
	var first error
	for i := len(s.children) - 1; i >= 0; i-- {
		if err := s.children[i].Stop(stopWait); err != nil && first == nil {
			first = fmt.Errorf("%s: %w", s.Name, err)
		}
	}
	s.children = nil
	if s.undo != nil {
		if err := s.undo(); err != nil && first == nil {
			first = fmt.Errorf("%s: %w", s.Name, err)
		}
		s.undo = nil
	}
	return first
}

// waitPort waits until addr accepts a connection, or its process ends.
func waitPort(ctx context.Context, addr string, c *proc.Child) error {
	deadline := time.Now().Add(readyWait)
	for {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
			return nil
		}
		select {
		case <-c.Done():
			return fmt.Errorf("%s ended before it listened on %s", c.Name, addr)
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pollEvery):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s does not listen on %s after %s: %w", c.Name, addr, readyWait, err)
		}
	}
}

// TLSName gives addr by the name that stands in the host's certificate.
func (s *Server) TLSName(addr string) string {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	return net.JoinHostPort(s.serverName, port)
}
