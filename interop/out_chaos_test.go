//go:build interop

package interop

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/bench/wire"
)

const (
	chaosMessages = 1500
	chaosConns    = 8  // that hand in
	chaosInFlight = 20 // attempts at a time for one destination (delivery.max_per_destination)
	chaosWait     = 10 * time.Minute
)

// copyOf is one recipient's copy of a message of the chaos.
type copyOf struct{ id, to string }

// chaos is the test's side of it.
type chaos struct {
	h       *outHost
	sink    *sink
	next    atomic.Int64
	acked   atomic.Int64
	mu      sync.Mutex
	r       *rand.Rand         // guarded by mu, as what follows
	handed  map[copyOf]bool    // that were answered with 250; false: with nothing, so that they may come or not
	tries   map[string]int     // of messages by id, at the sink
	refused map[copyOf]taken   // for good, by the sink; the last time
	lives   []int              // the sink's last connection before each SIGKILL
	faults  map[string]int     // how often the sink did what
	seen    map[copyOf][]taken // what it kept
}

// TestOut_Chaos sends to a host that is slow, answers 4xx, drops connections
// behind the data, and changes its mind, while ours is killed at random. In the
// end the books balance, each message is there or was bounced, and one that is
// there twice had its answer cut off by the sink, or was the last of its connection
// when ours was killed: one for each connection.
func TestOut_Chaos(t *testing.T) {
	t.Parallel()
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed=%d -kills=%d", *seed, *kills)
	c := &chaos{r: rand.New(rand.NewPCG(*seed, 77)), handed: map[copyOf]bool{}, tries: map[string]int{},
		refused: map[copyOf]taken{}, faults: map[string]int{}, seen: map[copyOf][]taken{}}
	c.sink = startSink(t, "127.0.0.1:0", nil, sinkRules{rcpt: c.rcpt, end: c.end})
	c.h = startOut(t, soon+"[log]\nlevel = \"warn\"\n[delivery]\nroutes = [\"sink.test smtp://"+c.sink.addr+"\", \".sink.test smtp://"+c.sink.addr+"\"]\n")
	ctx, cancel := context.WithTimeout(t.Context(), chaosWait)
	defer cancel()
	var wg sync.WaitGroup
	for range chaosConns {
		wg.Go(func() { c.send(ctx) })
	}
	c.killAtRandom(ctx)
	wg.Wait()
	b := c.h.closed()
	c.check()
	c.reports(b)
	t.Logf("%d kills, %d copies handed in, at the sink: %v; %+v", len(c.lives), len(c.handed), c.faults, b)
}

// fault decides what the sink does, by chance.
func (c *chaos) fault(what string, percent int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.r.IntN(1000) >= percent*10 {
		return false
	}
	c.faults[what]++
	return true
}

func (c *chaos) rcpt(string) string {
	switch {
	case c.fault("slow recipient", 2):
		<-time.After(20 * time.Millisecond)
	case c.fault("4xx to a recipient", 4):
		return "451 4.3.0 not now"
	}
	return ""
}

// end is the answer to the data.
func (c *chaos) end(m *taken) (reply string, cut bool) {
	id := headerOf(m.data, "X-Id")
	c.mu.Lock()
	c.tries[id]++
	first := c.tries[id] == 1
	c.mu.Unlock()
	switch {
	case c.fault("slow end", 5):
		<-time.After(50 * time.Millisecond)
	case first && c.fault("4xx, then 250", 5):
		return "450 4.2.0 changed my mind", false
	case first && c.fault("dropped and not kept", 3):
		return "451 never sent", true
	case first && c.fault("kept and dropped", 3):
		return "", true
	case c.fault("421 to the data", 1):
		return "421 4.3.2 going down", true
	case c.fault("5xx to the data", 1):
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, to := range m.to {
			c.refused[copyOf{id, to}] = *m
		}
		return "554 5.6.0 not that", false
	}
	return "", false
}

// send is one connection that hands in; it comes again whenever it breaks.
func (c *chaos) send(ctx context.Context) {
	var s *wire.SMTP
	defer func() {
		if s != nil {
			s.Quit()
		}
	}()
	for c.acked.Load() < chaosMessages && ctx.Err() == nil {
		if s == nil {
			conn, err := c.h.login(0)
			if err != nil {
				<-time.After(10 * time.Millisecond) // it is being started
				continue
			}
			_ = conn.Conn.SetDeadline(time.Now().Add(chaosWait))
			s = conn
		}
		n := c.next.Add(1)
		id := fmt.Sprintf("c%d", n)
		to := []string{fmt.Sprintf("r%d@sink.test", n%50)}
		if n%7 == 0 {
			to = append(to, "second@sink.test", fmt.Sprintf("third@d%d.sink.test", n%5))
		}
		c.note(id, to, false)
		err := s.Send(c.h.User(0), to, fmt.Appendf(nil, "From: <%s>\r\nX-Id: %s\r\nSubject: %s\r\n\r\n%s\r\n", c.h.User(0), id, id, strings.Repeat("x", int(n%60))))
		if err == nil {
			c.note(id, to, true)
			c.acked.Add(1)
			continue
		}
		var reply *wire.ReplyError
		if !errors.As(err, &reply) || reply.Code == 421 {
			s.Conn.Close()
			s = nil
		}
	}
}

func (c *chaos) note(id string, to []string, acked bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, addr := range to {
		c.handed[copyOf{id, addr}] = acked
	}
}

// killAtRandom kills while mail comes in and goes out.
func (c *chaos) killAtRandom(ctx context.Context) {
	for range *kills {
		c.mu.Lock()
		more, wait := int64(50+c.r.IntN(chaosMessages / *kills)), time.Duration(c.r.Int64N(int64(100*time.Millisecond)))
		c.mu.Unlock()
		at := c.acked.Load()
		eventuallyWithin(c.h.t, ctx, "progress between kills", func() bool { return c.acked.Load() >= min(at+more, chaosMessages) })
		<-time.After(wait)
		if !c.h.Running() {
			c.h.t.Fatalf("the host ended by itself:\n%s", c.h.LogTail())
		}
		c.h.Kill()
		c.lives = append(c.lives, c.sink.quiet(c.h.t))
		if err := c.h.StartOnly(); err != nil {
			c.h.t.Fatal(err)
		}
	}
	if err := c.h.WaitReady(ctx); err != nil {
		c.h.t.Fatal(err)
	}
}

// check compares what the sink kept with what was handed in.
func (c *chaos) check() {
	for _, m := range c.sink.all() {
		id := headerOf(m.data, "X-Id")
		for _, to := range m.to {
			c.seen[copyOf{id, to}] = append(c.seen[copyOf{id, to}], m)
		}
	}
	lost, twice := 0, 0
	for k, acked := range c.handed {
		if _, refused := c.refused[k]; acked && len(c.seen[k]) == 0 && !refused {
			lost++
			c.h.t.Errorf("LOST: %v was answered with 250, and neither arrived nor was refused", k)
		}
	}
	doubled := make([]map[string]map[int]bool, len(c.lives)) // by destination, the connections whose last message each kill doubled
	for i := range doubled {
		doubled[i] = map[string]map[int]bool{}
	}
	for k, all := range c.seen {
		if _, known := c.handed[k]; !known {
			c.h.t.Errorf("%v arrived, which nobody handed in", k)
		}
		slices.SortFunc(all, func(a, b taken) int { return a.at.Compare(b.at) })
		for i, m := range all[:len(all)-1] {
			twice++
			switch kill, told := c.untold(m); {
			case told:
				c.h.t.Errorf("%v arrived again %s after it had been answered, and nothing explains it", k, all[i+1].at.Sub(m.at))
			case kill >= 0:
				_, domain, _ := strings.Cut(k.to, "@")
				if doubled[kill][domain] == nil {
					doubled[kill][domain] = map[int]bool{}
				}
				doubled[kill][domain][m.conn] = true
			}
		}
	}
	var each []int
	for i, domains := range doubled {
		n := 0
		for domain, conns := range domains {
			if n += len(conns); len(conns) > chaosInFlight {
				c.h.t.Errorf("kill %d doubled %d messages for %s, but only %d can have been under way", i+1, len(conns), domain, chaosInFlight)
			}
		}
		each = append(each, n)
	}
	c.h.t.Logf("%d lost, %d copies more than once; messages doubled by each kill: %v", lost, twice, each)
}

// untold says that the host cannot have noted what became of a message: the sink
// dropped the connection instead of answering, or (kill says which) the host was
// killed before anything else came on that connection. It notes what was said
// before it goes on, so that each kill explains one message of a connection.
func (c *chaos) untold(m taken) (kill int, told bool) {
	kill, _ = slices.BinarySearch(c.lives, m.conn)
	switch {
	case m.cut:
		return -1, false
	case kill < len(c.lives) && c.sink.last(m):
		return kill, false
	}
	return -1, true
}

// reports checks that of each recipient that bounced one report tells, and of
// no other.
func (c *chaos) reports(b books) {
	told := map[copyOf]int{}
	s := imap(c.h.t, &c.h.Server, 0)
	if err := s.Do("EXAMINE INBOX", nil); err != nil {
		c.h.t.Fatal(err)
	}
	if err := s.Do("FETCH 1:* BODY.PEEK[]", func(r wire.Response) {
		for _, l := range r.Literals {
			_, original, _ := strings.Cut(string(l), "\nX-Id: ")
			id, _, _ := strings.Cut(original, "\r\n")
			for _, part := range strings.Split(string(l), "\nFinal-Recipient: rfc822;")[1:] {
				to, _, _ := strings.Cut(part, "\r\n")
				told[copyOf{id, strings.TrimSpace(to)}]++
			}
		}
	}); err != nil && b.Bounced > 0 {
		c.h.t.Fatal(err)
	}
	for k, n := range told {
		if _, refused := c.refused[k]; n > 1 || !refused {
			c.h.t.Errorf("%d reports tell of %v (refused: %v)", n, k, refused)
		}
		for _, m := range c.seen[k] {
			if _, known := c.untold(m); known {
				c.h.t.Errorf("%v arrived, and a report says that it was refused", k)
			}
		}
	}
	for k, m := range c.refused {
		if _, known := c.untold(m); told[k] == 0 && known {
			c.h.t.Errorf("no report tells that %v was refused", k)
		}
	}
	if int64(len(told)) != b.Bounced {
		c.h.t.Errorf("reports tell of %d recipients, the books of %d that bounced", len(told), b.Bounced)
	}
}
