// Package policy judges strangers: ordered checks, cheap ones first, each of
// which leaves its evidence. It never closes a connection itself.
package policy
