package journal

import (
	"fmt"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
)

// writer is the log's one goroutine. Nothing here is shared.
type writer struct {
	j         *Journal
	onDurable func([]Record)

	seg     *segment // active; nil while there is no room for one
	f       sys.File
	end     int64 // where the next record goes
	count   uint64
	states  []stateRef
	next    LSN
	last    LSN  // last one written to the active segment
	broken  bool // the next LSN does not follow: a new segment is needed
	full    bool // the last attempt found no room
	reserve bool // the reserve file is there

	taken   []*request
	group   []*request // those that were stamped
	company int        // callers that the last group has shown, in it and behind it
	vec     vector
	ext     []byte
}

// open makes the first segment of the run. A full disk is no reason not to
// start: there is a host to read from.
func (w *writer) open() error {
	w.checkReserve()
	w.j.openMark()
	err := w.rotate()
	if isFull(err) {
		w.dropReserve()
		err = w.rotate()
	}
	if isFull(err) {
		w.setFull(true)
		w.j.o.Log.Warn("no room to begin a segment", telemetry.Err, err)
		return nil
	}
	return err
}

// run is the loop of the group commit: take what is queued, write it, sync
// it, tell. Who was in the last group, or queued while it was synced, is
// likely to come again soon: the next group waits for as many, GroupWait at
// most. Who was alone is not waited for, so a lone caller never waits; nor is
// anybody when those that are there fill a group.
func (w *writer) run() {
	defer close(w.j.done)
	for {
		w.j.queue.gather(w.company, w.j.o.GroupWait, w.j.o.Clock)
		w.taken = w.j.queue.take(w.taken[:0])
		if len(w.taken) == 0 {
			break
		}
		w.j.busy.Store(w.j.o.Clock.Now().UnixNano())
		w.company = 0
		w.commit(w.taken)
		w.j.busy.Store(0)
		clear(w.taken)
	}
	w.shut()
}

// commit makes a group durable and answers its callers.
func (w *writer) commit(reqs []*request) {
	if err := w.j.Err(); err != nil {
		w.refuse(reqs, err, "failed")
		return
	}
	reqs, err := w.makeRoom(reqs)
	if err != nil {
		w.refuse(reqs, err, "failed")
		return
	}
	w.build(reqs)
	if len(w.group) == 0 {
		return
	}
	n, err := w.f.WriteVAt(w.vec.bufs, w.end)
	if isFull(err) {
		w.outOfRoom(err)
		return
	}
	if err == nil && n != w.vec.size {
		err = fmt.Errorf("wrote %d of %d bytes", n, w.vec.size)
	}
	if err == nil {
		err = w.sync()
	}
	if err != nil {
		w.refuse(w.group, w.j.fail(fmt.Errorf("write segment %s: %w", w.seg.id, err)), "failed")
		return
	}
	w.acknowledge()
}

// sync is fdatasync with its time taken.
func (w *writer) sync() error {
	start := w.j.o.Clock.Now()
	err := w.f.Sync()
	w.j.o.Metrics.sync.Observe(w.j.o.Clock.Now().Sub(start).Seconds())
	return syncFailed(err)
}

// build stamps the entries in order and lays out the group. Entries that are
// refused are answered here and take no LSN.
func (w *writer) build(reqs []*request) {
	w.group = w.group[:0]
	w.vec.reset()
	for _, r := range reqs {
		lsn := w.next
		r.env = r.e.Envelope
		var err error
		if r.e.Stamp != nil {
			r.env, err = r.e.Stamp(lsn)
			r.stamped = err == nil
		}
		if err == nil && len(r.env) > EnvelopeMax {
			err = ErrTooLarge
		}
		if err == nil && r.e.AsOf >= lsn {
			err = fmt.Errorf("journal: state as of %s, which is in the future of %s", r.e.AsOf, lsn)
		}
		if err != nil {
			w.undo(r)
			w.refuse([]*request{r}, err, "refused")
			continue
		}
		w.next++
		w.layout(r, lsn)
		w.group = append(w.group, r)
	}
}

// layout adds one record to the vector.
func (w *writer) layout(r *request, lsn LSN) {
	x := extension{asOf: r.e.AsOf}
	large := int64(0)
	if r.e.Large != nil {
		x.large = &r.e.Large.ref
		large = x.large.size
	}
	w.ext = x.append(w.ext[:0])
	h := header{
		typ: r.e.Type, headLen: uint32(headSize + len(w.ext)), envLen: uint32(len(r.env)),
		stored: uint64(r.body), raw: uint64(r.body), lsn: lsn, mix: w.seg.mix, durable: w.j.Durable(),
		envCRC: checksum2(w.ext, r.env), bodyCRC: r.crc,
	}
	if r.table != nil {
		h.flags |= flagChunked
	}
	off := w.end + w.vec.size
	h.put(w.vec.grow(headSize))
	w.vec.add(w.ext)
	w.vec.add(r.env)
	for _, p := range r.e.Body {
		w.vec.add(p)
	}
	w.vec.add(r.table)
	clear(w.vec.grow(int(off + h.size() - w.end - w.vec.size)))
	r.rec = Record{
		LSN: lsn, Type: r.e.Type, AsOf: lsn, Pos: Position{w.seg.id, off, h.size()},
		Envelope: r.env, Hint: r.e.Hint, BodySize: r.body + large,
	}
	if x.large != nil {
		r.rec.Large = x.large.segment
	}
	if r.e.Type == TypeState {
		r.rec.AsOf = r.e.AsOf
	}
}

// acknowledge publishes a group that is durable.
func (w *writer) acknowledge() {
	j := w.j
	last := w.group[len(w.group)-1].rec.LSN
	j.verdict.Lock()
	if err := j.Err(); err != nil {
		j.verdict.Unlock()
		w.refuse(w.group, err, "failed")
		return
	}
	j.durable.Store(uint64(last))
	j.writeMark(false)
	j.verdict.Unlock()

	records := make([]Record, len(w.group))
	for i, r := range w.group {
		records[i] = r.rec
		if r.e.Large != nil {
			r.e.Large.used()
		}
		if r.e.Type == TypeState {
			w.states = append(w.states, stateRef{r.e.AsOf, r.rec.LSN, w.seg.id, r.rec.Pos.Offset})
		}
	}
	w.end += w.vec.size
	w.last, w.count = last, w.count+uint64(len(records))
	w.publish()
	m := j.o.Metrics
	m.groups.Inc()
	m.groupSize.Observe(float64(len(records)))
	m.bytes.Add(float64(w.vec.size))
	m.durable.Set(float64(last))
	m.appends.WithLabelValues("durable").Add(float64(len(records)))
	if w.onDurable != nil {
		w.onDurable(records)
	}
	w.company = len(w.group) + j.queue.len()
	for i, r := range w.group {
		w.group[i] = nil
		r.finish(nil)
	}
	w.vec.reset()
	w.vec.trim()
}

// publish tells readers how far the active segment can be read.
func (w *writer) publish() {
	w.j.mu.Lock()
	defer w.j.mu.Unlock()
	w.seg.size, w.seg.last = w.end, max(w.seg.last, w.last)
	w.seg.durable = w.seg.last
	w.seg.states, w.seg.statesKnown = w.states, true
}

// refuse answers requests with an error.
func (w *writer) refuse(reqs []*request, err error, result string) {
	w.j.o.Metrics.appends.WithLabelValues(result).Add(float64(len(reqs)))
	for _, r := range reqs {
		r.finish(err)
	}
}

// undo takes back what Stamp did.
func (w *writer) undo(r *request) {
	if r.stamped && r.e.Undo != nil {
		r.e.Undo()
	}
	r.stamped = false
}

// rotate seals the active segment, if there is one, and begins the next.
func (w *writer) rotate() error {
	old, oldFile := w.seg, w.f
	if old != nil && w.count > 0 && !w.broken {
		if err := w.seal(); err != nil {
			return err
		}
	}
	seg, f, err := w.j.createLog(w.next, w.j.Durable())
	if err != nil {
		return err
	}
	seg.active, seg.statesKnown = true, true
	w.j.add(seg)
	w.seg, w.f, w.end = seg, f, blockSize
	w.count, w.states, w.broken, w.last = 0, nil, false, 0
	w.j.active.Store(uint64(seg.id))
	if old == nil {
		return nil
	}
	w.j.mu.Lock()
	old.active = false
	empty := old.size == blockSize
	w.j.mu.Unlock()
	if err := oldFile.Close(); err != nil {
		return fmt.Errorf("close segment %s: %w", old.id, err)
	}
	if empty {
		return w.j.remove(old.id)
	}
	return nil
}

// seal writes the last record of the active segment. Its LSN is that of the
// record before it: a seal says nothing new.
func (w *writer) seal() error {
	b := sealRecord(w.seg.mix, w.last, w.j.Durable(), w.count, w.states)
	_, err := w.f.WriteAt(b, w.end)
	if err == nil {
		err = w.sync()
	}
	if err != nil {
		return fmt.Errorf("seal segment %s: %w", w.seg.id, err)
	}
	w.end += int64(len(b))
	w.publish()
	w.j.mu.Lock()
	defer w.j.mu.Unlock()
	w.seg.sealed = true
	w.count = 0
	return nil
}

// sealRecord gives the bytes of a seal.
func sealRecord(mix uint64, last, durable LSN, count uint64, states []stateRef) []byte {
	env := sealEnvelope(count, states)
	h := header{
		typ: TypeSeal, headLen: headSize, envLen: uint32(len(env)), lsn: last, mix: mix,
		durable: durable, envCRC: checksum(env),
	}
	b := make([]byte, h.size())
	h.put(b)
	copy(b[headSize:], env)
	return b
}

// shut ends the run: a segment that is sealed needs no recovery.
func (w *writer) shut() {
	if w.seg == nil {
		return
	}
	if w.j.Err() == nil {
		w.tidy()
	}
	w.j.mu.Lock()
	w.seg.active = false
	w.j.mu.Unlock()
	if err := w.f.Close(); err != nil {
		w.j.o.Log.Warn("close segment", telemetry.Segment, w.seg.id.String(), telemetry.Err, err)
	}
}

// tidy seals the active segment, or removes it when nothing was written.
func (w *writer) tidy() {
	var err error
	switch {
	case w.end == blockSize:
		err = w.j.remove(w.seg.id)
	case w.count > 0 && !w.broken:
		err = w.seal()
		if isFull(err) {
			err = w.f.Truncate(w.end) // recovery will do without the seal
		}
	}
	if err != nil {
		_ = w.j.fail(err)
	}
}

// checksum2 is the checksum of two pieces.
func checksum2(a, b []byte) uint32 { return sumShort([][]byte{a, b}) }
