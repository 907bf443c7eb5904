// Package rig is what stands around the rows of every program of bench: flags,
// a folder, the program under test, the fence, and an end.
//
// It exists apart so that bench, bench/wave and bench/outbound differ only in
// what they measure.
//
// In the flow: main parses its flags, to which Flags has added the common ones,
// and hands its rows to Main. Main makes the folder and compiles Breakwater where
// the module cache and the network are what the caller has; then it runs the
// program again inside the fence (bench/proc), where the rows are measured.
//
// Invariants: the folder is removed when Main ends, unless -keep says otherwise.
// A run ends by itself after -timeout, and every process in the fence with it.
// What was built is what stands in the tree at the start.
//
// Concurrency: none; one Main to a program.
//
// Limits: those of bench/proc, and -timeout. Where there is no fence the rows are measured
// without, and that is said, unless the program cannot do without one: bench/wave
// has servers with fixed ports.
package rig
