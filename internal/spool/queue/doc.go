// Package queue decides when each open recipient is tried next, has it tried,
// and sees to it that every one of them ends.
package queue
