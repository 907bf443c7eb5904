package load

import (
	_ "embed"
	"encoding/csv"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// wave2009 is the operator's own table of 27 July 2009.
//
//go:embed wave-2009-07-27.csv
var wave2009 string

// Curve is a number of open connections over time, as it was written down.
type Curve []Point

// Point is one line of the table.
type Point struct {
	At   time.Duration
	Open float64
}

// Wave2009 is the curve that the wave incident left behind: 4 to 301 open
// connections in 323 s.
func Wave2009() (Curve, error) { return ParseCurve(wave2009) }

// pointsMax bounds a curve: a line a second for a day.
const pointsMax = 86_400

// ParseCurve reads a table of seconds and open connections, with a heading,
// times ascending.
func ParseCurve(text string) (Curve, error) {
	r := csv.NewReader(strings.NewReader(text))
	r.FieldsPerRecord = 2
	rows, err := r.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("read the curve: %w", err)
	}
	if len(rows) < 2 || len(rows) > pointsMax {
		return nil, fmt.Errorf("read the curve: %d lines; a heading and 1 to %d lines are wanted", len(rows), pointsMax)
	}
	var c Curve
	for i, row := range rows[1:] {
		at, err := strconv.ParseUint(row[0], 10, 31)
		if err != nil {
			return nil, fmt.Errorf("read the curve: line %d: seconds: %w", i+2, err)
		}
		open, err := strconv.ParseUint(row[1], 10, 31)
		if err != nil {
			return nil, fmt.Errorf("read the curve: line %d: connections: %w", i+2, err)
		}
		p := Point{time.Duration(at) * time.Second, float64(open)}
		if len(c) > 0 && p.At <= c[len(c)-1].At {
			return nil, fmt.Errorf("read the curve: line %d: time does not go on", i+2)
		}
		c = append(c, p)
	}
	return c, nil
}

// Length is the time of the last point.
func (c Curve) Length() time.Duration { return c[len(c)-1].At }

// At gives the open connections at a time, on a straight line between points;
// before the first and after the last it is level.
func (c Curve) At(t time.Duration) float64 {
	if t <= c[0].At {
		return c[0].Open
	}
	for i := 1; i < len(c); i++ {
		if t <= c[i].At {
			a, b := c[i-1], c[i]
			return a.Open + (b.Open-a.Open)*float64(t-a.At)/float64(b.At-a.At)
		}
	}
	return c[len(c)-1].Open
}

// Max gives the most open connections up to a time.
func (c Curve) Max(until time.Duration) float64 {
	most := c.At(min(until, c.Length()))
	for _, p := range c {
		if p.At <= until {
			most = max(most, p.Open)
		}
	}
	return most
}
