// Package dnsbl asks lists of addresses that are kept in the DNS about those
// who connect: lists of bad senders (DNSBL) and of good ones (DNSWL).
//
// It is apart because a list is a stranger, too. It falls silent, answers too
// late, refuses those who ask by way of a public resolver, is given up and its
// domain sold to somebody who answers every name, or lists the whole world by
// mistake; and each of that once cost somebody good mail. What a list says is
// therefore judged here, before it becomes a score.
//
// Flow: edge/policy checks an address as soon as it has connected, and the
// questions are on their way while the stranger waits for the banner; below is
// base/dns. The score is evidence among other; Reason gives the words for a
// refusal, Findings those for an operator.
//
// Invariants:
//
//   - An answer that is an error, late, outside 127.0.0.0/8, an error code
//     (127.255.255.0/24) or not among the codes of a list is no hit.
//   - A hit counts only if the same zone was asked within the last seconds
//     about 127.0.0.1, in the family of the address, and did not list it: a
//     list that lists everybody does no harm for longer than that.
//   - A list that does not answer, refuses or is poisoned is ignored, costs no
//     wait, is reported once, and is used again when its tests say so. What it
//     said before is then forgotten.
//   - Each Check that is not answered at once calls its function exactly once,
//     within Options.Timeout; what comes later is only remembered.
//   - That we could not ask (the resolver is busy or closed) says nothing
//     about a list.
//
// Concurrency: a Checker may be used from many goroutines. One mutex guards the
// checks and the zones; the cache has some of its own, taken after it. Nobody
// is asked, called or logged to while they are held. One goroutine watches the
// ends of the checks while there are any; Run tests lists in the background.
//
// Limits: lists and their weights, checks that wait, answers and texts that
// are remembered, both in number and in time.
//
// RFCs: 5782 (lists in the DNS; §5 their test entries), 6471 (how to operate
// them, and how they die).
package dnsbl
