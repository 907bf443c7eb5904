// Package proc keeps what the benchmarks and the interop suite start inside a
// fence, and measures it there.
//
// The fence is a set of Linux namespaces: Isolate runs the program again in a
// network, mount and process-id namespace of its own. Its loopback has every
// port free, what it mounts nobody else sees, and when it ends, however it ends,
// the kernel ends every process in it: nothing is left over, and no process of
// anybody else can be hit by mistake. Where namespaces cannot be had (not root
// and no user namespaces) the program goes on without, and says so.
//
// The measures are those of the kernel: CPU time of a process tree including
// what its dead children used, its proportional set size, and the flushes and
// sectors of the block device under a folder. The device's counters are
// everybody's: Noise tells how busy others keep it.
//
// In the flow: bench/rig, bench/peers and interop call it; it calls
// only the kernel.
//
// Invariants: only pids started here are ever signalled. Child.Stop waits for
// the end of the process.
//
// Concurrency: Child's methods may be called from several goroutines. The rest
// are plain reads.
//
// Limits: Linux. CPU time has the resolution of the clock tick (10 ms).
package proc
