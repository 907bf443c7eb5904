// Package interop holds the tests that need the world: real mail clients, real
// sockets, real kills and real disks, against a whole host.
//
//	interop/install                       the clients, from Debian
//	go test -tags interop ./interop       all of it (some minutes)
//	go test -tags interop ./interop -run Kill -kills 50 -messages 20000
//	go test -tags interop ./interop -run Out_Chaos -kills 40 -v
//	go test -tags interop ./interop -run Out_Neighbours -neighbours 10000 -v
//	go test -tags interop ./interop -run Edge_Soak -soak 10m -timeout 20m -v
//
// It exists apart because no unit test can vouch for what another program's
// author understood of an RFC, nor for what is left after SIGKILL or on a full
// disk. All its files but this one have the build tag interop, so that a plain
// `go test ./...` needs nothing but Go.
//
// What it shows: mail handed in by swaks, smtp-source, curl, msmtp and Python is
// read by mbsync, offlineimap, mutt, curl, Python, fetchmail and getmail, byte
// for byte as it was sent, behind our trace fields; two clients see each other's
// changes; after SIGKILL at random moments every message that got its 250 is
// there once and whole, and verify is silent; an index that was deleted comes
// back the same; a full disk, a disk that turned read-only and a flipped bit hurt
// nothing but what they must. Strangers on port 25 meet the whole edge, from
// addresses of 127.0.0.0/8 and with lists of rbldnsd: the good are accepted at
// their first connection, the listed refused at RCPT with the reason, suspects
// wait once, who comes back after refusals is banned, AUTH submits, lists that
// fail or lie harm nobody, all of it told by explain, top and ban, and a wave is
// held and refused beside good mail. In edge mode, in front of Debian's Postfix and Exim,
// by XCLIENT, the PROXY protocol or neither: each message arrives once, the inner
// server's refusals come back in its words, and when its processes are killed what
// got its 250 is there once and nothing else twice.
//
// Mail that leaves (TestOut_*) goes to Postfix, Exim and OpenSMTPD and comes
// from them, byte for byte; finds its hosts in zones of nsd through unbound,
// which validates, with DANE and MTA-STS that are right, wrong or not there; is
// submitted by every client, and its signatures verified by dkimpy; is lost by
// no kill, and doubled only where an answer was cut off, one message for each
// connection; waits for no host but its own; leaves no host that wants to do
// harm a way to hang, leak or get in; stops when a password was stolen; and ends
// where hosts forward to each other. The books balance after each of it.
//
// The suite runs itself in namespaces of its own (bench/proc): any port is free
// there, and nothing is left over. A client that is not installed, or a mount
// that is not allowed, is a skip with its name in capitals, never a silent pass.
// With -against maildir or mdbox the delivery and reading tests run against
// Debian's Postfix and Dovecot instead: that is how the suite itself is tested.
//
// In the flow it stands outside: it runs the program as users do and imports
// only bench, but for relay_test.go, which builds an edge from its packages, and for
// dnsbl_test.go and ban_test.go, which ask base/dns, edge/dnsbl and edge/ban.
//
// Limits: every client run is ended after toolWait; nothing sleeps for a fixed
// time, everything waits for what is to happen. No test may assume how fast the
// machine is: where one thing has to come before another, a gate holds the other
// back; ports are reserved until their server has ended.
package interop
