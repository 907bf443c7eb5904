// Package listen owns the sockets: it accepts connections, learns who they
// come from, keeps them within caps, does their TLS, and hands each to a
// handler on a goroutine of its own.
//
// It is apart because every protocol needs the same, because the private keys
// of TLS stay here (a protocol asks for StartTLS and sees only the resulting
// state), and because what goes wrong with sockets (no descriptors left, a
// panic in a handler, a proxy that sends rubbish) must go wrong in one place.
//
// Flow: the kernel comes before it; edge/session and, through the host, the
// access protocols come after. The host makes a Listener for each address and
// gives Serve the handler.
//
// Invariants:
//
//   - A connection counts towards the caps from the moment that its address is
//     known until it is closed; a refused one is told why if the protocol has
//     words for it (Options.Refuse), and closed.
//   - Caps are per listener: total, per address, and per network (IPv4 /24,
//     IPv6 /64). Loopback is not counted per address or network, since
//     everything on this host shares it.
//   - Only a peer within Options.ProxyFrom may say, by the PROXY protocol,
//     whom it speaks for, and such a peer must.
//   - Nothing stops a Listener but the end of its context: errors of accept
//     are survived with a pause that grows to a second.
//   - A panic in a handler closes that connection, is logged with its stack
//     and counted, and touches no other.
//   - Whoever is banned (Options.Banned) is closed before anything is said.
//   - When the context ends, Serve stops accepting, tells the handlers through
//     their context, and closes what is still open after Options.Drain.
//
// Concurrency: a Listener has one accepting goroutine and one for each
// connection. A Conn belongs to its handler; only SetDeadline and its kin,
// Close, ID and RemoteIP may be called by others meanwhile.
//
// Limits: Options has those that an operator may change; a PROXY header must
// come within 10 seconds and 536 octets, a TLS handshake within the time that
// the protocol's context gives it.
//
// RFCs: 8446 (TLS 1.3), 8996 (nothing before TLS 1.2), 8314 §3 (TLS from the
// start). The PROXY protocol is version 1 and 2 of its specification.
package listen
