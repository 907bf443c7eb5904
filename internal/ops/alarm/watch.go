package alarm

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

const (
	lookEvery  = 15 * time.Second // how late an alarm may be
	lookMax    = time.Minute      // a look that takes longer says that something hangs
	worseTimes = 4                // a backlog of so many times its limit is critical
	idsShown   = 20               // ids in an alarm; the ledger has them all
)

// Watch is what Alarms looks at by itself. What is nil is not watched.
type Watch struct {
	QueueAge  time.Duration // alarm when the oldest recipient has waited longer; 0 is never
	QueueSize int           // alarm when more recipients wait; 0 is never
	DiskFree  int64         // alarm when fewer bytes are free; 0 is never

	// Backlog tells how many recipients wait, and for how long the oldest
	// does. Those that were held on purpose do not belong to it.
	Backlog func() (size int, oldest time.Duration)
	// Unaccounted gives the ids that ops/ledger's audit found.
	Unaccounted func() []string
	// Journal says why mail cannot be taken now; nil: it can.
	Journal func() error
	Disk    func() (free int64, err error)
}

// Keys of alarms: those of Watch, and what stands before the address of an
// account whose outgoing mail was held, or before a network that accounts send
// from.
const (
	KeyHeld        = "account-held:"
	KeyNetwork     = "network:"
	KeyQueueAge    = "queue-age"
	KeyQueueSize   = "queue-size"
	KeyUnaccounted = "ledger-unaccounted"
	KeyJournal     = "journal"
	KeyDisk        = "disk"
)

// look is one thing that is watched: see sets and clears its alarms.
type look struct {
	name string
	see  func(a *Alarms)
}

func (w Watch) looks() []look {
	var out []look
	if w.Backlog != nil {
		out = append(out, look{"queue", w.seeBacklog})
	}
	if w.Unaccounted != nil {
		out = append(out, look{"ledger", w.seeLedger})
	}
	if w.Journal != nil {
		out = append(out, look{"journal", w.seeJournal})
	}
	if w.Disk != nil && w.DiskFree > 0 {
		out = append(out, look{"disk", w.seeDisk})
	}
	return out
}

// watch looks every lookEvery. A look may hang, say on a dead mount: that is
// an alarm of its own, and holds up no other look.
func (a *Alarms) watch(ctx context.Context, l look) {
	key := "silent-" + l.name
	for {
		done := make(chan struct{})
		go func() {
			defer close(done)
			l.see(a)
		}()
		select {
		case <-done:
		case <-ctx.Done():
			return
		case <-a.o.Clock.After(lookMax):
			a.Raise(key, Critical, fmt.Sprintf("the %s has not answered for a minute: what it waits for hangs", l.name), nil)
			select {
			case <-done:
			case <-ctx.Done():
				return
			}
		}
		a.Clear(key)
		select {
		case <-ctx.Done():
			return
		case <-a.o.Clock.After(lookEvery):
		}
	}
}

// hold raises above a limit and clears below four fifths of it: what hovers
// about its limit is one alarm.
func (a *Alarms) hold(key string, is, limit float64, text string, facts Facts) {
	switch {
	case limit <= 0:
	case is > limit*worseTimes:
		a.Raise(key, Critical, text, facts)
	case is > limit || is >= limit*4/5 && a.isUp(key):
		a.Raise(key, Warning, text, facts)
	default:
		a.Clear(key)
	}
}

func (a *Alarms) isUp(key string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.m.up[key]
	return s != nil && s.down.IsZero()
}

func (w Watch) seeBacklog(a *Alarms) {
	size, oldest := w.Backlog()
	facts := Facts{"recipients": strconv.Itoa(size), "oldest": oldest.Round(time.Second).String()}
	a.hold(KeyQueueAge, oldest.Seconds(), w.QueueAge.Seconds(),
		fmt.Sprintf("the oldest message of the queue has waited for %v; `breakwater queue backlog` says for whom", oldest.Round(time.Second)), facts)
	a.hold(KeyQueueSize, float64(size), float64(w.QueueSize),
		fmt.Sprintf("%d recipients wait in the queue; `breakwater queue backlog` says for whom", size), facts)
}

func (w Watch) seeLedger(a *Alarms) {
	ids := w.Unaccounted()
	if len(ids) == 0 {
		a.Clear(KeyUnaccounted)
		return
	}
	shown := ids[:min(len(ids), idsShown)]
	a.Raise(KeyUnaccounted, Critical,
		fmt.Sprintf("the books do not balance: %d messages are unaccounted for; `breakwater ledger` names them", len(ids)),
		Facts{"ids": strings.Join(shown, " "), "count": strconv.Itoa(len(ids))})
}

func (w Watch) seeJournal(a *Alarms) {
	if err := w.Journal(); err != nil {
		a.Raise(KeyJournal, Critical, "no mail can be taken: "+err.Error(), nil)
		return
	}
	a.Clear(KeyJournal)
}

func (w Watch) seeDisk(a *Alarms) {
	free, err := w.Disk()
	switch {
	case err != nil:
		a.Raise(KeyDisk, Critical, "the disk does not say how much room it has: "+err.Error(), nil)
	case free < w.DiskFree || free < w.DiskFree*5/4 && a.isUp(KeyDisk):
		a.Raise(KeyDisk, Critical, fmt.Sprintf("%d MiB are free on the disk; mail is refused when nothing is left", free>>20),
			Facts{"free_bytes": strconv.FormatInt(free, 10)})
	default:
		a.Clear(KeyDisk)
	}
}
