package wire

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
)

const (
	readBuffer = 64 << 10
	literalMax = 64 << 20 // what one literal may make us allocate
	longMax    = 16 << 20 // a line: a SEARCH that finds a million messages
)

// IMAP is one IMAP connection.
type IMAP struct {
	Conn net.Conn
	r    *bufio.Reader
	w    *bufio.Writer
	tag  int
	lit  []byte // reused between responses
	long []byte // a line that is longer than the buffer
}

// Response is one untagged response. Both fields are valid until the next one.
type Response struct {
	Text     []byte   // the line without its CRLF; a literal leaves its {n} behind
	Literals [][]byte // in order
}

// DialIMAP connects and reads the greeting. With implicit non-nil the connection
// starts with TLS.
func DialIMAP(addr string, implicit *tls.Config) (*IMAP, error) {
	conn, err := dial(addr, implicit)
	if err != nil {
		return nil, err
	}
	c := newIMAP(conn)
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("greeting of %s: %w", addr, err)
	}
	if !bytes.HasPrefix(line, []byte("* OK")) {
		conn.Close()
		return nil, &ReplyError{Text: string(line), Cmd: "greeting"}
	}
	return c, nil
}

func newIMAP(conn net.Conn) *IMAP {
	return &IMAP{Conn: conn, r: bufio.NewReaderSize(conn, readBuffer), w: bufio.NewWriterSize(conn, 16<<10)}
}

// Shrink replaces the read and write buffers by small ones: for a connection
// that will only idle.
func (c *IMAP) Shrink() {
	c.r = bufio.NewReaderSize(c.Conn, 512)
	c.w = bufio.NewWriterSize(c.Conn, 64)
}

// Login sends LOGIN.
func (c *IMAP) Login(user, password string) error {
	return c.Do("LOGIN "+Quote(user)+" "+Quote(password), nil)
}

// Quote gives s as an IMAP quoted string (RFC 9051 §4.3).
func Quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// Do sends one command line and hands every untagged response to each (which may
// be nil) until the tagged one. Anything but OK is a *ReplyError.
func (c *IMAP) Do(line string, each func(Response)) error {
	return c.DoParts(each, []byte(line))
}

// DoParts is Do for a command with literals: parts are sent as they are, so
// literals must be non-synchronizing ("{n+}", RFC 7888).
func (c *IMAP) DoParts(each func(Response), parts ...[]byte) error {
	tag, err := c.Start(parts...)
	if err != nil {
		return err
	}
	_, err = c.Finish(tag, string(parts[0]), each)
	return err
}

// Start sends a command and does not wait for its answer. It gives the tag.
func (c *IMAP) Start(parts ...[]byte) (string, error) {
	c.tag++
	tag := "t" + strconv.Itoa(c.tag)
	c.w.WriteString(tag)
	c.w.WriteByte(' ')
	for _, p := range parts {
		c.w.Write(p)
	}
	c.w.WriteString("\r\n")
	return tag, c.w.Flush()
}

// Finish reads until tag's response and gives its text after OK.
func (c *IMAP) Finish(tag, cmd string, each func(Response)) (string, error) {
	for {
		resp, err := c.Read()
		if err != nil {
			return "", fmt.Errorf("answer to %.40s: %w", cmd, err)
		}
		if bytes.HasPrefix(resp.Text, []byte("* ")) || bytes.HasPrefix(resp.Text, []byte("+")) {
			if each != nil {
				each(resp)
			}
			continue
		}
		rest, ok := bytes.CutPrefix(resp.Text, []byte(tag+" "))
		if !ok {
			return "", &ReplyError{Text: string(resp.Text), Cmd: cmd}
		}
		if !bytes.HasPrefix(rest, []byte("OK")) {
			return "", &ReplyError{Text: string(rest), Cmd: fmt.Sprintf("%.60s", cmd)}
		}
		return string(rest[2:]), nil
	}
}

// Read reads one response line with its literals.
func (c *IMAP) Read() (Response, error) {
	var resp Response
	c.lit = c.lit[:0]
	var ends []int
	for {
		line, err := c.line()
		if err != nil {
			return resp, err
		}
		n, has := literalSize(line)
		if !has && resp.Text == nil {
			resp.Text = line // the common case allocates nothing
			return resp, nil
		}
		resp.Text = append(resp.Text, line...)
		if !has {
			break
		}
		if n > literalMax {
			return resp, fmt.Errorf("literal of %d bytes", n)
		}
		at := len(c.lit)
		c.lit = append(c.lit, make([]byte, n)...)
		if _, err := io.ReadFull(c.r, c.lit[at:]); err != nil {
			return resp, err
		}
		ends = append(ends, len(c.lit))
	}
	at := 0
	for _, end := range ends {
		resp.Literals = append(resp.Literals, c.lit[at:end:end])
		at = end
	}
	return resp, nil
}

// line reads up to CRLF, which it leaves out. The bytes are valid until the next
// read.
func (c *IMAP) line() ([]byte, error) {
	line, err := c.r.ReadSlice('\n')
	if err == bufio.ErrBufferFull {
		c.long = c.long[:0]
		for err == bufio.ErrBufferFull && len(c.long) < longMax {
			c.long = append(c.long, line...)
			line, err = c.r.ReadSlice('\n')
		}
		c.long = append(c.long, line...)
		line = c.long
	}
	if err != nil {
		return nil, err
	}
	return bytes.TrimRight(line, "\r\n"), nil
}

// literalSize finds "{123}" at the end of a line.
func literalSize(line []byte) (int, bool) {
	if len(line) < 3 || line[len(line)-1] != '}' {
		return 0, false
	}
	open := bytes.LastIndexByte(line, '{')
	if open < 0 {
		return 0, false
	}
	n, err := strconv.Atoi(string(line[open+1 : len(line)-1]))
	return n, err == nil && n >= 0
}

// Idle sends IDLE and waits for the continuation (RFC 9051 §6.3.13). Read then
// gives what the server tells; Done ends it.
func (c *IMAP) Idle() (tag string, err error) {
	tag, err = c.Start([]byte("IDLE"))
	if err != nil {
		return "", err
	}
	for {
		resp, err := c.Read()
		if err != nil {
			return "", err
		}
		if bytes.HasPrefix(resp.Text, []byte("+")) {
			return tag, nil
		}
		if !bytes.HasPrefix(resp.Text, []byte("* ")) {
			return "", &ReplyError{Text: string(resp.Text), Cmd: "IDLE"}
		}
	}
}

// Done ends IDLE.
func (c *IMAP) Done(tag string) error {
	c.w.WriteString("DONE\r\n")
	if err := c.w.Flush(); err != nil {
		return err
	}
	_, err := c.Finish(tag, "DONE", nil)
	return err
}

// Append sends APPEND of one message with a non-synchronizing literal.
func (c *IMAP) Append(mailbox string, msgs ...[]byte) error {
	parts := make([][]byte, 0, 1+2*len(msgs))
	parts = append(parts, []byte("APPEND "+Quote(mailbox)))
	for _, m := range msgs {
		parts = append(parts, fmt.Appendf(nil, " {%d+}\r\n", len(m)), m)
	}
	return c.DoParts(nil, parts...)
}

// Messages asks STATUS for the number of messages in mailbox.
func (c *IMAP) Messages(mailbox string) (int, error) {
	n := -1
	err := c.Do("STATUS "+Quote(mailbox)+" (MESSAGES)", func(r Response) {
		if _, rest, ok := strings.Cut(string(r.Text), "(MESSAGES "); ok {
			n, _ = strconv.Atoi(strings.TrimRight(rest, ") "))
		}
	})
	if err == nil && n < 0 {
		err = fmt.Errorf("STATUS %s: no MESSAGES in the answer", mailbox)
	}
	return n, err
}

// Logout says LOGOUT and closes.
func (c *IMAP) Logout() {
	c.Do("LOGOUT", nil)
	c.Conn.Close()
}
