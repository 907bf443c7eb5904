package sim

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/tools/txtar"
)

// lineMax bounds one line of a dialogue.
const lineMax = 1 << 20

// Dialogue is a parsed txtar dialogue. See the package documentation for the
// steps.
type Dialogue struct {
	path    string
	archive *txtar.Archive
	steps   []step
}

// verb is what a step does.
type verb int

const (
	verbRemark verb = iota
	verbSend        // C:, C!
	verbExpect      // S:
	verbMatch       // S~
	verbBytes       // S!
	verbClosed      // S.
	verbClose       // C.
	verbAdvance
	verbDo // a word of the test's own
)

// step is one line of a dialogue.
type step struct {
	line int    // number in the file
	raw  string // as written
	verb verb
	conn int    // 0, or the digit after the letter
	text string // bytes to send, line to expect, pattern, arguments
	word string // of verbDo
	wait time.Duration
	re   *regexp.Regexp
}

// LoadDialogue reads and parses a dialogue.
func LoadDialogue(path string) (*Dialogue, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	d, err := ParseDialogue(b)
	if err != nil {
		return nil, fmt.Errorf("%s:%w", path, err)
	}
	d.path = path
	return d, nil
}

// ParseDialogue parses a dialogue. Errors begin with the line's number.
func ParseDialogue(b []byte) (*Dialogue, error) {
	d := &Dialogue{archive: txtar.Parse(b)}
	for i, raw := range strings.Split(strings.TrimSuffix(string(d.archive.Comment), "\n"), "\n") {
		s, err := parseStep(raw)
		if err != nil {
			return nil, fmt.Errorf("%d: %w", i+1, err)
		}
		s.line = i + 1
		d.steps = append(d.steps, s)
	}
	return d, nil
}

// File gives the content of a file of the archive, and whether it is there.
func (d *Dialogue) File(name string) (string, bool) {
	for _, f := range d.archive.Files {
		if f.Name == name {
			return string(f.Data), true
		}
	}
	return "", false
}

func parseStep(raw string) (step, error) {
	s := step{raw: raw}
	line := strings.TrimRight(raw, "\r")
	if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#") {
		return s, nil
	}
	if side, sign, conn, text, ok := cutSide(line); ok {
		s.conn = conn
		return s, s.speech(side, sign, text)
	}
	word, args, _ := strings.Cut(strings.TrimSpace(line), " ")
	if word == "advance" {
		d, err := time.ParseDuration(strings.TrimSpace(args))
		if err != nil {
			return s, err
		}
		s.verb, s.wait = verbAdvance, d
		return s, nil
	}
	s.verb, s.word, s.text = verbDo, word, strings.TrimSpace(args)
	return s, nil
}

// cutSide takes "S2~ text" apart.
func cutSide(line string) (side, sign byte, conn int, text string, ok bool) {
	if line[0] != 'C' && line[0] != 'S' {
		return 0, 0, 0, "", false
	}
	side, rest := line[0], line[1:]
	if rest != "" && rest[0] >= '0' && rest[0] <= '9' {
		conn, rest = int(rest[0]-'0'), rest[1:]
	}
	if rest == "" || !strings.ContainsRune(":!~.", rune(rest[0])) {
		return 0, 0, 0, "", false
	}
	sign, rest = rest[0], rest[1:]
	if rest != "" && rest[0] != ' ' {
		return 0, 0, 0, "", false
	}
	return side, sign, conn, strings.TrimPrefix(rest, " "), true
}

func (s *step) speech(side, sign byte, text string) (err error) {
	s.text = text
	switch string([]byte{side, sign}) {
	case "C:":
		s.verb, s.text = verbSend, text+"\r\n"
	case "C!":
		s.verb = verbSend
		s.text, err = strconv.Unquote(text)
	case "C.":
		s.verb = verbClose
	case "S:":
		s.verb = verbExpect
	case "S!":
		s.verb = verbBytes
		s.text, err = strconv.Unquote(text)
	case "S~":
		s.verb = verbMatch
		s.re, err = regexp.Compile("^(?:" + text + ")$")
	case "S.":
		s.verb = verbClosed
	default:
		err = fmt.Errorf("unknown step %q", s.raw)
	}
	return err
}

// save rewrites the dialogue's file with new steps.
func (d *Dialogue) save(lines []string) error {
	d.archive.Comment = []byte(strings.Join(lines, "\n") + "\n")
	return os.WriteFile(d.path, txtar.Format(d.archive), 0o644)
}
