package alarm

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"time"
	"unicode"
)

const (
	syslogOctetsMax = 2048            // of a message: what RFC 5426 §3.2 expects of every receiver
	syslogNameMax   = 255             // octets of HOSTNAME (RFC 5424 §6)
	syslogKeyMax    = 32              // octets of MSGID (RFC 5424 §6)
	syslogCloseMax  = 2 * time.Second // for the other side of TCP to say that it has it all

	facilityMail = 2 // RFC 5424 §6.2.1
)

// syslog sends notices as RFC 5424 messages, each by a connection of its own:
// a log daemon that was restarted is found again.
type syslog struct {
	network, address string
	tls              *tls.Config // of tls
}

// newSyslog reads "unix:PATH", "udp:HOST:PORT", "tcp:HOST:PORT" or
// "tls:HOST:PORT".
func newSyslog(target string) (*syslog, error) {
	network, address, _ := strings.Cut(target, ":")
	switch network {
	case "unix":
		if strings.HasPrefix(address, "/") {
			return &syslog{network: network, address: address}, nil
		}
	case "udp", "tcp", "tls":
		host, port, err := net.SplitHostPort(address)
		if err != nil || host == "" || port == "" {
			break
		}
		return &syslog{network, address, &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}}, nil
	}
	return nil, fmt.Errorf("syslog: %q is none of unix:/dev/log, udp:HOST:514, tcp:HOST:601 and tls:HOST:6514", target)
}

func (s *syslog) Name() string { return "syslog" }

// Send implements Sink.
func (s *syslog) Send(ctx context.Context, n Notice) error {
	conn, err := s.dial(ctx)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer conn.Close()
	if end, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(end); err != nil {
			return fmt.Errorf("set deadline: %w", err)
		}
	}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })() // ends a write that hangs
	line := syslogLine(n)
	if s.network == "tcp" || s.network == "tls" {
		line = fmt.Sprintf("%d %s", len(line), line) // RFC 6587 §3.4.1, RFC 5425 §4.3
	}
	if conn.LocalAddr().Network() == "unix" {
		line += "\n" // streams of log daemons end lines so
	}
	if _, err := io.WriteString(conn, line); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return finish(ctx, conn)
}

// dial connects; a log daemon's socket is of datagrams or, rarely, a stream.
func (s *syslog) dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	switch s.network {
	case "tls": // whose certificate is not right gets nothing
		return (&tls.Dialer{Config: s.tls}).DialContext(ctx, "tcp", s.address)
	case "udp", "tcp":
		return d.DialContext(ctx, s.network, s.address)
	}
	conn, err := d.DialContext(ctx, "unixgram", s.address)
	if err == nil {
		return conn, nil
	}
	stream, err2 := d.DialContext(ctx, "unix", s.address)
	if err2 != nil {
		return nil, errors.Join(err, err2)
	}
	return stream, nil
}

// finish ends a stream and waits a moment for the other side to end it too: a
// reset says that it was not read.
func finish(ctx context.Context, conn net.Conn) error {
	var c interface {
		CloseWrite() error
		SetReadDeadline(time.Time) error
		Read([]byte) (int, error)
	}
	switch conn := conn.(type) {
	case *net.TCPConn:
		c = conn
	case *tls.Conn:
		c = conn
	default:
		return nil
	}
	if err := c.CloseWrite(); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	wait, cancel := context.WithTimeout(ctx, syslogCloseMax)
	defer cancel()
	if end, ok := wait.Deadline(); ok {
		if err := c.SetReadDeadline(end); err != nil {
			return fmt.Errorf("set deadline: %w", err)
		}
	}
	_, err := c.Read(make([]byte, 1))
	var slow net.Error
	switch {
	case err == nil, errors.Is(err, io.EOF), errors.As(err, &slow) && slow.Timeout(), wait.Err() != nil:
		return nil // it is the kernel's by now
	}
	return fmt.Errorf("close: %w", err)
}

// syslogLine is a notice as RFC 5424 §6 has it. The facts are in the text: a
// structured element would need an enterprise's number in its name.
func syslogLine(n Notice) string {
	severity := map[Severity]int{Warning: 4, Critical: 2}[n.Severity]
	if n.Event == Cleared || n.Event == Tested {
		severity = 5
	}
	var b strings.Builder
	fmt.Fprintf(&b, "<%d>1 %s %s breakwater - %s - %s %s: %s", facilityMail*8+severity,
		n.At.UTC().Format("2006-01-02T15:04:05.000Z"), word(n.Host, syslogNameMax), word(n.Event, syslogKeyMax),
		n.Event, plain(n.Key), plain(n.Text))
	for _, name := range slices.Sorted(maps.Keys(n.Facts)) {
		fmt.Fprintf(&b, "; %s=%s", plain(name), plain(n.Facts[name]))
	}
	return cut(b.String(), syslogOctetsMax)
}

// word is PRINTUSASCII of RFC 5424 §6, or its NILVALUE.
func word(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f {
			return -1
		}
		return r
	}, s)
	if s == "" {
		return "-"
	}
	return s[:min(len(s), most)]
}

// plain has no control characters: strangers choose parts of a text, and one
// message of syslog is one line.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}
