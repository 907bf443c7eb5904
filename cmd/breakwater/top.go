package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/ops/admin"
)

const (
	topRows     = 10                     // of each table where nobody's screen says how many fit
	topEveryMin = 100 * time.Millisecond // between two questions: a question costs the host a millisecond

	// What terminals obey (ECMA-48): the alternate screen and back, home, and
	// clearing the rest of a line and of the screen.
	screenOpen  = "\x1b[?1049h\x1b[?25l"
	screenClose = "\x1b[?25h\x1b[?1049l"
	screenHome  = "\x1b[H"
	lineRest    = "\x1b[K"
	screenRest  = "\x1b[J"
)

type topCmd struct {
	where
	JSON  bool          `help:"Print one object and end."`
	Once  bool          `help:"Print once and end."`
	Every time.Duration `help:"Time between two refreshes." default:"1s" placeholder:"TIME"`
	Rows  int           `help:"Rows of each table (default: what fits, or 10)." placeholder:"N"`
}

func (t *topCmd) Help() string {
	return `Shows the guests of port 25 by state, the level of load, what became of them (each second, in the last minute, since the start), octets, CPU time, DNS questions, how the lists do, bans, the costliest networks (figures that halve every ten minutes; 0 where a network is not among the highest), and the guests that are there now, costliest first. On a terminal the view is refreshed until Ctrl-C; elsewhere a plain block is printed each time.

Examples:
  breakwater top
  breakwater top --once --rows 30
  breakwater top --json`
}

func (t *topCmd) Run(c console) error {
	switch {
	case t.Every < topEveryMin:
		return usageError{fmt.Errorf("--every: less than %s", topEveryMin)}
	case t.Rows < 0:
		return usageError{errors.New("--rows: less than 0")}
	}
	fd, screen := terminal(c)
	now, err := t.ask(c, screen, fd)
	if err != nil {
		return err
	}
	switch {
	case t.JSON:
		return printJSON(c, now)
	case t.Once || !screen:
		fmt.Fprint(c.out, viewTop(now, nil, 0))
	}
	if t.Once {
		return nil
	}
	if screen {
		fmt.Fprint(c.out, screenOpen)
		defer fmt.Fprint(c.out, screenClose)
		t.draw(c, fd, now, nil)
	}
	return t.live(c, screen, fd, now)
}

// live shows what changes until the user has enough, which is no error.
func (t *topCmd) live(c console, screen bool, fd int, before admin.Top) error {
	for {
		select {
		case <-c.ctx.Done():
			return nil
		case <-sys.RealClock().After(t.Every):
		}
		now, err := t.ask(c, screen, fd)
		if c.ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if screen {
			t.draw(c, fd, now, &before)
		} else {
			fmt.Fprint(c.out, "\n"+viewTop(now, &before, 0))
		}
		before = now
	}
}

// ask asks for as many rows as can be shown.
func (t *topCmd) ask(c console, screen bool, fd int) (admin.Top, error) {
	rows := topRows
	if screen {
		_, height := size(fd)
		rows = max((height-topHeadLines)/2, 3)
	}
	if t.Rows > 0 {
		rows = t.Rows
	}
	a, err := t.askHost(c, admin.Request{Op: admin.TopNow, Limit: rows})
	if err != nil {
		return admin.Top{}, err
	}
	if a.Top == nil {
		return admin.Top{}, errNoAnswer
	}
	return *a.Top, nil
}

// draw writes over what is on the screen, without a moment in which it is
// empty.
func (t *topCmd) draw(c console, fd int, now admin.Top, before *admin.Top) {
	width, height := size(fd)
	lines := strings.Split(strings.TrimSuffix(viewTop(now, before, width), "\n"), "\n")
	if len(lines) > height {
		lines = lines[:height]
	}
	fmt.Fprint(c.out, screenHome+strings.Join(lines, lineRest+"\r\n")+lineRest+screenRest)
}

// size is the terminal's; one that does not tell is taken for a common one.
func size(fd int) (width, height int) {
	width, height, err := term.GetSize(fd)
	if err != nil || width <= 0 || height <= 0 {
		return 80, 24
	}
	return width, height
}

// terminal tells whether standard output is one.
func terminal(c console) (fd int, ok bool) {
	f, ok := c.out.(*os.File)
	if !ok {
		return 0, false
	}
	fd = int(f.Fd())
	return fd, term.IsTerminal(fd)
}
