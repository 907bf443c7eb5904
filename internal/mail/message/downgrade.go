package message

import (
	"errors"
	"io"
)

// ErrDowngrade says that a message cannot be made 7-bit without a loss: it has
// 8-bit octets where no transfer encoding can be.
var ErrDowngrade = errors.New("no 7-bit form")

// Downgrade writes the message to w with every part in 7-bit form (RFC 6152
// §3): what is told by its sender as 8bit or binary, or has 8-bit octets, long
// lines, bare CR or LF, or NULs, is encoded in quoted-printable or base64. The
// decoded content of each leaf stays what it was, text with its lines ended by
// CRLF. The error wraps ErrDowngrade if the message cannot be, before anything
// is written; else it is that of r or w. Memory is bounded.
func Downgrade(w io.Writer, r io.ReaderAt, size int64) error { return ErrDowngrade }
