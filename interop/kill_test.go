//go:build interop

package interop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/bench/peers"
	"github.com/breakwater-mail/breakwater/bench/wire"
)

const (
	stormConns  = 64
	stormUsers  = 3
	stormWait   = 20 * time.Minute // for the whole storm
	verifyEvery = 10               // kills between two runs of verify
)

// fate is what the client knows of a message that it handed in.
type fate int

const (
	unknown      fate = iota // the connection broke before the answer
	acknowledged             // 250, or OK to an APPEND
)

// parcel is one message of the storm.
type parcel struct {
	fate  fate
	users []int
	sum   string
}

// storm sends while somebody kills.
type storm struct {
	t       *testing.T
	b       *peers.Breakwater
	target  int64
	next    atomic.Int64
	acked   atomic.Int64
	mu      sync.Mutex
	parcels map[string]parcel // by id; guarded by mu
	flagged map[uint64]bool   // UIDs in user 0's INBOX whose STORE was answered OK; guarded by mu
	refused map[string]int    // replies other than 250; guarded by mu
}

// TestKill hands in messages through 64 connections while the host is killed
// with SIGKILL at random moments, its recovery included, and started again.
func TestKill(t *testing.T) {
	t.Parallel()
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed=%d -kills=%d -messages=%d", *seed, *kills, *messages)
	r := rand.New(rand.NewPCG(*seed, 0))
	b := startBreakwater(t, folder(t), "[log]\nlevel = \"warn\"\n")
	s := &storm{t: t, b: b, target: int64(*messages), parcels: map[string]parcel{}, flagged: map[uint64]bool{}, refused: map[string]int{}}
	ctx, cancel := context.WithTimeout(t.Context(), stormWait)
	defer cancel()
	var wg sync.WaitGroup
	for i := range stormConns {
		wg.Go(func() { s.send(ctx, rand.New(rand.NewPCG(*seed, uint64(i+1)))) })
	}
	ownerCtx, stopOwner := context.WithCancel(ctx)
	wg.Go(func() { s.own(ownerCtx) })
	killed := s.killAtRandom(ctx, r)
	eventuallyWithin(t, ctx, "all messages", func() bool { return s.acked.Load() >= s.target })
	stopOwner()
	wg.Wait()
	b.Kill()
	s.verify()
	if err := b.Start(ctx); err != nil {
		t.Fatal(err)
	}
	s.check()
	s.verify()
	t.Logf("%d kills, %d messages handed in, %d acknowledged, other replies: %v", killed+1, len(s.parcels), s.acked.Load(), s.refused)
	rebuilt(t, b)
}

// eventuallyWithin is eventually with the context's bound.
func eventuallyWithin(t *testing.T, ctx context.Context, what string, ok func() bool) {
	t.Helper()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, ctx.Err())
		case <-time.After(lookGap):
		}
	}
}

// killAtRandom kills after random numbers of acknowledged messages, plus a
// random moment, and sometimes while the host is starting.
func (s *storm) killAtRandom(ctx context.Context, r *rand.Rand) int {
	after := make([]int64, *kills)
	for i := range after {
		after[i] = r.Int64N(max(1, s.target))
	}
	slices.Sort(after)
	for i, n := range after {
		eventuallyWithin(s.t, ctx, "progress between kills", func() bool { return s.acked.Load() >= n })
		most := 30 * time.Millisecond
		if i%5 == 4 {
			most = 300 * time.Millisecond // perhaps its second kill within one recovery
		}
		<-time.After(time.Duration(r.Int64N(int64(most))))
		if !s.b.Running() {
			s.t.Fatalf("the host ended by itself before kill %d:\n%s", i+1, s.b.LogTail())
		}
		s.b.Kill()
		if i%verifyEvery == verifyEvery-1 {
			s.verify()
		}
		if err := s.b.StartOnly(); err != nil {
			s.t.Fatal(err)
		}
	}
	return len(after)
}

// verify runs the command, which must have nothing to say.
func (s *storm) verify() {
	s.t.Helper()
	silent(s.t, s.b)
}

func silent(t *testing.T, b *peers.Breakwater) {
	t.Helper()
	out, err := b.Run(context.WithoutCancel(t.Context()), "verify", "--dir", b.Dir)
	if err != nil || out != "" {
		t.Fatalf("verify is not silent: %v\n%s", err, out)
	}
}

// letterOf makes a message that carries its id and the sum of its body.
func letterOf(id string, r *rand.Rand) (head, body []byte, hash string) {
	n := 1 + r.IntN(8<<10)
	switch r.IntN(400) {
	case 0:
		n = 1<<20 + r.IntN(2<<20) // a segment of its own
	case 1, 2, 3, 4, 5, 6, 7, 8:
		n = r.IntN(200 << 10)
	}
	const hexDigits = "0123456789abcdef"
	body = make([]byte, n, n+2)
	for i := range body {
		body[i] = hexDigits[r.Uint32()&15]
		if i%72 == 71 {
			body[i] = '\n'
		}
	}
	body = bytes.ReplaceAll(append(bytes.TrimRight(body, "\n"), '\n'), []byte("\n"), []byte("\r\n"))
	hash = sum(body)
	head = fmt.Appendf(nil, "From: <sender@bench.example>\r\nX-Id: %s\r\nX-Sum: %s\r\nSubject: %s\r\n\r\n", id, hash, id)
	return head, body, hash
}

// send is one connection of the storm; it dials again whenever it breaks.
func (s *storm) send(ctx context.Context, r *rand.Rand) {
	var c *wire.SMTP
	defer func() {
		if c != nil {
			c.Quit()
		}
	}()
	for s.acked.Load() < s.target && ctx.Err() == nil {
		if c == nil {
			conn, err := wire.DialSMTP(s.b.SMTP, nil)
			if err != nil {
				<-time.After(5 * time.Millisecond) // it is being started
				continue
			}
			conn.Conn.SetDeadline(time.Now().Add(stormWait))
			c = conn
		}
		n := s.next.Add(1)
		users := []int{int(n % stormUsers)}
		if n%10 == 0 {
			users = []int{0, 1, 2}
		}
		var to []string
		for _, u := range users {
			to = append(to, s.b.User(u))
		}
		id := "s" + strconv.FormatInt(n, 10)
		head, body, hash := letterOf(id, r)
		s.keep(id, parcel{unknown, users, hash})
		err := c.Send("sender@bench.example", to, head, body)
		if s.done(id, parcel{acknowledged, users, hash}, err) {
			c.Conn.Close()
			c = nil
		}
	}
}

func (s *storm) keep(id string, p parcel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parcels[id] = p
}

// done notes how a message ended and tells whether the connection is gone.
func (s *storm) done(id string, p parcel, err error) bool {
	if err == nil {
		s.keep(id, p)
		s.acked.Add(1)
		return false
	}
	var reply *wire.ReplyError
	if !errors.As(err, &reply) {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.parcels, id) // refused: it must not be there
	s.refused[reply.Text]++
	return reply.Code == 421
}

// own is the owner of user 0's mailbox: he appends and flags while the host
// comes and goes. What was answered OK must be there at the end.
func (s *storm) own(ctx context.Context) {
	r := rand.New(rand.NewPCG(*seed, 1000))
	for n := 0; ctx.Err() == nil; {
		c, err := s.b.IMAP(0)
		if err != nil {
			<-time.After(5 * time.Millisecond)
			continue
		}
		c.Conn.SetDeadline(time.Now().Add(time.Minute))
		if c.Do("SELECT INBOX", nil) == nil {
			for err = nil; err == nil && ctx.Err() == nil; n++ {
				err = s.change(c, n, r)
			}
		}
		c.Conn.Close()
	}
}

// change appends one message and flags the newest that the session knows.
func (s *storm) change(c *wire.IMAP, n int, r *rand.Rand) error {
	id := "a" + strconv.Itoa(n)
	head, body, hash := letterOf(id, r)
	s.keep(id, parcel{unknown, []int{0}, hash})
	if err := c.Append("INBOX", slices.Concat(head, body)); err != nil {
		return err
	}
	s.keep(id, parcel{acknowledged, []int{0}, hash})
	var uid uint64
	err := c.Do("UID SEARCH RETURN (MAX) ALL", func(resp wire.Response) {
		if _, max, ok := strings.Cut(string(resp.Text), " MAX "); ok {
			uid, _ = strconv.ParseUint(strings.Fields(max)[0], 10, 32)
		}
	})
	if err != nil || uid == 0 {
		return errors.Join(err, c.Do("NOOP", nil))
	}
	if err := c.Do(fmt.Sprintf(`UID STORE %d +FLAGS.SILENT (\Flagged)`, uid), nil); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flagged[uid] = true
	return nil
}

// found is a message as IMAP shows it.
type found struct {
	uid     uint64
	flagged bool
	whole   bool
	sum     string
}

// check reads every mailbox and compares.
func (s *storm) check() {
	have := make([]map[string][]found, stormUsers)
	for u := range have {
		have[u] = inbox(s.t, &s.b.Server, u)
	}
	flagged := map[uint64]bool{}
	for _, all := range have[0] {
		for _, f := range all {
			flagged[f.uid] = f.flagged
		}
	}
	for uid := range s.flagged {
		if !flagged[uid] {
			s.t.Errorf("UID %d of %s lost its flag", uid, s.b.User(0))
		}
	}
	s.t.Logf("%d flags checked", len(s.flagged))
	for u, ids := range have {
		for id, all := range ids {
			p, known := s.parcels[id]
			switch {
			case !known:
				s.t.Errorf("%s has %s, which was refused or never sent", s.b.User(u), id)
			case !slices.Contains(p.users, u):
				s.t.Errorf("%s has %s, which was not for him", s.b.User(u), id)
			case len(all) > 1:
				s.t.Errorf("%s has %s %d times", s.b.User(u), id, len(all))
			case !all[0].whole || all[0].sum != p.sum:
				s.t.Errorf("%s has %s damaged", s.b.User(u), id)
			}
		}
	}
	lost := 0
	for id, p := range s.parcels {
		for _, u := range p.users {
			if n := len(have[u][id]); p.fate == acknowledged && n == 0 {
				lost++
				s.t.Errorf("LOST: %s was acknowledged and %s does not have it", id, s.b.User(u))
			}
		}
		if p.fate == unknown && len(p.users) > 1 {
			// One record for all: everybody has it or nobody.
			for _, u := range p.users {
				if len(have[u][id]) != len(have[p.users[0]][id]) {
					s.t.Errorf("%s reached some of its recipients only", id)
					break
				}
			}
		}
	}
	if lost > 0 {
		s.t.Errorf("%d acknowledged messages lost", lost)
	}
}

// inbox reads a user's INBOX whole, by the ids in the messages.
func inbox(t *testing.T, s *peers.Server, user int) map[string][]found {
	t.Helper()
	c := imap(t, s, user)
	if err := c.Do("EXAMINE INBOX", nil); err != nil {
		t.Fatal(err)
	}
	all := map[string][]found{}
	err := c.Do("UID FETCH 1:* (UID FLAGS BODY.PEEK[])", func(r wire.Response) {
		if len(r.Literals) != 1 {
			return
		}
		msg := r.Literals[0]
		_, body, _ := bytes.Cut(msg, []byte("\r\n\r\n"))
		f := found{flagged: bytes.Contains(r.Text, []byte(`\Flagged`)), sum: headerOf(msg, "X-Sum")}
		f.whole = sum(body) == f.sum
		if _, uid, ok := strings.Cut(string(r.Text), "UID "); ok {
			f.uid, _ = strconv.ParseUint(strings.TrimRight(strings.Fields(uid)[0], ")"), 10, 32)
		}
		id := headerOf(msg, "X-Id")
		all[id] = append(all[id], f)
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// indexFiles gives the files of the index.
func indexFiles(t *testing.T, b *peers.Breakwater) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(b.Dir, "index.db*"))
	if err != nil {
		t.Fatal(err)
	}
	if len(names) == 0 {
		t.Fatalf("no index.db in %s", b.Dir)
	}
	return names
}
