package greylist

import "github.com/breakwater-mail/breakwater/internal/base/telemetry"

// fileOctetsMax bounds what is read and written: the defaults make 15 MB when
// the table is full, at worst 80 MB; waiting senders beyond it are not saved.
const fileOctetsMax = 256 << 20

// load takes over what the file holds and tells whether it did.
func (t *Table) load() bool {
	found, err := t.file.Load(func(b []byte) error {
		s, err := decode(b)
		if err == nil {
			t.restore(s)
		}
		return err
	})
	if err != nil {
		t.o.Log.Error("the greylist cannot be used and begins anew: some senders will be delayed once more", telemetry.Err, err)
	}
	return found
}

func (t *Table) restore(s snapshot) {
	t.secret = s.secret
	for _, k := range s.known {
		t.known.put(k.name, k.seen)
	}
	for _, w := range s.waiters {
		t.queue.add(&w)
		if t.queue.count > t.o.MaxWaiting { // the bound was lowered
			t.queue.remove(t.queue.first)
		}
	}
	t.tally = s.tally
}

// save writes the file if anything changed since it was last written.
func (t *Table) save() error {
	t.writing.Lock()
	defer t.writing.Unlock()
	if !t.dirty.Swap(false) {
		return nil
	}
	err := t.file.Replace(t.encode())
	if err != nil {
		t.dirty.Store(true)
	}
	return err
}

// waiterOctetsMax is more than one takes in the file.
const waiterOctetsMax = 2048

// waitersAtOnce are encoded under one lock, so that no attempt waits for all.
const waitersAtOnce = 500

// encode writes down everything. Senders that come meanwhile may or may not be
// in it.
func (t *Table) encode() []byte {
	e := newEncoder(t.secret, t.known.all())
	t.mu.Lock()
	all := make([]*waiter, 0, t.queue.count)
	for w := t.queue.first; w != nil; w = w.next {
		all = append(all, w)
	}
	e.tally(&t.tally)
	t.mu.Unlock()
	for len(all) > 0 {
		n := min(len(all), waitersAtOnce)
		t.mu.Lock()
		for _, w := range all[:n] {
			if w.in && len(e.b) < fileOctetsMax-waiterOctetsMax {
				e.waiter(w)
			}
		}
		t.mu.Unlock()
		all = all[n:]
	}
	return e.finish()
}
