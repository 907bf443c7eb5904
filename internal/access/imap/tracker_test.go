package imap

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/breakwater-mail/breakwater/internal/access/imap/wire"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

// modelMailbox is a mailbox that tells its changes.
type modelMailbox struct {
	entries []mailbox.Entry
	gone    map[mailbox.UID]mailbox.ModSeq
	next    mailbox.UID
	modseq  mailbox.ModSeq
}

func (m *modelMailbox) add(n int) {
	m.modseq++
	for range n {
		m.entries = append(m.entries, mailbox.Entry{UID: m.next, ModSeq: m.modseq})
		m.next++
	}
}

func (m *modelMailbox) changes(since mailbox.ModSeq, all bool) mailbox.Changes {
	c := mailbox.Changes{ModSeq: m.modseq, UIDNext: m.next}
	for _, e := range m.entries {
		if e.ModSeq > since {
			c.Changed = append(c.Changed, e)
		}
	}
	for uid, at := range m.gone {
		if all || at > since {
			c.Vanished = append(c.Vanished, uid)
		}
	}
	slices.Sort(c.Vanished)
	return c
}

// modelClient is what a client makes of untagged responses.
type modelClient struct {
	known []known // by sequence number; a UID of 0 is not known yet
	byUID bool    // it has enabled QRESYNC
}

type known struct {
	uid   uint32
	flags mailbox.Flags
}

func (c *modelClient) apply(t *rapid.T, n notices, expunges bool) {
	if len(n.expunged) != len(n.vanished) || !expunges && len(n.expunged) > 0 {
		t.Fatalf("told of %v, %v, may be told: %v", n.expunged, n.vanished, expunges)
	}
	for i, seq := range n.expunged {
		if c.byUID {
			seq = uint32(slices.IndexFunc(c.known, func(k known) bool { return k.uid == n.vanished[i] })) + 1
		}
		if seq == 0 || int(seq) > len(c.known) {
			t.Fatalf("EXPUNGE %d of %d", seq, len(c.known))
		}
		c.known = slices.Delete(c.known, int(seq)-1, int(seq))
	}
	if n.exists >= 0 {
		if n.exists < len(c.known) {
			t.Fatalf("EXISTS %d after %d", n.exists, len(c.known))
		}
		for len(c.known) < n.exists {
			c.known = append(c.known, known{})
		}
	}
	for _, s := range n.changed {
		if int(s.seq) > len(c.known) {
			t.Fatalf("FETCH %d of %d", s.seq, len(c.known))
		}
		k := &c.known[s.seq-1]
		if k.uid != 0 && k.uid != uint32(s.entry.UID) {
			t.Fatalf("FETCH %d has UID %d, was %d", s.seq, s.entry.UID, k.uid)
		}
		*k = known{uint32(s.entry.UID), s.entry.Flags}
	}
}

// fetch asks for the UIDs and flags of what is new to the client.
func (c *modelClient) fetch(t *rapid.T, v *tracker, m *modelMailbox) {
	if len(c.known) != v.told {
		t.Fatalf("client counts %d, tracker %d", len(c.known), v.told)
	}
	for i := range c.known {
		if c.known[i].uid == 0 {
			c.known[i].uid = v.uids[i]
			for _, e := range m.entries {
				if uint32(e.UID) == v.uids[i] {
					c.known[i].flags = e.Flags
				}
			}
		}
		if c.known[i].uid != v.uids[i] {
			t.Fatalf("sequence number %d: client has UID %d, tracker %d", i+1, c.known[i].uid, v.uids[i])
		}
	}
}

// TestTracker_ClientsSeeTheMailbox holds three sessions on one mailbox: each
// client that applies what it is told knows the mailbox after every full
// report, and never loses count in between.
func TestTracker_ClientsSeeTheMailbox(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &modelMailbox{gone: map[mailbox.UID]mailbox.ModSeq{}, next: 1, modseq: 1}
		m.add(rapid.IntRange(0, 5).Draw(t, "start"))
		var clients [3]modelClient
		var views [3]tracker
		for i := range views {
			views[i] = newTracker(m.entries, m.modseq)
			clients[i].known = make([]known, len(m.entries))
			clients[i].byUID = i == 2
			clients[i].fetch(t, &views[i], m)
		}
		report := func(i int, expunges bool) {
			v := &views[i]
			v.take(m.changes(v.modseq, rapid.Bool().Draw(t, "all")))
			waits := v.pending(expunges)
			n := v.report(expunges)
			if !waits && (len(n.expunged) > 0 || n.exists >= 0 || len(n.changed) > 0) {
				t.Fatalf("nothing was pending, but %+v", n)
			}
			clients[i].apply(t, n, expunges)
			clients[i].fetch(t, v, m)
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) { m.add(rapid.IntRange(1, 3).Draw(t, "n")) },
			"flag": func(t *rapid.T) {
				m.modseq++
				for i := range m.entries {
					if rapid.Bool().Draw(t, "hit") {
						m.entries[i].Flags ^= mailbox.FlagSeen
						m.entries[i].ModSeq = m.modseq
					}
				}
			},
			"expunge": func(t *rapid.T) {
				m.modseq++
				m.entries = slices.DeleteFunc(m.entries, func(e mailbox.Entry) bool {
					hit := rapid.IntRange(0, 2).Draw(t, "hit") == 0
					if hit {
						m.gone[e.UID] = m.modseq
					}
					return hit
				})
			},
			"report": func(t *rapid.T) {
				report(rapid.IntRange(0, 2).Draw(t, "who"), rapid.Bool().Draw(t, "expunges"))
			},
		})
		for i := range views {
			report(i, true)
			if len(clients[i].known) != len(m.entries) {
				t.Fatalf("client %d knows %d messages of %d", i, len(clients[i].known), len(m.entries))
			}
			for j, e := range m.entries {
				if got := clients[i].known[j]; got != (known{uint32(e.UID), e.Flags}) {
					t.Fatalf("client %d has %+v for %+v", i, got, e)
				}
			}
		}
	})
}

func TestTracker_Spans(t *testing.T) {
	v := tracker{uids: []uint32{2, 3, 5, 9, 10}, told: 4}
	tests := []struct {
		set  string
		uid  bool
		want []span
	}{
		{"1:2,4", false, []span{{0, 2}, {3, 4}}},
		{"*", false, []span{{3, 4}}},
		{"1:*", true, []span{{0, 4}}},
		{"3:9", true, []span{{1, 4}}},
		{"4,6:8,11", true, nil},
		{"10", true, nil},
		{"100:*", true, []span{{3, 4}}},
		{"$", true, []span{{1, 3}}},
		{"2,3,4,5", true, []span{{0, 3}}},
	}
	for _, tt := range tests {
		set, err := wire.ParseSet([]byte(tt.set))
		if err != nil {
			t.Fatal(err)
		}
		got, err := v.spans(set, tt.uid, []uint32{3, 4, 5, 10})
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s (uid %v): %v, %v; want %v", tt.set, tt.uid, got, err, tt.want)
		}
	}
	for _, bad := range []string{"5", "1:5", "7"} {
		set, _ := wire.ParseSet([]byte(bad))
		if got, err := v.spans(set, false, nil); err == nil {
			t.Errorf("%s: %v", bad, got)
		}
	}
}
