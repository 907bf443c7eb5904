// Command bench measures Breakwater and its peers, Debian's Postfix with Dovecot
// (maildir and mdbox), in the same run on the same machine, and prints a table
// of ratios.
//
//	go run ./bench                          everything (about half an hour)
//	go run ./bench -list                    the rows
//	go run ./bench -rows 'accept 4 KB'      the rows whose names match
//	go run ./bench -servers breakwater,maildir -duration 5s -sizes 10000
//	go run ./bench -quick                   every row, small: a test of the bench
//
// It exists as one program, not as Go benchmarks, because a row starts whole
// hosts, counts flushes of a disk and needs the same row of the peers beside it.
//
// Method. All hosts run from the start; each row is measured on one after the
// other, so that what else the machine does hits them alike. "Delivered" is
// readable by IMAP: a row ends when the last message that got its 250 is counted
// by STATUS. Each delivery row has users of its own. Load and server share the
// cores; what the load itself costs is in the JSON. Flushes and written bytes
// are those of the block device under -dir, so they are true only while nobody
// else writes to it; before each row its idle rate is taken, and a busy device
// is named in the notes.
//
// Where it runs: in namespaces of its own (see bench/proc), as root, or the
// peers are left out, loudly. It ends by itself after -timeout at the latest.
//
// Limits: everything is bounded by -duration, -sizes, -idle and drainWait.
package main
