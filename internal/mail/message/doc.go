// Package message is the vocabulary of mail (Domain, Address, Message, Part,
// Envelope) and the tolerant parser that turns any bytes into a tree of MIME
// parts with byte offsets.
package message
