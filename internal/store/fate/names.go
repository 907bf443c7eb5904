package fate

import (
	"encoding/binary"
	"slices"
	"sort"

	"zombiezen.com/go/sqlite"

	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// Names are ids, Message-IDs and addresses. An index of them would cost four
// inserts at random places for every message; so a row of fate_names says for a
// block of LSNs which names occur in it, by 32 bits of each, and finding one
// reads 16 octets a message and then the messages of the blocks that match.
// A row without keys is a block with too many: it matches everything.

// addNames adds keys to a block.
func addNames(conn *sqlite.Conn, block journal.LSN, keys []uint32) error {
	old, there, err := readNames(conn, block)
	if err != nil || there && len(old) == 0 {
		return err
	}
	keys = append(old, keys...)
	slices.Sort(keys)
	return writeNames(conn, block, slices.Compact(keys))
}

func readNames(conn *sqlite.Conn, block journal.LSN) (keys []uint32, there bool, err error) {
	err = each(conn, "SELECT keys FROM fate_names WHERE block = ?", func(st *sqlite.Stmt) error {
		there = true
		b := columnBytes(st, 0)
		keys = make([]uint32, len(b)/4, len(b)/4+16)
		for i := range keys {
			keys[i] = binary.BigEndian.Uint32(b[4*i:])
		}
		return nil
	}, int64(block))
	return keys, there, err
}

func writeNames(conn *sqlite.Conn, block journal.LSN, keys []uint32) error {
	if len(keys) > blockKeys {
		keys = nil
	}
	b := make([]byte, 0, 4*len(keys))
	for _, k := range keys {
		b = binary.BigEndian.AppendUint32(b, k)
	}
	return exec(conn, "INSERT OR REPLACE INTO fate_names (block, keys) VALUES (?, ?)", int64(block), b)
}

// rewriteNames makes a block anew from the messages that are left in it.
func rewriteNames(conn *sqlite.Conn, block journal.LSN) error {
	var keys []uint32
	there := false
	first := int64(block << blockBits)
	err := each(conn, "SELECT facts FROM fate_messages WHERE lsn BETWEEN ? AND ?", func(st *sqlite.Stmt) error {
		m, err := scanAccepted(columnBytes(st, 0), keys)
		keys, there = m.keys, true
		return err
	}, first, first|(1<<blockBits-1))
	if err != nil {
		return err
	}
	if !there {
		return exec(conn, "DELETE FROM fate_names WHERE block = ?", int64(block))
	}
	slices.Sort(keys)
	return writeNames(conn, block, slices.Compact(keys))
}

// hasKey tells whether a block's packed keys have one.
func hasKey(b []byte, key uint32) bool {
	n := len(b) / 4
	i := sort.Search(n, func(i int) bool { return binary.BigEndian.Uint32(b[4*i:]) >= key })
	return n == 0 || i < n && binary.BigEndian.Uint32(b[4*i:]) == key
}

// eachNamed calls fn with every message that may have a name, newest first,
// until it says that it is enough.
func eachNamed(conn *sqlite.Conn, key uint32, fn func(journal.LSN) (more bool, err error)) error {
	var buf []byte
	// A page of rows at a time: fn makes queries of its own.
	for before := int64(1<<63 - 1); ; {
		var blocks []int64
		rows := 0
		err := each(conn, "SELECT block, keys FROM fate_names WHERE block < ? ORDER BY block DESC LIMIT 1000", func(st *sqlite.Stmt) error {
			rows, before = rows+1, st.ColumnInt64(0)
			n := st.ColumnLen(1)
			buf = slices.Grow(buf[:0], n)[:n]
			st.ColumnBytes(1, buf)
			if hasKey(buf, key) {
				blocks = append(blocks, before)
			}
			return nil
		}, before)
		if err != nil || rows == 0 {
			return err
		}
		for _, block := range blocks {
			if more, err := eachOfBlock(conn, block, key, fn); err != nil || !more {
				return err
			}
		}
	}
}

// eachOfBlock calls fn with the messages of a block that have a name.
func eachOfBlock(conn *sqlite.Conn, block int64, key uint32, fn func(journal.LSN) (bool, error)) (more bool, err error) {
	var found []journal.LSN
	var keys []uint32
	first := block << blockBits
	err = each(conn, "SELECT lsn, facts FROM fate_messages WHERE lsn BETWEEN ? AND ? ORDER BY lsn DESC", func(st *sqlite.Stmt) error {
		m, err := scanAccepted(columnBytes(st, 1), keys[:0])
		keys = m.keys
		if err == nil && slices.Contains(keys, key) {
			found = append(found, journal.LSN(st.ColumnInt64(0)))
		}
		return err
	}, first, first|(1<<blockBits-1))
	if err != nil {
		return false, err
	}
	for _, lsn := range found {
		if more, err := fn(lsn); err != nil || !more {
			return false, err
		}
	}
	return true, nil
}
