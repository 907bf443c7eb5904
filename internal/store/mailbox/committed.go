package mailbox

import (
	"sync/atomic"

	"github.com/breakwater-mail/breakwater/internal/store/index"
)

// Committed implements index.View: what a transaction changed becomes what
// everybody sees.
func (s *Store) Committed(rs []index.Applied) {
	s.showRows()
	touched := make(map[*box]struct{})
	for _, r := range rs {
		switch v := r.Result.(type) {
		case *messageFacts:
			s.recent.add(r.Record.LSN, r.Record.Pos)
			for i := range v.filings {
				f := &v.filings[i]
				e := Entry{UID: f.uid, Size: sizeOf(r.Record.BodySize), ModSeq: f.modSeq, Flags: f.flags,
					Message: r.Record.LSN, Date: v.seconds()}
				s.showFiling(f.mailbox, e, touched)
			}
		case []any:
			s.showOps(v, touched)
		}
	}
	for b := range touched {
		b.notify()
	}
}

// showRows publishes the mailboxes' rows that transactions have written.
func (s *Store) showRows() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, r := range s.apply.publish {
		if r.gone {
			s.hide(id)
		} else if r.present {
			s.show(r, nil)
		}
	}
	clear(s.apply.publish)
}

// show publishes one row. last is nil if the sequencer is to be asked. s.mu is
// held for writing.
func (s *Store) show(r row, last *atomic.Uint64) {
	t := s.tree(r.account)
	b := s.boxes[r.id]
	if b == nil {
		if last == nil {
			last = s.q.lastOf(r.id)
		}
		b = &box{id: r.id, account: r.account, last: last, turn: make(chan struct{}, 1)}
		s.boxes[r.id] = b
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.info.Name != r.name {
		if t.names[b.info.Name] == b {
			delete(t.names, b.info.Name)
		}
		t.names[r.name] = b
	}
	t.bytes += r.size - b.status.Size
	t.messages += r.messages - int64(b.status.Messages)
	b.info, b.status, b.keywords, b.floor = r.info(), r.status(), r.keywords, r.historyFloor
}

// lastOf returns where the sequencer notes the last record of a mailbox.
func (q *sequencer) lastOf(id ID) *atomic.Uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	if b := q.boxes[id]; b != nil {
		return b.last
	}
	return new(atomic.Uint64) // deleted again already
}

// hide takes a mailbox away. s.mu is held for writing.
func (s *Store) hide(id ID) {
	b := s.boxes[id]
	if b == nil {
		return
	}
	delete(s.boxes, id)
	b.mu.Lock()
	t := s.tree(b.account)
	if t.names[b.info.Name] == b {
		delete(t.names, b.info.Name)
	}
	t.bytes -= b.status.Size
	t.messages -= int64(b.status.Messages)
	b.gone, b.hot = true, nil
	b.mu.Unlock()
	b.notify()
}

// showFiling adds a message to its mailbox's hot list.
func (s *Store) showFiling(id ID, e Entry, touched map[*box]struct{}) {
	s.mu.RLock()
	b := s.boxes[id]
	s.mu.RUnlock()
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.hot != nil {
		b.hot.add(e)
	}
	if len(b.watchers) > 0 {
		touched[b] = struct{}{}
	}
}

// showOps feeds operations to the hot lists and the trees.
func (s *Store) showOps(ops []any, touched map[*box]struct{}) {
	for _, op := range ops {
		switch o := op.(type) {
		case *flagsOp:
			s.showOp(o.mailbox, touched, func(h *hotlist) { h.flag(o) })
		case *expungeOp:
			s.showOp(o.mailbox, touched, func(h *hotlist) { h.expunge(o) })
		case *fileOp:
			s.showOp(o.mailbox, touched, func(h *hotlist) {
				for _, e := range o.entries {
					h.add(e)
				}
			})
		case *subscribeOp:
			s.mu.Lock()
			if t := s.tree(o.account); o.on {
				t.subscriptions[o.name] = struct{}{}
			} else {
				delete(t.subscriptions, o.name)
			}
			s.mu.Unlock()
		case *renameOp:
			s.showOp(o.mailbox, touched, func(*hotlist) {})
		}
	}
}

func (s *Store) showOp(id ID, touched map[*box]struct{}, fn func(*hotlist)) {
	s.mu.RLock()
	b := s.boxes[id]
	s.mu.RUnlock()
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.hot != nil {
		fn(b.hot)
	}
	touched[b] = struct{}{}
}

// notify calls the mailbox's watchers.
func (b *box) notify() {
	b.mu.Lock()
	fns := make([]func(), 0, len(b.watchers))
	for w := range b.watchers {
		fns = append(fns, w.fn)
	}
	b.mu.Unlock()
	for _, fn := range fns {
		fn()
	}
}
