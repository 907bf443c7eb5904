// Package admin carries operators' requests to the store: from the command
// line to a running host over a socket in its data directory, or straight to
// the store when no host is running.
//
// It stands apart because the same request must mean the same in both cases.
// A request is a value; Executor is the one place that acts on it; Server and
// Client only move requests and answers. The command line asks Client first
// and opens the store itself when nobody listens. Requests about the edge (bans,
// explain, top, reports) go to Edge, which only a running host has; its types
// are plain values, so that neither this package nor a client imports the edge.
// Those about the queue and alarms are for a running host as well; the books and
// lives of messages (ops/ledger) can be read from the store alone.
//
// It stands above the stores (store/account, store/mailbox), spool/queue,
// ops/ledger and ops/alarm, and below host, which makes an Edge of the parts of
// its own, and cmd/breakwater.
//
// Security: the socket is DIR/admin.sock with mode 0600, so whoever may read
// the mail store may administer it, and nobody else. Passwords travel in the
// body of a request, are never logged and never returned, but for one that
// the host made up on request.
//
// Concurrency: Executor and Client may be used concurrently. The server
// answers each connection in a goroutine of its own, with a deadline.
//
// Limits: a request is at most 1 MiB, an answer takes at most 60 s; those of the
// edge's requests stand in edge.go, those of the queue's in queue.go.
package admin
