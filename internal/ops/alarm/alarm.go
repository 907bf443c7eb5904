package alarm

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
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
	// Send makes one attempt. It ends when ctx does. An error that wraps
	// ErrRefused will come again however often the notice is sent.
	Send(ctx context.Context, n Notice) error
}

// ErrRefused says that a sink does not want this notice.
var ErrRefused = errors.New("refused")

// Test is what became of a test notice at one sink.
type Test struct {
	Sink  string `json:"sink"`
	Error string `json:"error,omitempty"` // empty: it was taken
}

// Options of Alarms. The zero value works.
type Options struct {
	Hostname string
	Repeat   time.Duration // between two notices of an alarm that stays up; default 6 h
	Settle   time.Duration // an alarm has to stay down so long until it is said to be over; default 1 min
	Clock    sys.Clock
	Log      *slog.Logger
	Metrics  *Metrics
}

// Alarms keeps the alarms that are up and tells sinks of them.
type Alarms struct {
	o     Options
	posts []*post
	log   *post // to the log, which may hang like any sink

	mu sync.Mutex
	m  machine // guarded by mu
}

// New makes Alarms. Notices wait in buffers until Run carries them.
func New(o Options, sinks ...Sink) *Alarms {
	if o.Repeat <= 0 {
		o.Repeat = repeatDefault
	}
	if o.Settle <= 0 {
		o.Settle = settleDefault
	}
	if o.Clock == nil {
		o.Clock = sys.RealClock()
	}
	o.Log = telemetry.Logger(o.Log, "alarm")
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	a := &Alarms{o: o, log: newPost(logSink{o.Log}, o), m: machine{host: o.Hostname, repeat: o.Repeat, settle: o.Settle, up: map[string]*state{}}}
	for _, s := range sinks {
		a.posts = append(a.posts, newPost(s, o))
	}
	return a
}

// Raise puts an alarm up, or says that it still is. It never waits.
func (a *Alarms) Raise(key string, s Severity, text string, facts Facts) {
	a.mu.Lock()
	defer a.mu.Unlock()
	n, tell := a.m.raise(a.o.Clock.Now(), key, s, text, facts)
	switch {
	case tell:
		a.tell(n)
	case a.m.up[cut(key, keyMax)] == nil:
		a.o.Metrics.leftOut.Inc()
	}
}

// Clear says that the reason for an alarm is gone. It never waits.
func (a *Alarms) Clear(key string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.m.clear(a.o.Clock.Now(), key)
}

// List gives the alarms that are up, oldest first.
func (a *Alarms) List() []Alarm {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.m.list()
}

// Test sends a test notice to every sink at once, and waits for each.
func (a *Alarms) Test(ctx context.Context) []Test {
	now := a.o.Clock.Now().UTC()
	n := Notice{
		Host: a.o.Hostname, Event: Tested, Key: "test", Severity: Warning, Since: now, At: now,
		Text: "an operator asked for this test; nothing is wrong",
	}
	out := make([]Test, len(a.posts))
	var wg sync.WaitGroup
	for i, p := range a.posts {
		wg.Go(func() {
			out[i] = Test{Sink: p.sink.Name()}
			if err := p.attempt(ctx, n); err != nil {
				out[i].Error = err.Error()
			}
		})
	}
	wg.Wait()
	return out
}

// tell gives a notice to every sink's buffer and to the log's. mu is held.
func (a *Alarms) tell(n Notice) {
	a.log.put(n)
	for _, p := range a.posts {
		p.put(n)
	}
	a.count()
}

// count sets the gauges. mu is held.
func (a *Alarms) count() {
	n := map[Severity]int{}
	for _, s := range a.m.up {
		n[s.Severity]++
	}
	for _, s := range []Severity{Warning, Critical} {
		a.o.Metrics.up.WithLabelValues(s.String()).Set(float64(n[s]))
	}
}

// Run looks at what is watched and carries notices until ctx is done; what
// then still waits has drainMax to leave. The error is always nil.
func (a *Alarms) Run(ctx context.Context, w Watch) error {
	var wg sync.WaitGroup
	for _, p := range append(a.posts[:len(a.posts):len(a.posts)], a.log) {
		wg.Go(func() { p.run(ctx) })
	}
	for _, l := range w.looks() {
		wg.Go(func() { a.watch(ctx, l) })
	}
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-a.o.Clock.After(tickEvery):
			a.tick()
		}
	}
	wg.Wait()
	return nil
}

// tick repeats what has been up for long and ends what has settled.
func (a *Alarms) tick() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, n := range a.m.tick(a.o.Clock.Now()) {
		a.tell(n)
	}
}
