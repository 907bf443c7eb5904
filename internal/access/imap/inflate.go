package imap

import (
	"errors"
	"io"
)

const (
	inflateWindow = 32 << 10 // distances reach so far back (RFC 1951 §2)
	codeBitsMax   = 15       // of a Huffman code (RFC 1951 §3.2.7)
	lengthMax     = 258      // of a copy (RFC 1951 §3.2.5)
	literalCodes  = 288      // literals, end of block and lengths, with two that are never used
	distanceCodes = 32       // with two that are never used
)

var errDeflate = errors.New("malformed DEFLATE data")

// inflater decompresses what a client sends (RFC 1951). It is ours because a
// client may end its flushes with an empty block of fixed codes (zlib's
// Z_PARTIAL_FLUSH: mbsync does), and the inflaters of compress/flate and
// klauspost/compress/flate hold back what they have decoded until a stored block,
// a full window or the end comes: both sides would wait for each other for ever.
// This one hands out all that it has at the end of each block.
//
// It costs 36 KB a connection, its window and the two codes.
type inflater struct {
	src    inflateInput
	bits   uint32 // not yet used, the next one lowest
	have   uint   // how many
	window [inflateWindow]byte
	put    int // bytes decoded in all; put&(inflateWindow-1) is the next place
	got    int // bytes handed out in all
	block  blockKind
	stored int // bytes left of a stored block
	last   bool
	err    error // sticky
	lit    huffman
	dist   huffman
}

// blockKind is what the decoder is in the middle of.
type blockKind int

const (
	betweenBlocks blockKind = iota
	storedBlock
	codedBlock
)

// inflateInput is where the compressed bytes come from.
type inflateInput interface {
	io.ByteReader
	Buffered() int // bytes that can be had without waiting
}

// newInflater reads compressed bytes from src, none before it needs it.
func newInflater(src inflateInput) *inflater { return &inflater{src: src} }

// Read implements io.Reader. It waits for input only while it has nothing to
// hand out, or for the rest of a block.
func (f *inflater) Read(p []byte) (int, error) {
	for f.err == nil && (f.put == f.got || f.markerIsHere()) {
		f.err = f.step()
	}
	n := 0
	for f.got < f.put && n < len(p) {
		at := f.got & (inflateWindow - 1)
		m := copy(p[n:], f.window[at:min(at+f.put-f.got, inflateWindow)])
		n, f.got = n+m, f.got+m
	}
	if n == 0 && f.put == f.got {
		return 0, f.err
	}
	return n, nil
}

// step decodes up to the end of a block, or until the window holds so much that
// it has to be handed out first.
func (f *inflater) step() error {
	switch f.block {
	case storedBlock:
		return f.copyStored()
	case codedBlock:
		return f.decode()
	}
	if f.last {
		return io.EOF
	}
	head, err := f.take(3) // RFC 1951 §3.2.3
	if err != nil {
		return err
	}
	f.last = head&1 != 0
	switch head >> 1 {
	case 0:
		return f.beginStored()
	case 1:
		f.fixedCodes()
	case 2:
		if err := f.readCodes(); err != nil {
			return err
		}
	default:
		return errDeflate
	}
	f.block = codedBlock
	return nil
}

// markerIsHere tells whether the head of a stored block comes next and can be
// read without waiting. The usual flush (Z_SYNC_FLUSH) ends with an empty one: it
// is taken together with the data before it, so that nothing is left unread when
// the last command is LOGOUT, or closing the connection would reset it and the
// client might never see our BYE.
func (f *inflater) markerIsHere() bool {
	if f.block == storedBlock && f.stored == 0 {
		return true
	}
	if f.block != betweenBlocks || f.last {
		return false
	}
	need := 5 // bytes: the three bits of the head may take one of their own
	if f.have >= 3 {
		if f.bits>>1&3 != 0 {
			return false
		}
		need = 4
	}
	return f.src.Buffered() >= need && (f.have >= 3 || f.peekStored())
}

// peekStored brings in one byte, which is there, to see what block comes next.
func (f *inflater) peekStored() bool {
	b, err := f.src.ReadByte()
	if err != nil {
		f.err = err
		return false
	}
	f.bits |= uint32(b) << f.have
	f.have += 8
	return f.bits>>1&3 == 0
}

// full says that one more copy might overwrite what was not handed out.
func (f *inflater) full() bool { return f.put-f.got > inflateWindow-lengthMax }

// take gives the next n bits, n ≤ 16.
func (f *inflater) take(n uint) (int, error) {
	for f.have < n {
		b, err := f.src.ReadByte()
		if err != nil {
			return 0, err
		}
		f.bits |= uint32(b) << f.have
		f.have += 8
	}
	v := f.bits & (1<<n - 1)
	f.bits >>= n
	f.have -= n
	return int(v), nil
}

func (f *inflater) emit(b byte) {
	f.window[f.put&(inflateWindow-1)] = b
	f.put++
}

// beginStored reads the head of a block that is not compressed (RFC 1951 §3.2.4).
func (f *inflater) beginStored() error {
	f.bits, f.have = f.bits>>(f.have&7), f.have&^7
	n, err := f.take(16)
	if err != nil {
		return err
	}
	inverse, err := f.take(16)
	if err != nil {
		return err
	}
	if n != inverse^0xffff {
		return errDeflate
	}
	f.block, f.stored = storedBlock, n
	return nil
}

func (f *inflater) copyStored() error {
	for ; f.stored > 0; f.stored-- {
		if f.full() {
			return nil
		}
		b, err := f.take(8)
		if err != nil {
			return err
		}
		f.emit(byte(b))
	}
	f.block = betweenBlocks
	return nil
}

// decode reads the symbols of a compressed block (RFC 1951 §3.2.5).
func (f *inflater) decode() error {
	for !f.full() {
		sym, err := f.symbol(&f.lit)
		if err != nil {
			return err
		}
		switch {
		case sym < 256:
			f.emit(byte(sym))
		case sym == 256:
			f.block = betweenBlocks
			return nil
		default:
			if err := f.copyBack(sym - 257); err != nil {
				return err
			}
		}
	}
	return nil
}

// copyBack carries out a length and the distance behind it.
func (f *inflater) copyBack(length int) error {
	if length > 28 {
		return errDeflate
	}
	n := lengthMax // symbol 28 has no extra bits
	if length < 28 {
		var err error
		if n, err = f.extended(length, 4, 3); err != nil {
			return err
		}
	}
	sym, err := f.symbol(&f.dist)
	if err != nil {
		return err
	}
	if sym > 29 {
		return errDeflate
	}
	back, err := f.extended(sym, 2, 1)
	if err != nil {
		return err
	}
	if back > f.put {
		return errDeflate
	}
	for range n {
		f.emit(f.window[(f.put-back)&(inflateWindow-1)])
	}
	return nil
}

// extended gives the value of a length or distance symbol: the first two groups
// of symbols stand for consecutive values, and each later group has one extra bit
// more than the one before it (the tables of RFC 1951 §3.2.5, computed). group is
// how many symbols a group has, least the smallest value.
func (f *inflater) extended(sym, group, least int) (int, error) {
	if sym < 2*group {
		return least + sym, nil
	}
	extra := sym/group - 1
	v, err := f.take(uint(extra))
	return least + (group+sym%group)<<extra + v, err
}

// huffman is a canonical code: how many codes there are of each length, and the
// symbols in the order of their codes.
type huffman struct {
	count  [codeBitsMax + 1]uint16
	symbol [literalCodes]uint16
}

// build makes the code from the length of each symbol's (RFC 1951 §3.2.2). It
// refuses more codes than there is room for; fewer are met, if at all, as a code
// that nobody has.
func (h *huffman) build(lengths []byte) error {
	h.count = [codeBitsMax + 1]uint16{}
	for _, n := range lengths {
		h.count[n]++
	}
	h.count[0] = 0
	room := 1
	var next [codeBitsMax + 2]uint16
	for n := 1; n <= codeBitsMax; n++ {
		room = room<<1 - int(h.count[n])
		if room < 0 {
			return errDeflate
		}
		next[n+1] = next[n] + h.count[n]
	}
	for sym, n := range lengths {
		if n > 0 {
			h.symbol[next[n]] = uint16(sym)
			next[n]++
		}
	}
	return nil
}

// symbol reads one symbol, bit by bit: the codes of one length are consecutive.
func (f *inflater) symbol(h *huffman) (int, error) {
	code, first, index := 0, 0, 0
	for n := 1; n <= codeBitsMax; n++ {
		bit, err := f.take(1)
		if err != nil {
			return 0, err
		}
		code |= bit
		count := int(h.count[n])
		if code-first < count {
			return int(h.symbol[index+code-first]), nil
		}
		index += count
		first = (first + count) << 1
		code <<= 1
	}
	return 0, errDeflate
}

// fixedCodes are those of RFC 1951 §3.2.6.
func (f *inflater) fixedCodes() {
	var lengths [literalCodes]byte
	for sym := range lengths {
		switch {
		case sym < 144:
			lengths[sym] = 8
		case sym < 256:
			lengths[sym] = 9
		case sym < 280:
			lengths[sym] = 7
		default:
			lengths[sym] = 8
		}
	}
	var distances [distanceCodes]byte
	for sym := range distances {
		distances[sym] = 5
	}
	if f.lit.build(lengths[:]) != nil || f.dist.build(distances[:]) != nil {
		panic("the fixed codes of RFC 1951 do not fit")
	}
}

// readCodes reads the codes of a block (RFC 1951 §3.2.7).
func (f *inflater) readCodes() error {
	head, err := f.take(14)
	if err != nil {
		return err
	}
	literals, distances, lengthCodes := head&31+257, head>>5&31+1, head>>10+4
	if literals > 286 || distances > 30 {
		return errDeflate
	}
	order := [19]byte{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}
	var lengths [literalCodes + distanceCodes]byte
	for _, sym := range order[:lengthCodes] {
		n, err := f.take(3)
		if err != nil {
			return err
		}
		lengths[sym] = byte(n)
	}
	if err := f.lit.build(lengths[:19]); err != nil {
		return err
	}
	lengths = [literalCodes + distanceCodes]byte{}
	if err := f.readLengths(lengths[:literals+distances]); err != nil {
		return err
	}
	if lengths[256] == 0 {
		return errDeflate // no end of block: it would never end
	}
	if err := f.lit.build(lengths[:literals]); err != nil {
		return err
	}
	return f.dist.build(lengths[literals : literals+distances])
}

// readLengths reads code lengths that are themselves coded, with f.lit.
func (f *inflater) readLengths(lengths []byte) error {
	for i := 0; i < len(lengths); {
		sym, err := f.symbol(&f.lit)
		if err != nil {
			return err
		}
		if sym < 16 {
			lengths[i] = byte(sym)
			i++
			continue
		}
		again, value := 0, byte(0)
		switch sym {
		case 16: // the one before, 3 to 6 times
			if i == 0 {
				return errDeflate
			}
			value = lengths[i-1]
			again, err = f.take(2)
			again += 3
		case 17: // zero, 3 to 10 times
			again, err = f.take(3)
			again += 3
		default: // zero, 11 to 138 times
			again, err = f.take(7)
			again += 11
		}
		if err != nil {
			return err
		}
		if i+again > len(lengths) {
			return errDeflate
		}
		for range again {
			lengths[i] = value
			i++
		}
	}
	return nil
}
