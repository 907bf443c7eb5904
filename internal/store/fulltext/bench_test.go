package fulltext

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

const (
	benchMessages = 10_000
	benchOctets   = 4 << 10
	benchRare     = "zebracrossing"
)

// mailLike makes messages of words whose frequencies fall as those of a
// language do, with some header fields that are nearly unique, and the rare
// word in one of them.
func mailLike(messages int) (m texts, common string) {
	r := rand.New(rand.NewPCG(1, 2))
	words := make([]string, 20_000)
	for i := range words {
		var b strings.Builder
		for range 1 + r.IntN(4) {
			b.WriteByte("bcdfghlmnprstvwz"[int(16*r.Float64()*r.Float64())])
			b.WriteByte("aeiouy"[int(6*r.Float64()*r.Float64())])
			if r.IntN(3) == 0 {
				b.WriteByte("nrslt"[r.IntN(5)])
			}
		}
		words[i] = b.String()
	}
	zipf := rand.NewZipf(r, 1.1, 3, uint64(len(words)-1))
	m = texts{}
	for i := range messages {
		var b strings.Builder
		fmt.Fprintf(&b, "Received: from mx%d.example.org by mail.example.net; id %d\nMessage-ID: <%x.%x@example.org>\n\n",
			r.IntN(100), i, r.Uint64(), r.Uint64())
		if i == messages/2 {
			b.WriteString(benchRare)
		}
		for b.Len() < benchOctets {
			b.WriteString(words[zipf.Uint64()])
			b.WriteByte(' ')
		}
		m[journal.LSN(3*i+1)] = b.String()
	}
	return m, words[0] + " " + words[1]
}

func BenchmarkFill(b *testing.B) {
	m, _ := mailLike(benchMessages)
	var size int64
	for b.Loop() {
		o := options(b.TempDir(), m)
		x := start(b, o)
		x.Want(m.lsns())
		fillAll(b, x)
		end(b, x)
		size, _ = x.o.FS.Stat(o.Path)
	}
	text := int64(benchMessages) * benchOctets
	b.SetBytes(text)
	b.ReportMetric(float64(size)/float64(text), "B/textB")
	b.ReportMetric(float64(benchMessages*b.N)/b.Elapsed().Seconds(), "msgs/s")
}

func BenchmarkGrams(b *testing.B) {
	m, _ := mailLike(1)
	g := new(grammar)
	b.SetBytes(benchOctets)
	for b.Loop() {
		if _, err := g.read(strings.NewReader(m[1])); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCandidates asks about 10,000 messages of 4 KB. "scan" is what it
// saves at the least: to fold them in memory and look.
func BenchmarkCandidates(b *testing.B) {
	m, common := mailLike(benchMessages)
	lsns := m.lsns()
	x := start(b, options(b.TempDir(), m))
	defer end(b, x)
	x.Want(lsns)
	fillAll(b, x)
	for name, needle := range map[string]string{"rare": benchRare, "none": "qqqxqq", "common": common, "short": "ing"} {
		b.Run(name, func(b *testing.B) {
			n := 0
			for b.Loop() {
				got, err := x.Candidates(context.Background(), lsns, needle)
				if err != nil {
					b.Fatal(err)
				}
				n = len(got)
			}
			b.ReportMetric(float64(n), "candidates")
		})
	}
	b.Run("scan", func(b *testing.B) {
		needle := []byte(benchRare)
		for b.Loop() {
			for _, lsn := range lsns {
				r, _ := m.open(context.Background(), lsn)
				text, _ := io.ReadAll(r)
				bytes.Contains(bytes.ToLower(text), needle)
			}
		}
	})
}

// TestMailLike_narrows holds the point of all this to account.
func TestMailLike_narrows(t *testing.T) {
	m, _ := mailLike(300)
	o := options(t.TempDir(), m)
	x := start(t, o)
	x.Want(m.lsns())
	fillAll(t, x)
	if got := candidates(t, x, m.lsns(), benchRare); len(got) != 1 {
		t.Errorf("%d of 300 messages may hold the word that one holds", len(got))
	}
	end(t, x)
	info, err := os.Stat(o.Path)
	if err != nil {
		t.Fatal(err)
	}
	if most := int64(300 * benchOctets); info.Size() > most {
		t.Errorf("the file has %d octets, the text %d", info.Size(), most)
	}
}
