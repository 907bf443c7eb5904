// Package telemetry holds the words of the logs: one constant for every
// attribute key that a log line may carry.
//
// It exists apart from the parts that log so that one thing has one name
// everywhere. An operator who greps for remote_ip finds every line about a
// client, whoever wrote it; a test rejects any key that is not listed here.
//
// It stands at the very bottom: every package may import it, it imports only
// the standard library. Nothing flows through it. Loggers are handed to the
// parts in their Options; there is no global one, and a part that was given
// none logs into the void (Logger).
//
// Invariants: keys are snake_case and unique; a key never changes its
// meaning. Values under these keys are facts, never bodies, never
// credentials. Units are those of the attribute: a "dur" is a time.Duration,
// a "size" is in bytes, a "count" has no unit.
//
// Concurrency: constants and pure functions only.
//
// Limits: none.
package telemetry
