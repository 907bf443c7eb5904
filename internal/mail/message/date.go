package message

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ErrDate is wrapped by ParseDate's errors.
var ErrDate = errors.New("malformed date")

// ParseDate parses a Date field (RFC 5322 §3.3 with the obsolete forms of
// §4.3, and asctime's order as old mail has it). The time keeps the zone as
// written, so that its Date() is the sender's; an unknown or missing zone is
// UTC. The error wraps ErrDate.
func ParseDate(s string) (time.Time, error) {
	if i := strings.IndexByte(s, ','); i >= 0 && i < 20 { // day of week, not checked
		s = s[i+1:]
	}
	f := dateFields(s)
	if len(f) > 0 && !isDigit(f[0][0]) && monthNumber(f[0]) == 0 {
		f = f[1:] // day of week without a comma
	}
	if len(f) >= 4 && monthNumber(f[0]) != 0 { // Jan 2 15:04:05 2006
		f[0], f[1] = f[1], f[0]
		if strings.Contains(f[2], ":") {
			f[2], f[3] = f[3], f[2]
		}
	}
	if len(f) < 3 {
		return time.Time{}, fmt.Errorf("%w: %.64q", ErrDate, s)
	}
	day, err1 := number(f[0], 31)
	year, err2 := number(f[2], 9999)
	month := monthNumber(f[1])
	hour, minute, sec, err3 := clock(f[3:])
	if err := errors.Join(err1, err2, err3); err != nil || month == 0 || day == 0 {
		return time.Time{}, fmt.Errorf("%w: %.64q", ErrDate, s)
	}
	if n := len(f[2]); n <= 2 && year < 50 { // RFC 5322 §4.3
		year += 2000
	} else if n <= 3 {
		year += 1900
	}
	zone := time.UTC
	if len(f) > 4 {
		zone = parseZone(f[4])
	}
	t := time.Date(year, month, day, hour, minute, min(sec, 59), 0, zone)
	if t.Day() != day {
		return time.Time{}, fmt.Errorf("%w: no such day: %.64q", ErrDate, s)
	}
	return t, nil
}

// maxDateFields is how many words of a date are looked at.
const maxDateFields = 6

// dateFields splits s into words, without comments; "6-Jun-2005" is three.
func dateFields(s string) []string {
	var f []string
	for len(f) < maxDateFields {
		s = skipCFWS(s)
		if s == "" {
			break
		}
		n := strings.IndexAny(s, " \t(")
		if n < 0 {
			n = len(s)
		}
		w := s[:n]
		s = s[n:]
		if parts := strings.Split(w, "-"); len(parts) == 3 && len(w) <= 16 && parts[0] != "" && parts[2] != "" {
			f = append(f, parts...)
			continue
		}
		f = append(f, w)
	}
	return f
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func number(s string, most int) (int, error) {
	if s == "" || len(s) > 4 {
		return 0, ErrDate
	}
	v, err := strconv.ParseUint(s, 10, 16)
	if err != nil || int(v) > most {
		return 0, ErrDate
	}
	return int(v), nil
}

// clock reads hh:mm[:ss[.fraction]]; a missing time is midnight.
func clock(f []string) (hour, minute, sec int, err error) {
	if len(f) == 0 {
		return 0, 0, 0, nil
	}
	parts := strings.SplitN(strings.ReplaceAll(f[0], ".", ":"), ":", 4)
	if len(parts) < 2 {
		return 0, 0, 0, ErrDate
	}
	hour, err1 := number(parts[0], 23)
	minute, err2 := number(parts[1], 59)
	var err3 error
	if len(parts) > 2 {
		sec, err3 = number(parts[2], 60)
	}
	return hour, minute, sec, errors.Join(err1, err2, err3)
}

func monthNumber(s string) time.Month {
	if len(s) < 3 {
		return 0
	}
	const months = "janfebmaraprmayjunjulaugsepoctnovdec"
	i := strings.Index(months, strings.ToLower(s[:3]))
	if i < 0 || i%3 != 0 {
		return 0
	}
	return time.Month(i/3 + 1)
}

// parseZone reads +hhmm or one of the names of RFC 5322 §4.3; others are UTC.
func parseZone(s string) *time.Location {
	if len(s) == 5 && (s[0] == '+' || s[0] == '-') {
		hhmm, err := number(s[1:], 9999)
		if err != nil || hhmm%100 > 59 || hhmm/100 > 23 {
			return time.UTC
		}
		offset := (hhmm/100*60 + hhmm%100) * 60
		if s[0] == '-' {
			offset = -offset
		}
		if offset == 0 {
			return time.UTC
		}
		return time.FixedZone("", offset)
	}
	hours := map[string]int{"EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7}
	if h, ok := hours[strings.ToUpper(s)]; ok {
		return time.FixedZone(strings.ToUpper(s), h*3600)
	}
	return time.UTC
}
