package sim

import (
	"fmt"
	"net"
	"strings"
	"time"
)

// Play says how a dialogue is played. Dial is required.
type Play struct {
	// Dial opens the connection of that number, 0 for steps without one.
	Dial func(conn int) (net.Conn, error)
	// Settle waits until the server has said all that it will say for
	// now: synctest.Wait in a bubble. If nil, the player waits up to
	// Patience for each line that it expects.
	Settle func()
	// Advance lets time pass: time.Sleep in a bubble, Clock.Advance
	// elsewhere.
	Advance func(time.Duration)
	// Do are the test's own words. Wrap gives them a way to put TLS or
	// compression around a connection.
	Do map[string]func(p *Player, args string) error
	// Patience bounds the wait for a line where Settle is nil; 0 means
	// ten seconds.
	Patience time.Duration
	// Update rewrites the S: lines of the dialogue's file instead of
	// comparing them. S~ lines that match stay.
	Update bool
}

const defaultPatience = 10 * time.Second

// Player is a dialogue being played.
type Player struct {
	p     Play
	d     *Dialogue
	conns map[int]*wire
	out   []string // the dialogue as it was, for Update
}

// Play plays the dialogue. The error names file and line.
func (d *Dialogue) Play(p Play) error {
	if p.Patience == 0 {
		p.Patience = defaultPatience
	}
	return d.play(p, make(map[int]*wire))
}

func (d *Dialogue) play(p Play, conns map[int]*wire) error {
	pl := &Player{p: p, d: d, conns: conns}
	defer pl.close()
	for i, s := range d.steps {
		if err := pl.step(s); err != nil {
			return fmt.Errorf("%s:%d: %s: %w", d.path, s.line, s.raw, err)
		}
		if last := i == len(d.steps)-1; last {
			if err := pl.silence(); err != nil {
				return fmt.Errorf("%s: after the last line: %w", d.path, err)
			}
		}
	}
	if p.Update {
		return d.save(pl.out)
	}
	return nil
}

func (pl *Player) step(s step) error {
	switch s.verb {
	case verbRemark:
	case verbSend, verbClose, verbAdvance, verbDo:
		if err := pl.silence(); err != nil {
			return err
		}
		pl.out = append(pl.out, s.raw)
		return pl.act(s)
	default:
		return pl.expect(s)
	}
	pl.out = append(pl.out, s.raw)
	return nil
}

// act does what the client's side does.
func (pl *Player) act(s step) error {
	switch s.verb {
	case verbAdvance:
		if pl.p.Advance == nil {
			return fmt.Errorf("no clock to advance")
		}
		pl.p.Advance(s.wait)
		return nil
	case verbDo:
		fn := pl.p.Do[s.word]
		if fn == nil {
			return fmt.Errorf("unknown word %q", s.word)
		}
		return fn(pl, s.text)
	}
	w, err := pl.wire(s.conn)
	if err != nil {
		return err
	}
	if s.verb == verbClose {
		return w.conn.Close()
	}
	_, err = w.conn.Write([]byte(s.text))
	return err
}

// silence fails if a server has said something that nobody expected. When
// updating it takes what was said into the dialogue.
func (pl *Player) silence() error {
	if pl.p.Settle != nil {
		pl.p.Settle()
	}
	for n := range 10 {
		w := pl.conns[n]
		if w == nil {
			continue
		}
		for {
			line, ok := w.take(lineOrRest)
			if !ok {
				break
			}
			if !pl.p.Update {
				return fmt.Errorf("server said on connection %d, and nobody expected it: %q", n, line)
			}
			pl.out = append(pl.out, said(n, line))
		}
	}
	return nil
}

// said writes down a line of the server.
func said(conn int, line string) string {
	tag := "S"
	if conn > 0 {
		tag = fmt.Sprintf("S%d", conn)
	}
	text, whole := strings.CutSuffix(line, "\r\n")
	for _, c := range []byte(text) {
		whole = whole && c >= ' ' && c != 0x7f
	}
	if !whole || strings.HasSuffix(text, " ") {
		return fmt.Sprintf("%s! %q", tag, line)
	}
	return strings.TrimRight(tag+": "+text, " ")
}

// expect compares what a server says with a step.
func (pl *Player) expect(s step) error {
	if pl.p.Settle != nil {
		pl.p.Settle()
	}
	w, err := pl.wire(s.conn)
	if err != nil {
		return err
	}
	if pl.p.Settle != nil {
		pl.p.Settle()
	}
	if s.verb == verbClosed {
		pl.out = append(pl.out, s.raw)
		return pl.closed(w)
	}
	cut := nextLine
	if s.verb == verbBytes {
		cut = func(b []byte) int { return nextBytes(b, len(s.text)) }
	}
	got, ok := pl.wait(w, cut)
	if !ok {
		if pl.p.Update {
			return nil // the line has gone from the dialogue
		}
		rest, _ := w.take(lineOrRest)
		return fmt.Errorf("server said nothing more (unfinished: %q, closed: %v)", rest, w.closed())
	}
	return pl.compare(s, got)
}

func (pl *Player) compare(s step, got string) error {
	same := got == s.text
	switch s.verb {
	case verbExpect:
		same = got == s.text+"\r\n"
	case verbMatch:
		same = s.re.MatchString(strings.TrimSuffix(got, "\r\n"))
	}
	if pl.p.Update && !same {
		pl.out = append(pl.out, said(s.conn, got))
		return nil
	}
	pl.out = append(pl.out, s.raw)
	if !same {
		return fmt.Errorf("server said %q", got)
	}
	return nil
}

func (pl *Player) closed(w *wire) error {
	if line, ok := pl.wait(w, lineOrRest); ok {
		return fmt.Errorf("server said %q instead of closing", line)
	}
	if !w.closed() {
		return fmt.Errorf("connection is still open")
	}
	return nil
}

// wait takes what cut wants from what the server has said; where nothing
// settles, it waits for it.
func (pl *Player) wait(w *wire, cut func([]byte) int) (string, bool) {
	if pl.p.Settle != nil {
		return w.take(cut)
	}
	return w.await(cut, pl.p.Patience)
}

func (pl *Player) wire(n int) (*wire, error) {
	if w := pl.conns[n]; w != nil {
		return w, nil
	}
	if pl.p.Dial == nil {
		return nil, fmt.Errorf("no connection %d", n)
	}
	c, err := pl.p.Dial(n)
	if err != nil {
		return nil, err
	}
	pl.conns[n] = newWire(c)
	if pl.p.Settle != nil {
		pl.p.Settle()
	}
	return pl.conns[n], nil
}

// Wrap puts wrap around connection n, for STARTTLS and COMPRESS. What wrap
// gets reads on from where the dialogue is. It may use the connection before
// it returns, so a handshake can be done in it.
func (pl *Player) Wrap(n int, wrap func(net.Conn) (net.Conn, error)) error {
	w, err := pl.wire(n)
	if err != nil {
		return err
	}
	c, err := wrap(w)
	if err != nil {
		return err
	}
	pl.conns[n] = newWire(c)
	return nil
}

func (pl *Player) close() {
	for _, w := range pl.conns {
		_ = w.conn.Close()
	}
	if pl.p.Settle != nil {
		pl.p.Settle()
	}
}

// PlayLines plays the dialogue against a function that takes a line without
// its CRLF and gives the lines of the answer. The first call has the empty
// string: what the server says first. There is one connection and no time.
func (d *Dialogue) PlayLines(answer func(line string) []string, update bool) error {
	c := &lineConn{answer: answer}
	c.w = &wire{conn: c}
	c.w.cond.L = &c.w.mu
	c.say(answer(""))
	return d.play(Play{Settle: func() {}, Update: update}, map[int]*wire{0: c.w})
}

// lineConn is a connection to a function. Its answers go straight into the
// wire that the player reads from.
type lineConn struct {
	net.Conn
	answer func(string) []string
	w      *wire
	unsaid string // the beginning of a line
}

func (c *lineConn) Write(b []byte) (int, error) {
	c.unsaid += string(b)
	for {
		line, rest, ok := strings.Cut(c.unsaid, "\r\n")
		if !ok {
			return len(b), nil
		}
		c.unsaid = rest
		c.say(c.answer(line))
	}
}

func (c *lineConn) say(lines []string) {
	for _, l := range lines {
		c.w.feed([]byte(l+"\r\n"), nil)
	}
}

func (c *lineConn) Close() error { return nil }
