// Command wave plays the spam wave of 2009 against Breakwater and its peers in
// the same run on the same machine, and prints one table.
//
//	go run ./bench/wave                              everything, the wave × 60 (about 20 minutes)
//	go run ./bench/wave -speed 10 -markdown -        the same in some 4 minutes
//	go run ./bench/wave -servers breakwater -factor 10 -json wave.json
//
// It exists apart from bench because it needs other peers (Postfix's postscreen,
// Courier's esmtpd), a DNSBL, and a client that is nobody's mail program.
//
// Method. Debian's rbldnsd lists 127.16.0.0 to 127.254.255.255, where the
// strangers of `breakwater load wave` come from, and is the resolver of
// everything in the run. The servers run one after the other, each started for
// its turn and stopped after it; each takes the wave while good senders, known
// and new, deliver beside it. Memory is the proportional set size of its
// processes, CPU time that of its processes and their dead children; what the
// client costs stands beside it, since both share the cores.
//
// The peers are what Debian ships, with their limits of connections raised, as
// an operator would who knew what was coming. Where a connection costs a
// process, -processes says how many there may be, and is lowered to what half of
// the free memory carries; the table says so.
//
// Where it runs: in namespaces of its own (see bench/proc), as root. A peer that
// is missing is left out, loudly. It ends by itself after -timeout at the
// latest.
package main
