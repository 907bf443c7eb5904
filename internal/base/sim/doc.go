// Package sim is the doors of package sys, simulated: a disk that crashes,
// tears, fills and fails where a test says so, and a clock that is stepped by
// hand; and the runner of the dialogues that protocol tests are written in.
//
// It exists so that the promises about crashes are tested and not believed.
// It is the test world: only _test.go files import it.
//
// The disk keeps two truths. What has been written and read back is the page
// cache; what a power cut leaves is decided by Crash from what Sync and
// SyncDir were called for, and by the seed for the rest: writes since the last
// sync may be there, be lost, be torn by page or sector or be there without
// those before them, and a folder entry that was not synced may be there or
// not. A failed Sync is remembered the way Linux does: the cache calls the
// pages clean, the medium never got them, and the next Sync says nothing.
//
// Dialogues are txtar files. The comment holds the steps, one a line:
//
//	C: text        the client sends the line and CRLF
//	C! "a\x00b"    the client sends exactly these bytes (Go string syntax)
//	S: text        the next line of the server is this
//	S~ pattern     the next line matches the regular expression, whole
//	S! "* BYE"     the next bytes of the server are exactly these
//	S.             the server has closed the connection
//	C.             the client closes it
//	advance 30s    time passes
//	word args      whatever the test registered under that word
//	# text         a remark; blank lines are free
//
// A digit after the letter (C2:, S2:) names another connection, dialled when
// it is first used. Whatever the server has said must be expected before the
// client speaks again: nothing is skipped silently. With Update the S: lines
// are rewritten from what the server said.
//
// Concurrency: a Disk and a Clock may be used from many goroutines; a
// dialogue runs in the goroutine that calls it.
//
// Limits: files live in memory, and what is not synced lives there twice; a
// dialogue line has at most 1 MiB.
package sim
