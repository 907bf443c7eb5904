package journal

import (
	"context"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
)

// The benchmarks print ratios to what the disk does in the same process just
// before: F is the rate of 4 KB appends with fdatasync to one file, W the
// bytes per second of 1 MB appends with fdatasync. Run them with a fixed
// number of appends, on a quiet machine and a real disk:
//
//	BREAKWATER_BENCH_DIR=/var/tmp go test -run xxx -bench Append -benchtime 50000x ./internal/store/journal

// probeTime is how long each probe of the disk runs.
const probeTime = 400 * time.Millisecond

// countingFS counts what reaches the files.
type countingFS struct {
	sys.FS
	syncs, bytes *atomic.Int64
}

func (c countingFS) Open(name string, flag int, perm fs.FileMode) (sys.File, error) {
	f, err := c.FS.Open(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return countingFile{f, c}, nil
}

func (c countingFS) SyncDir(name string) error {
	c.syncs.Add(1)
	return c.FS.SyncDir(name)
}

type countingFile struct {
	sys.File
	c countingFS
}

func (f countingFile) Sync() error {
	f.c.syncs.Add(1)
	return f.File.Sync()
}

func (f countingFile) WriteAt(p []byte, off int64) (int, error) {
	f.c.bytes.Add(int64(len(p)))
	return f.File.WriteAt(p, off)
}

func (f countingFile) WriteVAt(bufs [][]byte, off int64) (int64, error) {
	n, err := f.File.WriteVAt(bufs, off)
	f.c.bytes.Add(n)
	return n, err
}

func benchDir(b *testing.B) string {
	if dir := os.Getenv("BREAKWATER_BENCH_DIR"); dir != "" {
		dir, err := os.MkdirTemp(dir, "journal-bench-")
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = os.RemoveAll(dir) })
		return dir
	}
	return b.TempDir()
}

// probe appends pieces of a size with fdatasync to one file and gives the rate
// per second and the median time of one.
func probe(b *testing.B, dir string, size int) (rate float64, p50 time.Duration) {
	f, err := sys.OSFS().Open(filepath.Join(dir, fmt.Sprint("probe", size)), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	piece := make([]byte, size)
	for i := range piece {
		piece[i] = byte(rand.Uint32())
	}
	var times []time.Duration
	start := time.Now()
	for off := int64(0); time.Since(start) < probeTime; off += int64(size) {
		t := time.Now()
		if _, err := f.WriteAt(piece, off); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
		times = append(times, time.Since(t))
	}
	rate = float64(len(times)) / time.Since(start).Seconds()
	slices.Sort(times)
	return rate, times[len(times)/2]
}

// load is what a benchmark appends.
type load struct {
	name string
	size func(*rand.Rand) int
}

var loads = []load{
	{"4KB", func(*rand.Rand) int { return 4096 }},
	{"mix", mailSize},
}

// mailSize draws from a lognormal distribution with a median of 8 KB and a
// mean of about 60 KB, cut at 10 MB.
func mailSize(r *rand.Rand) int {
	return int(min(8192*math.Exp(2.007*r.NormFloat64()), 10<<20)) + 1
}

func BenchmarkAppend(b *testing.B) {
	for _, l := range loads {
		for _, writers := range []int{1, 2, 4, 16, 64, 256} {
			b.Run(fmt.Sprintf("%s/%d", l.name, writers), func(b *testing.B) { benchAppend(b, l, writers) })
		}
	}
}

func benchAppend(b *testing.B, l load, writers int) {
	dir := benchDir(b)
	f, p50 := probe(b, dir, 4096)
	w, _ := probe(b, dir, 1<<20)
	c := countingFS{sys.OSFS(), new(atomic.Int64), new(atomic.Int64)}
	j, err := Open(Options{Dir: filepath.Join(dir, "journal"), FS: c, ReserveBytes: -1, GroupWait: GroupWaitMax})
	if err != nil {
		b.Fatal(err)
	}
	if err := j.Start(func([]Record) {}); err != nil {
		b.Fatal(err)
	}
	pool := make([]byte, 11<<20)
	fill := rand.New(rand.NewPCG(1, 2))
	for i := range pool {
		pool[i] = byte(fill.Uint32())
	}
	c.bytes.Store(0)
	c.syncs.Store(0)
	var left, total atomic.Int64
	left.Store(int64(b.N))
	times := make([][]time.Duration, writers)
	var wg sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	for i := range writers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 3))
			for left.Add(-1) >= 0 {
				n := l.size(r)
				start := time.Now()
				if err := benchOne(j, pool[r.IntN(1<<16):][:n], pool[:480]); err != nil {
					b.Error(err)
					return
				}
				times[i] = append(times[i], time.Since(start))
				total.Add(int64(n + 480))
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	took := b.Elapsed().Seconds()
	all := slices.Concat(times...)
	slices.Sort(all)
	b.ReportMetric(float64(b.N)/took, "appends/s")
	b.ReportMetric(float64(b.N)/took/f, "F")
	b.ReportMetric(float64(total.Load())/took/(w*(1<<20)), "W")
	b.ReportMetric(float64(c.syncs.Load())/float64(b.N), "flushes/append")
	b.ReportMetric(float64(c.bytes.Load())/float64(total.Load()), "bytes/byte")
	b.ReportMetric(float64(all[len(all)/2])/float64(p50), "p50/probe-p50")
	b.ReportMetric(float64(all[len(all)*99/100])/float64(p50), "p99/probe-p50")
	if err := j.Close(); err != nil {
		b.Fatal(err)
	}
}

func benchOne(j *Journal, body, envelope []byte) error {
	ctx := context.Background()
	e := Entry{Type: TypeMessage, Envelope: envelope}
	if len(body) <= InlineMax {
		e.Body = [][]byte{body}
		_, err := j.Append(ctx, &e)
		return err
	}
	l, err := j.NewLarge(ctx)
	if err != nil {
		return err
	}
	defer l.Abort()
	if _, err := l.Write(body); err != nil {
		return err
	}
	if err := l.Seal(); err != nil {
		return err
	}
	e.Large = l
	_, err = j.Append(ctx, &e)
	return err
}

// BenchmarkBody reads bodies of the mail mix from the page cache.
func BenchmarkBody(b *testing.B) {
	dir := benchDir(b)
	j, err := Open(Options{Dir: dir, ReserveBytes: -1})
	if err != nil {
		b.Fatal(err)
	}
	if err := j.Start(func([]Record) {}); err != nil {
		b.Fatal(err)
	}
	defer j.Close()
	r := rand.New(rand.NewPCG(1, 2))
	var pos []Position
	for range 500 {
		rec, err := j.Append(context.Background(), &Entry{Type: TypeMessage, Body: [][]byte{make([]byte, min(mailSize(r), InlineMax))}})
		if err != nil {
			b.Fatal(err)
		}
		pos = append(pos, rec.Pos)
	}
	buf := make([]byte, InlineMax)
	b.ReportAllocs()
	b.ResetTimer()
	read := int64(0)
	for i := range b.N {
		body, err := j.Body(pos[i%len(pos)])
		if err != nil {
			b.Fatal(err)
		}
		if _, err := body.ReadAt(buf[:body.Size()], 0); err != nil {
			b.Fatal(err)
		}
		read += body.Size()
		_ = body.Close()
	}
	b.ReportMetric(float64(read)/1e6/b.Elapsed().Seconds(), "MB/s")
}
