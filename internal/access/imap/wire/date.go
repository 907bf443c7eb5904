package wire

import (
	"fmt"
	"strconv"
	"time"
)

// Date is a calendar day without a time zone (RFC 9051 §9 date).
type Date struct {
	Year  int
	Month time.Month
	Day   int
}

// DateOf gives the day that t has in its own location.
func DateOf(t time.Time) Date {
	y, m, d := t.Date()
	return Date{y, m, d}
}

// Compare is -1, 0 or 1 as d is before, on or after o.
func (d Date) Compare(o Date) int {
	a, b := d.ordinal(), o.ordinal()
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func (d Date) ordinal() int { return (d.Year*16+int(d.Month))*32 + d.Day }

const monthNames = "JanFebMarAprMayJunJulAugSepOctNovDec"

// ParseDate reads a whole date, "1-Feb-2026", with or without quotes.
func ParseDate(b []byte) (Date, error) {
	s := NewScanner(b)
	d := s.Date()
	if s.err == nil && s.pos != len(b) {
		s.Fail("the end of the date")
	}
	if s.err != nil {
		return Date{}, s.err
	}
	return d, nil
}

// ParseDateTime reads a whole quoted date-time,
// "\" 1-Feb-2026 12:00:00 +0100\"".
func ParseDateTime(b []byte) (time.Time, error) {
	s := NewScanner(b)
	t := s.DateTime()
	if s.err == nil && s.pos != len(b) {
		s.Fail("the end of the date-time")
	}
	if s.err != nil {
		return time.Time{}, s.err
	}
	return t, nil
}

// Date reads a date, with or without quotes.
func (s *Scanner) Date() Date {
	quoted := s.Try('"')
	d := s.day(false)
	if quoted {
		s.Byte('"')
	}
	if s.err != nil {
		return Date{}
	}
	return d
}

func (s *Scanner) day(padded bool) Date {
	if padded {
		s.Try(' ')
	}
	d := Date{Day: s.digits(1, 2)}
	s.Byte('-')
	d.Month = s.month()
	s.Byte('-')
	d.Year = s.digits(4, 4)
	if s.err == nil && !d.valid() {
		s.Fail("a day that exists")
	}
	return d
}

func (d Date) valid() bool {
	t := time.Date(d.Year, d.Month, d.Day, 0, 0, 0, 0, time.UTC)
	return t.Day() == d.Day && d.Day > 0 && d.Month > 0
}

func (s *Scanner) month() time.Month {
	if s.err != nil || len(s.b)-s.pos < 3 {
		s.Fail("month")
		return 0
	}
	var m [3]byte
	for i := range m {
		m[i] = s.b[s.pos+i] | 0x20
	}
	m[0] &^= 0x20
	for i := 0; i < len(monthNames); i += 3 {
		if monthNames[i:i+3] == string(m[:]) {
			s.pos += 3
			return time.Month(i/3 + 1)
		}
	}
	s.Fail("month")
	return 0
}

func (s *Scanner) digits(least, most int) int {
	if s.err != nil {
		return 0
	}
	n, i := 0, s.pos
	for i < len(s.b) && i-s.pos < most && '0' <= s.b[i] && s.b[i] <= '9' {
		n = n*10 + int(s.b[i]-'0')
		i++
	}
	if i-s.pos < least {
		s.Fail(fmt.Sprintf("%d digits", least))
		return 0
	}
	s.pos = i
	return n
}

// DateTime reads a quoted date-time (RFC 9051 §9 date-time).
func (s *Scanner) DateTime() time.Time {
	s.Byte('"')
	d := s.day(true)
	s.SP()
	hour := s.digits(2, 2)
	s.Byte(':')
	minute := s.digits(2, 2)
	s.Byte(':')
	second := s.digits(2, 2)
	s.SP()
	sign := 1
	if !s.Try('+') {
		s.Byte('-')
		sign = -1
	}
	zone := s.digits(4, 4)
	s.Byte('"')
	if s.err == nil && (hour > 23 || minute > 59 || second > 60 || zone%100 > 59 || zone > 2359) {
		s.Fail("a time that exists")
	}
	if s.err != nil {
		return time.Time{}
	}
	offset := sign * (zone/100*3600 + zone%100*60)
	return time.Date(d.Year, d.Month, d.Day, hour, minute, second, 0, time.FixedZone("", offset))
}

// AppendDate prints d without quotes.
func AppendDate(dst []byte, d Date) []byte {
	dst = strconv.AppendInt(dst, int64(d.Day), 10)
	dst = append(dst, '-')
	dst = append(dst, monthNames[3*(d.Month-1):3*d.Month]...)
	dst = append(dst, '-')
	return appendPadded(dst, d.Year, 4, '0')
}

// AppendDateTime prints t, in its own zone, with quotes.
func AppendDateTime(dst []byte, t time.Time) []byte {
	y, m, d := t.Date()
	dst = append(dst, '"')
	dst = appendPadded(dst, d, 2, ' ')
	dst = append(dst, '-')
	dst = append(dst, monthNames[3*(m-1):3*m]...)
	dst = append(dst, '-')
	dst = appendPadded(dst, y, 4, '0')
	dst = append(dst, ' ')
	dst = appendPadded(dst, t.Hour(), 2, '0')
	dst = append(dst, ':')
	dst = appendPadded(dst, t.Minute(), 2, '0')
	dst = append(dst, ':')
	dst = appendPadded(dst, t.Second(), 2, '0')
	_, offset := t.Zone()
	sign := byte('+')
	if offset < 0 {
		sign, offset = '-', -offset
	}
	dst = append(dst, ' ', sign)
	dst = appendPadded(dst, offset/3600*100+offset/60%60, 4, '0')
	return append(dst, '"')
}

func appendPadded(dst []byte, n, width int, pad byte) []byte {
	limit := 1
	for ; width > 1; width-- {
		limit *= 10
	}
	for ; limit > 1 && n < limit; limit /= 10 {
		dst = append(dst, pad)
	}
	return strconv.AppendInt(dst, int64(n), 10)
}
