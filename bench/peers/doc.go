// Package peers starts the mail hosts that the benchmarks compare: Breakwater,
// and Debian's Postfix handing over by LMTP to Debian's Dovecot with maildir or
// mdbox.
//
// It exists apart because each of them needs a folder full of configuration and
// a way to be started, found ready and stopped, and because the interop suite
// starts Breakwater the same way.
//
// A peer is what its distribution ships, in a private folder on loopback ports,
// with only those settings changed without which it could not do the work at
// all: more processes than 100, messages above 10 MB, no limit of connections
// for one address. Durability is what the peer does by default: Postfix syncs
// its queue file, Dovecot's LMTP syncs what it delivers (mail_fsync =
// optimized), its IMAP does not sync flag changes. The table says so.
//
// In the flow: bench (package main) and interop call Start…; everything here
// goes down to bench/proc.
//
// Invariants: a Server's processes are children of this program, ended by their
// pids, before Stop returns. Nothing is written outside the given folder.
//
// Concurrency: a Server is used by one goroutine, except that Pids may be called
// at any time.
//
// Limits: readyWait for a start, textWait for a text index, stopWait for an end.
package peers
