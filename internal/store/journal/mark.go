package journal

import (
	"encoding/binary"
	"os"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
)

// mark is the content of the file "mark": what is durable, written with each
// group, and whether the journal has failed.
//
// It is never synced. After the death of the process alone it is in the page
// cache and says what was acknowledged, so a bad record up to there is
// damage and no torn tail. After a power cut it may be old, but what it says
// was true when it was written and still is. That it says so of a failure is
// wanted only while the page cache lives that holds the pages which the failed
// fdatasync has wrongly called clean: the mark lives there too.
type mark struct {
	store   StoreID
	segment SegmentID // that was written
	durable LSN
	failed  bool
}

const (
	markMagic = "BWMARK01"
	markSize  = 64
)

func (m mark) bytes() []byte {
	b := make([]byte, markSize)
	copy(b, markMagic)
	copy(b[8:], m.store[:])
	binary.LittleEndian.PutUint64(b[24:], uint64(m.segment))
	binary.LittleEndian.PutUint64(b[32:], uint64(m.durable))
	if m.failed {
		b[40] = 1
	}
	binary.LittleEndian.PutUint32(b[markSize-4:], checksum(b[:markSize-4]))
	return b
}

// parseMark reads a mark.
func parseMark(b []byte) (m mark, ok bool) {
	if len(b) != markSize || string(b[:8]) != markMagic ||
		binary.LittleEndian.Uint32(b[markSize-4:]) != checksum(b[:markSize-4]) {
		return m, false
	}
	m.store = StoreID(b[8:24])
	m.segment = SegmentID(binary.LittleEndian.Uint64(b[24:]))
	m.durable = LSN(binary.LittleEndian.Uint64(b[32:]))
	m.failed = b[40] == 1
	return m, true
}

// readMark gives the mark of the last run; an empty one if there is none.
func (j *Journal) readMark() mark {
	b, err := j.readFile(j.path(markName), markSize+1)
	if err != nil {
		return mark{}
	}
	m, ok := parseMark(b)
	if !ok || m.store != j.store {
		return mark{}
	}
	return m
}

// openMark opens the mark for this run. A journal without one works.
func (j *Journal) openMark() {
	f, err := j.o.FS.Open(j.path(markName), os.O_RDWR|os.O_CREATE, filePerm)
	if err != nil {
		j.o.Log.Warn("no mark", telemetry.Err, err)
		return
	}
	j.verdict.Lock()
	defer j.verdict.Unlock()
	j.mark = f
}

func (j *Journal) closeMark() {
	j.verdict.Lock()
	defer j.verdict.Unlock()
	if j.mark != nil {
		_ = j.mark.Close()
		j.mark = nil
	}
}

// writeMark writes the mark. verdict is held.
func (j *Journal) writeMark(failed bool) {
	if j.mark == nil {
		return
	}
	m := mark{store: j.store, segment: SegmentID(j.active.Load()), durable: j.Durable(), failed: failed}
	_, err := j.mark.WriteAt(m.bytes(), 0)
	if err != nil && !j.markBad {
		j.o.Log.Warn("mark not written", telemetry.Err, err)
	}
	j.markBad = err != nil
}
