package alarm

import (
	"context"
	"log/slog"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
)

// Severity is how bad it is.
type Severity uint8

// The severities.
const (
	Warning  Severity = 1 // somebody should look at it today
	Critical Severity = 2 // mail is in danger or does not move
)

// String is the severity's word in notices.
func (s Severity) String() string {
	if s == Critical {
		return "critical"
	}
	return "warning"
}

// MarshalText implements encoding.TextMarshaler.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Severity) UnmarshalText(b []byte) error {
	*s = Warning
	if string(b) == Critical.String() {
		*s = Critical
	}
	return nil
}

// Facts are what an alarm says besides its text, by name.
type Facts map[string]string

// Alarm is one alarm that is up.
type Alarm struct {
	Key      string    `json:"key"`
	Severity Severity  `json:"severity"`
	Text     string    `json:"text"`
	Facts    Facts     `json:"facts,omitempty"`
	Since    time.Time `json:"since"`
	Told     time.Time `json:"told"` // when sinks were last given a notice
}

// What a notice says of its alarm.
const (
	Raised   = "raised"
	Repeated = "repeated" // it is still up
	Cleared  = "cleared"
	Tested   = "test" // of nothing: an operator wants to see that it arrives
)

// Notice is what a sink carries out.
type Notice struct {
	Host     string    `json:"host"`
	Event    string    `json:"event"` // Raised, Repeated, Cleared or Tested
	Key      string    `json:"key"`
	Severity Severity  `json:"severity"`
	Text     string    `json:"text"`
	Facts    Facts     `json:"facts,omitempty"`
	Since    time.Time `json:"since"`
	At       time.Time `json:"at"`
}

// Sink carries notices to somebody.
type Sink interface {
	// Name is webhook, exec or syslog.
	Name() string
	// Send makes one attempt. It ends when ctx does.
	Send(ctx context.Context, n Notice) error
}

// Test is what became of a test notice at one sink.
type Test struct {
	Sink  string `json:"sink"`
	Error string `json:"error,omitempty"` // empty: it was taken
}

// Options of Alarms. The zero value works.
type Options struct {
	Hostname string
	Repeat   time.Duration // between two notices of an alarm that stays up; default 6 h
	Clock    sys.Clock
	Log      *slog.Logger
	Metrics  *Metrics
}

// Config names the sinks. The host makes it of its [alarm] section.
type Config struct {
	Webhook string   // URL; "" is none
	Secret  []byte   // of the webhook's signature; empty is none
	Exec    []string // program and arguments; empty is none
	Syslog  string   // "unix:/dev/log", "udp:host:514", "tcp:host:514"; "" is none
}

// Watch is what Alarms looks at by itself. What is nil is not watched.
type Watch struct {
	QueueAge  time.Duration // alarm when the oldest recipient has waited longer; 0 is never
	QueueSize int           // alarm when more recipients wait; 0 is never
	DiskFree  int64         // alarm when fewer bytes are free; 0 is never

	Backlog     func() (size int, oldest time.Duration)
	Unaccounted func() (ids []string) // of ops/ledger's audit
	Journal     func() error          // why mail cannot be taken now; nil: it can
	Disk        func() (free int64, err error)
}
