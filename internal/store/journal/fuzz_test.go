package journal

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

func FuzzParseFields(f *testing.F) {
	f.Add(AppendString(AppendUint(nil, 1, 300), 0x200, "name"))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		n := 0
		err := ParseFields(b, func(tag uint64, v []byte) error {
			again = AppendField(again, tag, v)
			n++
			return nil
		})
		for range Fields(b) {
			n--
		}
		if n != 0 {
			t.Fatal("Fields and ParseFields differ")
		}
		if err != nil && !errors.Is(err, ErrMalformed) {
			t.Fatal(err)
		}
		// What was read means the same when written again, in the
		// shortest form.
		var third []byte
		if err := ParseFields(again, func(tag uint64, v []byte) error {
			third = AppendField(third, tag, v)
			return nil
		}); err != nil || !bytes.Equal(again, third) {
			t.Fatalf("written again: %v", err)
		}
		if len(again) > len(b) {
			t.Fatal("grew")
		}
	})
}

func FuzzParseHeader(f *testing.F) {
	h := header{typ: TypeMessage, flags: flagChunked, headLen: headSize, envLen: 5, stored: 70000, raw: 70000, lsn: 9, mix: 3, durable: 8}
	b := make([]byte, headSize)
	h.put(b)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= headSize {
			// Let it get past the checksum.
			b = bytes.Clone(b[:headSize])
			le32(b[0:], recordMagic)
			le32(b[64:], checksum(b[:64]))
		}
		h, err := parseHeader(b)
		if err != nil {
			return
		}
		if h.size() < headSize || h.size()%align != 0 || h.bodyAt()+int64(h.stored)+h.table() > h.size() {
			t.Fatalf("sizes of %+v: %d", h, h.size())
		}
		again := make([]byte, headSize)
		h.put(again)
		if !bytes.Equal(again, b) {
			t.Fatalf("%x\n%x", b, again)
		}
	})
}

func le32(b []byte, v uint32) { b[0], b[1], b[2], b[3] = byte(v), byte(v>>8), byte(v>>16), byte(v>>24) }

func FuzzParseSegmentHeader(f *testing.F) {
	h := segmentHeader{kind: KindCompacted, id: 7, first: 3, durable: 2, sources: []SegmentID{5, 6}}
	f.Add(h.block()[:200])
	f.Fuzz(func(t *testing.T, b []byte) {
		block := make([]byte, blockSize)
		copy(block, b)
		copy(block, segmentMagic)
		le32(block[blockSize-4:], checksum(block[:blockSize-4]))
		h, err := parseSegmentHeader(block)
		if err != nil {
			return
		}
		if again, err := parseSegmentHeader(h.block()); err != nil || again.id != h.id || len(again.sources) != len(h.sources) {
			t.Fatalf("written again: %+v, %v", again, err)
		}
	})
}

func FuzzParseSmallFiles(f *testing.F) {
	f.Add(storeFile{epoch: 4}.bytes())
	f.Add(mark{segment: 1, durable: 2, failed: true}.bytes())
	f.Add((&extension{large: &largeRef{1, 2, 3}, asOf: 4}).append(nil))
	f.Add(sealEnvelope(3, []stateRef{{1, 2, 3, 4}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := parseStoreFile(b); err == nil {
			if again, err := parseStoreFile(s.bytes()); err != nil || again != s {
				t.Fatal("store file")
			}
		}
		if m, ok := parseMark(b); ok {
			if again, ok := parseMark(m.bytes()); !ok || again != m {
				t.Fatal("mark")
			}
		}
		if x, err := parseExtension(b); err == nil {
			if again, err := parseExtension(x.append(nil)); err != nil || again.asOf != x.asOf {
				t.Fatal("extension")
			}
		}
		if count, states, listed, err := parseSeal(b, 1); err == nil && listed && len(states) <= sealStatesMax {
			n, again, _, err := parseSeal(sealEnvelope(count, states), 1)
			if err != nil || n != count || len(again) != len(states) {
				t.Fatal("seal")
			}
		}
		parseSegmentName(string(b))
	})
}

// FuzzScan scans a segment of hostile bytes with good records among them: it
// ends, takes bounded memory and finds the good ones.
func FuzzScan(f *testing.F) {
	f.Add([]byte("junk"), uint16(100))
	f.Add(bytes.Repeat([]byte{0x42, 0x57, 0x52, 0x31}, 40), uint16(3))
	f.Fuzz(func(t *testing.T, junk []byte, n uint16) {
		record := func(lsn LSN) []byte {
			body := bytes.Repeat([]byte{byte(lsn)}, int(n))
			h := header{typ: TypeMessage, headLen: headSize, stored: uint64(n), raw: uint64(n), lsn: lsn, mix: 5, bodyCRC: checksum(body)}
			b := make([]byte, h.size())
			h.put(b)
			copy(b[headSize:], body)
			return b
		}
		seg := append(record(1), junk...)
		seg = append(seg, make([]byte, pad(int64(len(seg)))-int64(len(seg)))...)
		seg = append(seg, record(2)...)
		sc := newScanner(bytes.NewReader(seg), 5, 0, int64(len(seg)))
		var got []LSN
		for {
			rec, err := sc.next(true)
			var bad *badRecord
			if err == io.EOF {
				break
			}
			if errors.As(err, &bad) {
				sc.skip(bad)
				continue
			}
			got = append(got, rec.h.lsn)
		}
		if len(got) < 2 || got[0] != 1 || got[len(got)-1] != 2 {
			t.Fatalf("found %v", got)
		}
	})
}
