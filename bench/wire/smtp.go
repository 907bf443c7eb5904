package wire

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// replyMax bounds one reply line; RFC 5321 §4.5.3.1.5 allows 512 octets.
const replyMax = 1 << 10

// dialWait bounds a connect on loopback: a listen queue that is full for longer
// is a server that does not answer.
const dialWait = 30 * time.Second

// ReplyError is a reply that was not the expected one.
type ReplyError struct {
	Code int    // of the reply, 0 when it had none
	Text string // the last line of the reply
	Cmd  string // what it answered
}

func (e *ReplyError) Error() string { return fmt.Sprintf("%s: answered %s", e.Cmd, e.Text) }

// SMTP is one SMTP connection.
type SMTP struct {
	Conn net.Conn
	Ext  string // the EHLO reply, upper case, one extension a line
	r    *bufio.Reader
	cmd  bytes.Buffer
}

// DialSMTP connects, reads the greeting and says EHLO. With implicit non-nil the
// connection starts with TLS.
func DialSMTP(addr string, implicit *tls.Config) (*SMTP, error) {
	conn, err := dial(addr, implicit)
	if err != nil {
		return nil, err
	}
	c := &SMTP{Conn: conn, r: bufio.NewReaderSize(conn, replyMax)}
	if _, err := c.reply("greeting", 220); err != nil {
		conn.Close()
		return nil, err
	}
	if err := c.hello(); err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

func dial(addr string, implicit *tls.Config) (net.Conn, error) {
	conn, err := net.DialTimeout("tcp", addr, dialWait)
	if err != nil {
		return nil, err
	}
	if implicit == nil {
		return conn, nil
	}
	t := tls.Client(conn, implicit)
	if err := t.Handshake(); err != nil {
		conn.Close()
		return nil, fmt.Errorf("handshake with %s: %w", addr, err)
	}
	return t, nil
}

func (c *SMTP) hello() error {
	if err := c.write("EHLO bench.localhost\r\n"); err != nil {
		return err
	}
	text, err := c.reply("EHLO", 250)
	c.Ext = strings.ToUpper(text)
	return err
}

// StartTLS switches to TLS (RFC 3207) and says EHLO again.
func (c *SMTP) StartTLS(config *tls.Config) error {
	if err := c.Command("STARTTLS", 220); err != nil {
		return err
	}
	t := tls.Client(c.Conn, config)
	if err := t.Handshake(); err != nil {
		return fmt.Errorf("handshake after STARTTLS: %w", err)
	}
	c.Conn = t
	c.r.Reset(t)
	return c.hello()
}

// Command sends one line and expects code.
func (c *SMTP) Command(line string, code int) error {
	if err := c.write(line + "\r\n"); err != nil {
		return err
	}
	_, err := c.reply(line, code)
	return err
}

// Send hands over one message in two round trips. parts are concatenated, are
// already dot-stuffed and end with CRLF. A nil error is the server's 250; a
// *ReplyError is its refusal of the message or of a recipient; any other error
// leaves the message's fate unknown.
func (c *SMTP) Send(from string, to []string, parts ...[]byte) error {
	c.cmd.Reset()
	fmt.Fprintf(&c.cmd, "MAIL FROM:<%s>\r\n", from)
	for _, rcpt := range to {
		fmt.Fprintf(&c.cmd, "RCPT TO:<%s>\r\n", rcpt)
	}
	c.cmd.WriteString("DATA\r\n")
	if _, err := c.Conn.Write(c.cmd.Bytes()); err != nil {
		return err
	}
	_, refused := c.reply("MAIL", 250)
	if gone(refused) {
		return refused
	}
	for range to {
		_, err := c.reply("RCPT", 250)
		if gone(err) {
			return err
		}
		if refused == nil {
			refused = err
		}
	}
	_, err := c.reply("DATA", 354)
	if gone(err) {
		return err
	}
	if err != nil {
		if rerr := c.Command("RSET", 250); rerr != nil {
			return rerr
		}
		if refused == nil {
			refused = err
		}
		return refused
	}
	return c.body(refused, parts)
}

// body sends the data after a 354; refused is what was already refused, in which
// case an empty message is sent and its reply not looked at.
func (c *SMTP) body(refused error, parts [][]byte) error {
	if refused != nil {
		if err := c.write(".\r\n"); err != nil {
			return err
		}
		if _, err := c.reply("end of data", 250); gone(err) {
			return err
		}
		return refused
	}
	buf := make(net.Buffers, 0, len(parts)+1)
	buf = append(buf, parts...)
	buf = append(buf, []byte(dot))
	if _, err := buf.WriteTo(c.Conn); err != nil {
		return err
	}
	_, err := c.reply("end of data", 250)
	return err
}

// dot ends the data (RFC 5321 §4.1.1.4).
const dot = ".\r\n"

func gone(err error) bool {
	if err == nil {
		return false
	}
	_, reply := err.(*ReplyError)
	return !reply
}

// Quit says QUIT and closes, without looking at the answer.
func (c *SMTP) Quit() {
	if c.write("QUIT\r\n") == nil {
		c.reply("QUIT", 221)
	}
	c.Conn.Close()
}

func (c *SMTP) write(s string) error {
	_, err := io.WriteString(c.Conn, s)
	return err
}

// reply reads one reply of any number of lines (RFC 5321 §4.2.1).
func (c *SMTP) reply(cmd string, want int) (string, error) {
	var all []byte
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return "", fmt.Errorf("reply to %s: %w", cmd, err)
		}
		line = bytes.TrimRight(line, "\r\n")
		code := 0
		if len(line) >= 3 {
			code = int(line[0]-'0')*100 + int(line[1]-'0')*10 + int(line[2]-'0')
		}
		if len(line) > 3 && line[3] == '-' {
			all = append(append(all, line[4:]...), '\n')
			continue
		}
		if code != want {
			return "", &ReplyError{Code: code, Text: string(line), Cmd: cmd}
		}
		if all == nil {
			return "", nil
		}
		if len(line) > 4 {
			all = append(all, line[4:]...)
		}
		return string(all), nil
	}
}

// Stuff gives msg as it goes over the wire: dots at the start of a line doubled,
// CRLF at the end (RFC 5321 §4.5.2). msg has CRLF line ends.
func Stuff(msg []byte) []byte {
	out := bytes.ReplaceAll(msg, []byte("\r\n."), []byte("\r\n.."))
	if len(out) > 0 && out[0] == '.' {
		out = append([]byte{'.'}, out...)
	}
	if !bytes.HasSuffix(out, []byte("\r\n")) {
		out = append(out[:len(out):len(out)], '\r', '\n')
	}
	return out
}
