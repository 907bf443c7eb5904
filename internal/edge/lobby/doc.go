// Package lobby receives whoever connects to port 25 and keeps strangers in
// the cheapest way there is until it is known what they are: some hundred
// octets each, no goroutine, no buffer.
//
// It is apart from edge/session because thousands may stand here at a time,
// most of them hostile. A session costs kilobytes and may ask the mailroom; a
// guest of the lobby costs a slot of a table and asks nothing but the policy.
//
// Flow: the kernel and its ban set come before it. Gate.Arrive says whether a
// connection is handed to a session at once, refused, or waits for its banner
// while lists are asked about it. The dialogue goes on here, on mail/smtp's
// machine, until the first RCPT or STARTTLS, where Gate.Decide says whether it
// is handed over in mid-dialogue, refused here again and again, or put off.
//
// Invariants:
//
//   - I4: the price of all guests never exceeds Options.Budget, nor their
//     number Options.Strangers. At either bound, or without descriptors, the
//     oldest of the worst leaves with 421; one of no fault never does for a
//     newcomer.
//   - I5: a guest that is held or refused is never handed over, and nothing but
//     the Gate hears of it.
//   - Gate.Left is called once for each guest that Arrive let wait and that was
//     not handed over.
//   - A hand-over is not seen by the client: every reply up to it has been
//     sent here, the question that is pending is asked again there, and octets
//     that were read and not consumed go along.
//   - What waits for its banner is not read: early octets stay in the kernel.
//   - Whoever does not take its replies is not read from.
//
// Concurrency: a loop is one goroutine with an epoll set, a listening socket
// for each address (SO_REUSEPORT) and a hall, the machine without I/O that
// decides everything. A hall's mutex is held while events are worked off, and
// by Stats and Guests. Where there is no epoll each guest has a goroutine, and
// all share one hall. Gate and admit are called under that mutex and must not
// call the lobby.
//
// Limits: those of Options; the rest, each with its reason, in options.go. The
// price of a guest is its slot (guestPrice), the cell with its packed state,
// and what it has not taken yet of its replies.
//
// RFCs: 5321 (the dialogue is mail/smtp's), 3207 §4 (454 when TLS is not to be
// had), 2920 §3.1 (who must wait for a reply).
package lobby
