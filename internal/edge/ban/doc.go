// Package ban keeps the list of banned sources and has the kernel drop their
// packets.
//
// A source that goes on after its 5xx costs a connection, a dialogue and a
// reply each time that it comes back. A banned one costs the kernel a look
// into a set for each packet, and this process nothing. A source is an address,
// or the /64 that an IPv6 customer has at least. The list is apart from
// the policy that fills it since it outlives connections, reaches into the
// kernel, and has one question to answer fast: is this address banned?
//
// Flow: edge/policy comes before it and calls Ban, Authenticated and Banned;
// the kernel comes after it, and so before everything else: a packet of a
// banned source never reaches edge/lobby. The host runs it, and shows its
// entries to the operator.
//
// Invariants:
//
//   - What is in Options.Never, or logged in within a day, is never banned,
//     neither here nor in the kernel's sets, whoever asks; nor is a /64 around it.
//   - An address that the kernel drops is Banned here, and the other way round.
//   - Only TCP to Options.Ports is dropped: nobody loses the way in by ssh.
//   - A ban ends Options.Timeout after the source's last packet; one that the
//     operator made ends when he said.
//   - The list is bounded: at Options.Max the source that was silent longest
//     leaves it, and the kernel's set.
//   - Nothing that the kernel does or fails to do blocks a caller or ends the
//     host. While it cannot be had the same list is asked at accept.
//   - What was changed behind our back is found and mended within a minute.
//
// The parts: machine is the list, without I/O; Run carries its changes to the
// kernel in batches; the shell (kernel_linux.go) speaks netlink, on a thread
// that keeps CAP_NET_ADMIN, and that alone, when the process gives up root.
//
// Concurrency: all methods of List may be called from many goroutines. One
// mutex guards the machine and is held for no I/O; only Run and New speak to
// the kernel.
//
// Limits: Options.Max sources, 4,096 networks, 65,536 addresses that logged
// in; 500 changes in a netlink message.
package ban
