// Package host is the composition root: it reads the configuration, builds
// every part, starts them in order and stops them in reverse.
//
// It stands apart so that no part needs to know how another is made. Parts
// take an Options struct and what they depend on; only host sees Config, and
// only cmd/breakwater sees host.
//
// The order of a start (Serve): certificates; listeners, so that a port that
// is taken ends the start before anything is touched; privileges dropped;
// journal opened and recovered; index caught up; accounts and mailboxes; the
// text index, without which only searches are slower; admin socket; listeners
// served; readiness told to systemd. While the store recovers, connections
// wait in the kernel's queue: nobody is refused.
//
// The order of a stop: listeners first, sessions finish the message or
// command in hand, then text index, index and journal are closed. A failed
// write or fsync of the journal (I1, I7) turns health red at once, senders get
// 451, readers keep reading for a grace period, then Serve returns the error
// and the process ends: what the disk really has is for the next start's
// recovery to find out.
//
// Files: config.go and values.go are the configuration, reference.go prints
// it; store.go and text.go open what is kept; serve.go and listeners.go run
// the parts; health.go says how they are; init.go, demo.go and check.go are the
// commands of the same names.
//
// Concurrency: Serve runs until its context ends. OpenStore takes the
// directory's lock: one process has the store at a time.
package host
