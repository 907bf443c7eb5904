package tlspolicy

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// Mode is the mode of an MTA-STS policy (RFC 8461 §5).
type Mode string

// The modes.
const (
	ModeEnforce Mode = "enforce"
	ModeTesting Mode = "testing"
	ModeNone    Mode = "none"
)

// Bounds of MTA-STS.
const (
	// policyOctetsMax of a policy: RFC 8461 §3.3 suggests it.
	policyOctetsMax = 64 << 10
	// patternsMax of a policy; domains have up to some ten mail exchangers, and
	// wildcards.
	patternsMax = 256
	// recordOctetsMax of a TXT record at _mta-sts, which has some 40.
	recordOctetsMax = 1024
	// maxAgeMost is the longest that a policy is believed (RFC 8461 §3.2).
	maxAgeMost = 31557600 * time.Second
	// idOctetsMax of a policy's id (RFC 8461 §3.1).
	idOctetsMax = 32
	// linesMax of a policy are read.
	linesMax = 1024
)

// STSPolicy is a domain's MTA-STS policy (RFC 8461 §3.2).
type STSPolicy struct {
	Mode   Mode
	MX     []string // patterns: names in lower case, some after "*."
	MaxAge time.Duration
}

// ErrSTS says that a text is not what RFC 8461 says.
var ErrSTS = errors.New("malformed MTA-STS")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrSTS, fmt.Sprintf(format, args...))
}

// ParseRecord reads a TXT record at _mta-sts and gives the policy's id (RFC
// 8461 §3.1).
func ParseRecord(text string) (id string, err error) {
	if len(text) > recordOctetsMax {
		return "", malformed("a record of %d octets", len(text))
	}
	for i, field := range strings.Split(strings.TrimRight(text, " \t"), ";") {
		name, value, ok := strings.Cut(strings.Trim(field, " \t"), "=")
		name, value = strings.Trim(name, " \t"), strings.Trim(value, " \t")
		switch {
		case i == 0 && (name != "v" || value != "STSv1"):
			return "", malformed("the record does not begin with v=STSv1")
		case i == 0 || name == "" && !ok && value == "":
		case !ok:
			return "", malformed("a field of the record has no value: %.40q", field)
		case name == "id" && id == "":
			id = value
		}
	}
	if !isID(id) {
		return "", malformed("the record's id is not of 1 to %d letters and digits: %.40q", idOctetsMax, id)
	}
	return id, nil
}

func isID(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return s != "" && len(s) <= idOctetsMax
}

// ParsePolicy reads a policy (RFC 8461 §3.2). Of fields that are there twice
// the first counts, mx apart; unknown ones do not.
func ParsePolicy(text []byte) (*STSPolicy, error) {
	if len(text) > policyOctetsMax {
		return nil, malformed("a policy of %d octets", len(text))
	}
	p := &STSPolicy{}
	seen := make(map[string]bool)
	lines := 0
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
		if strings.Trim(line, " \t") == "" {
			continue
		}
		if lines++; lines > linesMax {
			return nil, malformed("a policy of more than %d lines", linesMax)
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return nil, malformed("line without a colon: %.40q", line)
		}
		name, value = strings.Trim(name, " \t"), strings.Trim(value, " \t")
		if seen[name] && name != "mx" {
			continue
		}
		seen[name] = true
		if err := p.set(name, value); err != nil {
			return nil, err
		}
	}
	for _, name := range []string{"version", "mode", "max_age"} {
		if !seen[name] {
			return nil, malformed("no %s", name)
		}
	}
	if len(p.MX) == 0 && p.Mode != ModeNone {
		return nil, malformed("no mx")
	}
	return p, nil
}

// set takes a field in.
func (p *STSPolicy) set(name, value string) error {
	switch name {
	case "version":
		if value != "STSv1" {
			return malformed("version %.40q", value)
		}
	case "mode":
		if p.Mode = Mode(value); p.Mode != ModeEnforce && p.Mode != ModeTesting && p.Mode != ModeNone {
			return malformed("mode %.40q", value)
		}
	case "max_age":
		seconds, err := strconv.ParseUint(value, 10, 64)
		if err != nil || len(value) > 10 {
			return malformed("max_age %.40q", value)
		}
		p.MaxAge = time.Duration(min(seconds, uint64(maxAgeMost/time.Second))) * time.Second
	case "mx":
		pattern, err := parsePattern(value)
		if err != nil {
			return err
		}
		if slices.Contains(p.MX, pattern) {
			return nil
		}
		if len(p.MX) == patternsMax {
			return malformed("more than %d hosts", patternsMax)
		}
		p.MX = append(p.MX, pattern)
	}
	return nil
}

func parsePattern(s string) (string, error) {
	name, wild := strings.CutPrefix(s, "*.")
	d, err := message.ParseDomain(strings.TrimSuffix(name, "."))
	if err != nil {
		return "", malformed("mx %.80q", s)
	}
	if wild {
		return "*." + string(d), nil
	}
	return string(d), nil
}

// Matches tells whether a host is one of the policy's. A * stands for one
// label (RFC 8461 §4.1).
func (p *STSPolicy) Matches(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	for _, pattern := range p.MX {
		if rest, wild := strings.CutPrefix(pattern, "*."); wild {
			if label, parent, ok := strings.Cut(host, "."); ok && label != "" && parent == rest {
				return true
			}
		} else if host == pattern {
			return true
		}
	}
	return false
}

// Lines are the policy's, as they are kept and as reports quote them.
func (p *STSPolicy) Lines() []string {
	lines := make([]string, 0, 3+len(p.MX))
	lines = append(lines, "version: STSv1", "mode: "+string(p.Mode))
	for _, mx := range p.MX {
		lines = append(lines, "mx: "+mx)
	}
	return append(lines, "max_age: "+strconv.FormatInt(int64(p.MaxAge/time.Second), 10))
}
