// Package fate keeps what became of every accepted recipient: one row for each
// message that was given a 250, and its standing until it has ended, and for
// as long as the books are kept.
package fate
