package policy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
)

const (
	// historyFlushMax is how many octets wait at most before they are written,
	// and historyFlushWait how long.
	historyFlushMax  = 64 << 10
	historyFlushWait = time.Second
	// historyFreeMin is what it leaves free on the disk, in octets: below that
	// a host is red already.
	historyFreeMin = 64 << 20
	// historyBufferMax is how much may wait when the disk stands still; what
	// comes then is lost, and counted.
	historyBufferMax = 1 << 20
	// historyReadMax is how much of a file is read at once by a search, in
	// octets; at least recordMax.
	historyReadMax = 256 << 10
)

const (
	historyPrefix = "verdicts-"
	historySuffix = ".jsonl"
)

// history keeps records in files of bounded number and size. Writers only
// append to a buffer; one goroutine writes it. What is in no file yet is lost
// when the process dies, and nothing else hangs on it.
type history struct {
	o       HistoryOptions
	clock   sys.Clock
	log     *slog.Logger
	metrics *Metrics
	full    chan struct{} // there is a lot to write

	mu     sync.Mutex
	buffer []byte // guarded by mu

	files sync.Mutex // held to write, rotate or search
	spare []byte     // guarded by files, as all below: the other buffer
	file  sys.File
	size  int64
	seq   uint64 // of file
	ill   bool   // the last write failed
}

func newHistory(o HistoryOptions, clock sys.Clock, log *slog.Logger, m *Metrics) *history {
	return &history{o: o, clock: clock, log: log, metrics: m, full: make(chan struct{}, 1)}
}

func (h *history) on() bool { return h.o.Dir != "" && h.o.FS != nil }

func (h *history) verdict(g *Guest, v *Verdict, l Level, now time.Time) {
	h.append(func(b []byte) []byte { return appendVerdict(b, g, v, l, now) })
}

func (h *history) left(g *Guest, now time.Time) {
	h.append(func(b []byte) []byte { return appendLeft(b, g, now) })
}

func (h *history) accepted(g *Guest, now time.Time) {
	h.append(func(b []byte) []byte { return appendAccepted(b, g, now) })
}

func (h *history) append(f func([]byte) []byte) {
	if !h.on() {
		return
	}
	h.mu.Lock()
	if len(h.buffer) >= historyBufferMax {
		h.mu.Unlock()
		h.metrics.historyLost.Inc()
		return
	}
	before := len(h.buffer)
	h.buffer = f(h.buffer)
	ripe := before < historyFlushMax && len(h.buffer) >= historyFlushMax
	h.mu.Unlock()
	if ripe {
		select {
		case h.full <- struct{}{}:
		default:
		}
	}
}

// run writes until ctx ends.
func (h *history) run(ctx context.Context) {
	if !h.on() {
		return
	}
	for {
		select {
		case <-ctx.Done():
			h.flush()
			h.close()
			return
		case <-h.full:
		case <-h.clock.After(historyFlushWait):
		}
		h.flush()
	}
}

// flush writes what is in the buffer. A write that fails loses it: the history
// is not worth a host that stands still.
func (h *history) flush() {
	h.files.Lock()
	defer h.files.Unlock()
	h.mu.Lock()
	b := h.buffer
	h.buffer = h.spare[:0]
	h.mu.Unlock()
	h.spare = b
	if cap(b) > 2*historyFlushMax { // of a burst
		h.spare = nil
	}
	if len(b) == 0 {
		return
	}
	err := h.write(b)
	if err != nil {
		h.metrics.historyErrors.Inc()
		h.shut()
	}
	if ill := err != nil; ill != h.ill {
		h.ill = ill
		if ill {
			h.log.Error("history of verdicts not written", slog.Any(telemetry.Err, err), slog.String(telemetry.Path, h.o.Dir))
		} else {
			h.log.Info("history of verdicts is written again", slog.String(telemetry.Path, h.o.Dir))
		}
	}
}

// errNoRoom says that the last room of the disk is left to mail.
var errNoRoom = errors.New("the disk is nearly full")

func (h *history) write(b []byte) error {
	if free, err := h.o.FS.Free(filepath.Dir(h.o.Dir)); err == nil && free < historyFreeMin {
		return errNoRoom
	}
	if h.file != nil && h.size > 0 && h.size+int64(len(b)) > h.o.Size {
		h.shut()
		h.seq++
	}
	if h.file == nil {
		if err := h.open(); err != nil {
			return err
		}
	}
	if _, err := h.file.WriteAt(b, h.size); err != nil {
		return fmt.Errorf("append to %s: %w", h.name(h.seq), err)
	}
	h.size += int64(len(b))
	return nil
}

// open opens the newest file, or a new one if that is full, and removes the
// oldest ones.
func (h *history) open() error {
	if err := h.o.FS.MkdirAll(h.o.Dir, 0o700); err != nil {
		return fmt.Errorf("make history folder: %w", err)
	}
	seqs, err := h.list()
	if err != nil {
		return err
	}
	if n := len(seqs); n > 0 {
		h.seq = max(h.seq, seqs[n-1])
	}
	h.seq = max(h.seq, 1)
	for {
		f, err := h.o.FS.Open(h.path(h.seq), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return fmt.Errorf("open history: %w", err)
		}
		size, err := wholeLines(f)
		if err != nil {
			_ = f.Close()
			return fmt.Errorf("read the end of %s: %w", h.name(h.seq), err)
		}
		if size < h.o.Size {
			h.file, h.size = f, size
			break
		}
		_ = f.Close()
		h.seq++
	}
	for _, s := range seqs {
		if s+uint64(h.o.Files) <= h.seq {
			if err := h.o.FS.Remove(h.path(s)); err != nil {
				return fmt.Errorf("remove old history: %w", err)
			}
		}
	}
	return nil
}

// wholeLines gives where to go on in a file: behind its last whole line, since
// a crash may have torn what came after.
func wholeLines(f sys.File) (int64, error) {
	size, err := f.Size()
	if err != nil || size == 0 {
		return 0, err
	}
	from := max(0, size-recordMax)
	b := make([]byte, size-from)
	if _, err := f.ReadAt(b, from); err != nil {
		return 0, err
	}
	return from + int64(bytes.LastIndexByte(b, '\n')) + 1, nil
}

func (h *history) shut() {
	if h.file != nil {
		_ = h.file.Close() // nothing that is lost by it would be missed
		h.file = nil
	}
}

func (h *history) close() {
	h.files.Lock()
	defer h.files.Unlock()
	h.shut()
}

func (h *history) name(seq uint64) string {
	s := strconv.FormatUint(seq, 10)
	return historyPrefix + strings.Repeat("0", max(0, 10-len(s))) + s + historySuffix
}

func (h *history) path(seq uint64) string { return filepath.Join(h.o.Dir, h.name(seq)) }

// list gives the numbers of the files, oldest first.
func (h *history) list() ([]uint64, error) {
	names, err := h.o.FS.ReadDir(h.o.Dir)
	if err != nil {
		return nil, fmt.Errorf("list history: %w", err)
	}
	var seqs []uint64
	for _, n := range names {
		digits, ok := strings.CutPrefix(n, historyPrefix)
		if !ok {
			continue
		}
		if digits, ok = strings.CutSuffix(digits, historySuffix); !ok {
			continue
		}
		if seq, err := strconv.ParseUint(digits, 10, 63); err == nil {
			seqs = append(seqs, seq)
		}
	}
	slices.Sort(seqs)
	return seqs, nil
}

// session gives all records of a session, in their order. The newest files are
// searched first, up to the first one that has nothing more of it.
func (h *history) session(id string) ([]Record, error) {
	key := appendText([]byte(`"session":`), id)
	var found []Record
	seqs, err := h.written()
	for _, seq := range slices.Backward(seqs) {
		var here []Record
		err = h.lines(seq, func(line []byte) {
			if !bytes.Contains(line, key) {
				return
			}
			if r, err := DecodeRecord(line); err == nil && r.Session == id {
				here = append(here, r)
			}
		})
		if err != nil || len(here) == 0 && len(found) > 0 {
			break
		}
		found = append(here, found...)
	}
	return found, err
}

// written writes what is in the buffer and gives the numbers of the files,
// oldest first.
func (h *history) written() ([]uint64, error) {
	if !h.on() {
		return nil, nil
	}
	h.flush()
	h.files.Lock()
	defer h.files.Unlock()
	seqs, err := h.list()
	if errors.Is(err, fs.ErrNotExist) { // nothing was ever written
		return nil, nil
	}
	return seqs, err
}

// lines reads a file line by line. One that is too long is passed over. The
// file may go away or grow meanwhile.
func (h *history) lines(seq uint64, line func([]byte)) error {
	f, err := h.o.FS.Open(h.path(seq), os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open history: %w", err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return fmt.Errorf("size of history: %w", err)
	}
	b := make([]byte, historyReadMax)
	for at := int64(0); at < size; {
		part := b[:min(int64(len(b)), size-at)]
		if _, err := f.ReadAt(part, at); err != nil {
			return fmt.Errorf("read history: %w", err)
		}
		whole := bytes.LastIndexByte(part, '\n') + 1
		for l := range bytes.Lines(part[:whole]) {
			line(bytes.TrimSuffix(l, []byte("\n")))
		}
		if whole == 0 {
			whole = len(part)
		}
		at += int64(whole)
	}
	return nil
}
