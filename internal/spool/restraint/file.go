package restraint

import "github.com/breakwater-mail/breakwater/internal/base/telemetry"

// fileOctetsMax bounds what is read and written: the defaults make 24 MB when
// all is full, the largest options 500 MB.
const fileOctetsMax = 1 << 30

// load takes over what the file holds and tells whether it did.
func (r *Restraint) load() bool {
	found, err := r.file.Load(func(b []byte) error {
		s, err := decode(b)
		if err == nil {
			r.restore(s)
		}
		return err
	})
	if err != nil {
		r.o.Log.Error("what accounts usually send cannot be read and is learned anew", telemetry.Err, err)
	}
	return found
}

func (r *Restraint) restore(s snapshot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.secret, r.born = s.secret, s.born
	for _, at := range s.sites {
		r.sites[at.network] = at
	}
	r.o.Metrics.networks.Set(float64(len(r.sites)))
	for _, b := range s.books { // the oldest first
		r.books[b.id] = b
		r.recent.push(b)
		r.names += len(b.known) + len(b.heard)
	}
	r.shrink()
}

// save writes the file if anything changed since it was last written.
func (r *Restraint) save() error {
	r.writing.Lock()
	defer r.writing.Unlock()
	r.mu.Lock()
	var b []byte
	if r.dirty {
		b = r.encode()
	}
	r.dirty = false
	r.mu.Unlock()
	if b == nil {
		return nil
	}
	err := r.file.Replace(b)
	if err != nil {
		r.mu.Lock()
		r.dirty = true
		r.mu.Unlock()
	}
	return err
}
