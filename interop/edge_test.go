//go:build interop

package interop

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestEdge_CleanStrangers shows incident wave's other half: whoever is good is
// accepted at its first connection, by every client, and nobody reconnects.
func TestEdge_CleanStrangers(t *testing.T) {
	t.Parallel()
	w := startWall(t, wallConfig{})
	curl := tool(t, "curl")
	tests := []struct {
		name, from string
		args       []string
		with       string // protocol in the Received field
	}{
		{"plain", "127.1.1.5", nil, "ESMTP"},
		{"pipelined", "127.1.2.5", []string{"--pipeline"}, "ESMTP"},
		{"starttls", "127.1.3.5", w.overTLS(w.SMTP, "--tls"), "ESMTPS"},
		{"starttls pipelined", "127.1.4.5", w.overTLS(w.SMTP, "--tls", "--pipeline"), "ESMTPS"},
		{"helo", "127.1.5.5", []string{"--protocol", "SMTP"}, "SMTP"},
		{"curl", "127.1.6.5", nil, "ESMTP"},
	}
	t.Run("clients", func(t *testing.T) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				t.Parallel()
				if tt.name != "curl" {
					w.with(t).handed(tt.from, "mx.sender.example", "a@sender.example", tt.args...)
					return
				}
				letter := []byte("From: a@sender.example\r\nSubject: " + tt.from + "\r\n\r\nby curl\r\n")
				out, err := try(t, folder(t), letter, curl, "-sS", "--interface", tt.from, "smtp://"+w.SMTP+"/mx.sender.example",
					"--mail-from", "a@sender.example", "--mail-rcpt", w.User(0), "-T", "-")
				if err != nil {
					t.Errorf("%v\n%s", err, out)
				}
			})
		}
	})
	all := bodies(t, &w.Server, 0, "INBOX", len(tests))
	for _, tt := range tests {
		w.arrivedFrom(all, tt.from, tt.with)
		if left := w.guestLeft(tt.from, 1); left[0]["reason"] != "passed" || left[0]["verdict"] != "pass" {
			t.Errorf("%s: got %v, want one guest that passed", tt.from, left)
		}
	}
	if top := w.top(); top.Total.Arrived != len(tests) || top.Total.Accepted != len(tests) || top.Total.Refused+top.Total.Deferred != 0 {
		t.Errorf("got %+v, want each of %d connections to bring its message", top.Total, len(tests))
	}
}

// arrivedFrom checks that the message from an address is there once, behind a
// Received field that tells who brought it.
func (w *wall) arrivedFrom(all [][]byte, from, with string) {
	w.t.Helper()
	received := regexp.MustCompile(`(?s)^(?:Return-Path:[^\r]*\r\n)?Received: from mx\.sender\.example \(\[` + regexp.QuoteMeta(from) + `\]\)\s+by localhost with ` + with + `\s.*?\bid\s+\w{16}\s`)
	n := 0
	for _, b := range all {
		if bytes.Contains(b, []byte("\nSubject: "+from+"\r\n")) {
			n++
			if !received.Match(b) {
				w.t.Errorf("from %s: got\n%s\nwant a Received field with its address, HELO and %s", from, b, with)
			}
		}
	}
	if n != 1 {
		w.t.Errorf("from %s: got %d messages, want 1", from, n)
	}
}

// TestEdge_ManySessions lets a load generator come as a stranger: several
// sessions at a time, one message each, then many messages in each.
func TestEdge_ManySessions(t *testing.T) {
	t.Parallel()
	source := tool(t, "smtp-source")
	w := startWall(t, wallConfig{})
	const sent = 40
	for _, args := range [][]string{{"-s", "10", "-m", fmt.Sprint(sent)}, {"-d", "-s", "5", "-m", fmt.Sprint(sent)}} {
		run(t, folder(t), source, append(args, "-M", "mx.sender.example", "-f", "a@sender.example", "-t", w.User(0), "inet:"+w.SMTP)...)
	}
	bodies(t, &w.Server, 0, "INBOX", 2*sent)
	if top := w.top(); top.Total.Arrived != sent+5 || top.Total.Accepted != 2*sent || top.Total.Refused+top.Total.Deferred != 0 {
		t.Errorf("got %+v, want %d connections for %d messages", top.Total, sent+5, 2*sent)
	}
}

// TestEdge_Listed is incident reject-at-rcpt: the whole dialogue, a 554 that
// says why at every RCPT, silence and patience afterwards, and an answer for
// whoever asks what happened.
func TestEdge_Listed(t *testing.T) {
	t.Parallel()
	w := startWall(t, wallConfig{})
	const from = "127.16.1.9"
	query := []string{"explain", "--ip", from, "--helo", "bot.example", "--from", "spam@bot.example", "--rcpt", w.User(0)}
	says := "Service unavailable; client [" + from + "] is listed by " + blackZone + " (Listed, see https://bl.example/q?ip=" + from + ")"
	// Before it ever came. The list's text is asked for when it is first wanted.
	eventually(t, "the text of the listing", func() bool { return strings.Contains(askJSON[explanation](w, query...).Reply, says) })
	w.explained(askJSON[explanation](w, query...), says, "")

	c := w.call(from)
	c.greeted()
	if got := c.want("EHLO bot.example", "250"); strings.Contains(got, "STARTTLS") || !strings.Contains(got, "PIPELINING") {
		t.Errorf("EHLO: got %q, want all but STARTTLS", got)
	}
	c.want("STARTTLS", "502 ")
	c.want("MAIL FROM:<spam@bot.example>", "250 2.1.0")
	for _, to := range []string{w.User(0), w.User(1), "nobody@bench.test"} {
		c.want("RCPT TO:<"+to+">", "554 5.7.1 ", says)
	}
	c.want("DATA", "5")
	c.want("RSET", "250")
	c.want("MAIL FROM:<>", "250")
	c.want("RCPT TO:<"+w.User(2)+">", "554 5.7.1 ", says)

	id := ""
	for _, g := range w.top().Live { // it is silent, and is held
		if g.Addr == from && g.Helo == "bot.example" && g.Rank == "refused" {
			id = g.ID
		}
	}
	w.explained(askJSON[explanation](w, "explain", id), says, "refused")
	c.want("QUIT", "221")
	c.ended()

	left := w.guestLeft(from, 1)[0]
	for key, want := range map[string]any{
		"conn": id, "helo": "bot.example", "from": "spam@bot.example", "rcpt": w.User(0), "count": 4.0,
		"verdict": "refuse", "check": "dnsbl:" + blackZone, "reason": "quit",
	} {
		if left[key] != want {
			t.Errorf("the log's %s: got %v, want %v", key, left[key], want)
		}
	}
	w.explained(askJSON[explanation](w, "explain", id), says, "refused")
	if text := w.ask("explain", id); !strings.Contains(text, "* dnsbl:"+blackZone) || !strings.Contains(text, "← decided") {
		t.Errorf("explain %s: got\n%s", id, text)
	}
	top := w.top()
	if top.Total.Refused != 1 || top.By["dnsbl:"+blackZone] != 1 || len(top.Networks) == 0 || top.Networks[0].Network != "127.16.1.0/24" || top.Networks[0].Refusals != 1 {
		t.Errorf("got %+v, want one refusal by the list, of 127.16.1.0/24", top)
	}
}

// explained checks that an explanation names the list as what decided.
func (w *wall) explained(e explanation, says, outcome string) {
	w.t.Helper()
	decided := ""
	for _, v := range e.Evidence {
		if v.Decided {
			decided += v.Check
		}
	}
	check := "dnsbl:" + blackZone
	if e.Verdict != "refuse" || e.By != check || decided != check || e.Outcome != outcome || !strings.Contains(e.Reply, says) {
		w.t.Errorf("got %+v, want it refused by %s with %q, outcome %q", e, check, says, outcome)
	}
}

// TestEdge_Faults shows what becomes of guests that no mail server resembles.
func TestEdge_Faults(t *testing.T) {
	t.Parallel()
	w := startWall(t, wallConfig{eager: true})
	for name, test := range map[string]func(*testing.T, *wall){
		"early talker": earlyTalker, "pipelining before its turn": pipeliner, "HTTP": webClient, "bare LF": bareNewline,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, w.with(t))
		})
	}
}

func earlyTalker(t *testing.T, w *wall) {
	from := ""
	var c *caller
	for n := 1; ; n++ { // where this machine stood still between the two the banner may have come first
		from = fmt.Sprintf("127.3.1.%d", n)
		began := time.Now()
		c = w.call(from)
		c.send("EHLO mx.sender.example\r\n") // before the banner
		if time.Since(began) < strangerWait || n == 250 {
			break
		}
	}
	c.greeted()
	c.expect("EHLO", c.reply(), "250")
	c.want("MAIL FROM:<a@sender.example>", "250")
	c.want("RCPT TO:<"+w.User(0)+">", "554 5.7.1 ", "client ["+from+"] behaves as spam programs do", "banner")
	c.want("QUIT", "221")
	w.decided(from, "early-talk", "refuse", "early_talk")
}

// pipeliner sends all at once before it knows whether that is offered. That
// alone makes it a suspect: it is greylisted.
func pipeliner(t *testing.T, w *wall) {
	const from = "127.3.2.1"
	c := w.call(from)
	c.greeted()
	c.send("EHLO mx.sender.example\r\nMAIL FROM:<a@sender.example>\r\nRCPT TO:<" + w.User(0) + ">\r\n")
	c.expect("EHLO", c.reply(), "250")
	c.expect("MAIL", c.reply(), "250")
	c.expect("RCPT", c.reply(), "451 4.7.1 Greylisted", "client ["+from+"] is new here")
	c.want("QUIT", "221")
	w.decided(from, "greylist", "defer", "pipelined")
}

func webClient(t *testing.T, w *wall) {
	const from = "127.3.3.1"
	out, _ := try(t, folder(t), nil, tool(t, "curl"), "-sS", "--http0.9", "--interface", from, "--data", "MAIL FROM:<a@b.example>", "http://"+w.SMTP+"/")
	if !strings.HasPrefix(out, "220 ") || !strings.Contains(out, "\r\n421 4.7.0 This is SMTP, closing connection\r\n") {
		t.Errorf("got %q, want to be told that this is SMTP", out)
	}
	left := w.guestLeft(from, 1)[0]
	if faults := fmt.Sprint(left["faults"]); !strings.Contains(faults, "not_smtp") || left["reason"] != "closed" {
		t.Errorf("got %v, want the fault and the end in the log", left)
	}
}

func bareNewline(t *testing.T, w *wall) {
	const from = "127.3.4.1"
	c := w.call(from)
	c.greeted()
	c.want("EHLO mx.sender.example", "250")
	c.send("NOOP\nMAIL FROM:<a@sender.example>\r\n")
	c.expect("bare LF", c.reply(), "500 5.5.2 Bare LF")
	c.want("MAIL FROM:<a@sender.example>", "250")
	c.want("RCPT TO:<"+w.User(0)+">", "451 4.7.1 Greylisted")
	c.want("QUIT", "221")
	w.decided(from, "greylist", "defer", "bare_newline")
}

// decided checks the one line of a guest, and what its history says.
func (w *wall) decided(from, check, verdict, fault string) {
	w.t.Helper()
	left := w.guestLeft(from, 1)[0]
	if left["check"] != check || left["verdict"] != verdict || !strings.Contains(fmt.Sprint(left["faults"]), fault) {
		w.t.Errorf("got %v, want %s by %s for %s", left, verdict, check, fault)
	}
	if e := askJSON[explanation](w, "explain", fmt.Sprint(left["conn"])); e.Verdict != verdict || e.By != check {
		w.t.Errorf("explain: got %+v, want %s by %s", e, verdict, check)
	}
}

// TestEdge_Submission is incident port25-submission: AUTH after STARTTLS on
// port 25 submits, from wherever its user is. Who is on a list is not offered
// STARTTLS there and submits on the ports for it.
func TestEdge_Submission(t *testing.T) {
	t.Parallel()
	w := startWall(t, wallConfig{eager: true})
	tests := []struct {
		name, from string
		args       []string
	}{
		{"stranger", "127.5.1.1", w.overTLS(w.SMTP, "--tls")},
		{"suspect", "127.40.1.1", w.overTLS(w.SMTP, "--tls")},
		{"listed, submission", "127.16.5.1", w.overTLS(w.Submission, "--tls")},
		{"listed, submissions", "127.16.6.1", w.overTLS(w.Submissions, "--tlsc")},
	}
	login := []string{"--auth", "PLAIN", "--auth-user", w.User(1), "--auth-password", w.Password}
	submit := func(from string, args ...string) (string, error) {
		return w.hand(from, "[192.168.1.7]", w.User(1), append(args, login...)...)
	}
	for _, tt := range tests {
		if out, err := submit(tt.from, tt.args...); err != nil {
			t.Errorf("%s: %v\n%s", tt.name, err, out)
		}
	}
	if out, err := submit("127.16.7.1", w.overTLS(w.SMTP, "--tls")...); err == nil || !strings.Contains(out, "STARTTLS") || strings.Contains(out, "AUTH PLAIN") {
		t.Errorf("listed, port 25: got %v\n%s\nwant no STARTTLS and no password", err, out)
	}
	for _, b := range bodies(t, &w.Server, 0, "INBOX", len(tests)) {
		if !bytes.Contains(b, []byte(" with ESMTPSA\r\n")) {
			t.Errorf("got\n%s\nwant ESMTPSA in its Received field", b)
		}
	}
	// What may be sent, and as whom, is decided as on the submission port.
	refused := regexp.MustCompile(`<~\*+ +(.*)`)
	for _, args := range [][]string{{"--from", w.User(2)}, {"--to", "nobody@bench.test"}} {
		mx, _ := submit("127.5.1.1", append(w.overTLS(w.SMTP, "--tls"), args...)...)
		msa, _ := submit("127.5.1.1", append(w.overTLS(w.Submission, "--tls"), args...)...)
		if got, want := refused.FindString(mx), refused.FindString(msa); got != want || got == "" {
			t.Errorf("%v: got %q on port 25, and %q on the submission port", args, got, want)
		}
	}
	if out, err := submit("127.5.1.1", append(w.overTLS(w.SMTP, "--tls"), "--to", "one@elsewhere.example")...); err != nil {
		t.Errorf("to another host: %v\n%s", err, out)
	}
}

// overTLS are swaks's arguments for TLS with a port of the host.
func (w *wall) overTLS(addr string, args ...string) []string {
	return append(args, "--server", w.TLSName(addr), "--tls-verify", "--tls-ca-path", w.CA)
}

// TestEdge_HandOver shows that no client can tell where its dialogue goes on:
// the same dialogues of a trusted client, which never sees the lobby, and of a
// stranger differ in nothing but addresses, ids and times.
func TestEdge_HandOver(t *testing.T) {
	t.Parallel()
	w := startWall(t, wallConfig{eager: true})
	conf, err := w.TLS()
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range dialogues(w) {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			at, stranger := w.with(t), fmt.Sprintf("127.8.%d.1", i)
			inside, outside := d.play(at, ally, conf), d.play(at, stranger, conf)
			if inside != outside {
				t.Errorf("the dialogue without the lobby:\n%s\nwith it:\n%s", inside, outside)
			}
			if at.guestLeft(stranger, 1); len(at.events("guest left", ally)) != 0 {
				t.Error("the trusted client was in the lobby")
			}
		})
	}
}

// TestEdge_HandOverOfClients is the same with swaks: its transcripts are equal.
func TestEdge_HandOverOfClients(t *testing.T) {
	t.Parallel()
	w := startWall(t, wallConfig{eager: true})
	for i, way := range [][]string{{"--pipeline"}, {"--protocol", "SMTP"}, w.overTLS(w.SMTP, "--tls"), {"--to", w.User(1) + ",nobody@bench.test"}} {
		t.Run(way[0], func(t *testing.T) {
			t.Parallel()
			at, stranger := w.with(t), fmt.Sprintf("127.9.%d.1", i)
			args := append([]string{"--hide-informational", "--data", `Subject: x\n\nbody\n`}, way...)
			inside, err := at.hand(ally, "mx.sender.example", "a@sender.example", args...)
			outside, oerr := at.hand(stranger, "mx.sender.example", "a@sender.example", args...)
			inside, outside = unnamed(inside, ally), unnamed(outside, stranger)
			if inside != outside || err != nil || oerr != nil {
				t.Errorf("without the lobby (%v):\n%s\nwith it (%v):\n%s", err, inside, oerr, outside)
			}
			at.guestLeft(stranger, 1)
		})
	}
}

// unnamed takes what may differ out of a transcript: the client's address, and
// the id of its message.
func unnamed(text, from string) string {
	return regexp.MustCompile(`( OK )[0-9a-v]{16}\b`).ReplaceAllString(strings.ReplaceAll(text, from, "ADDRESS"), "${1}ID")
}

// dialogue is what a client says; a line alone waits for its reply, "+" at its
// beginning lets the next one follow at once, "TLS" shakes hands.
type dialogue struct {
	name  string
	lines []string
}

func dialogues(w *wall) []dialogue {
	ehlo, mail := "EHLO mx.sender.example", "MAIL FROM:<a@sender.example>"
	rcpt, body := "RCPT TO:<"+w.User(0)+">", "Subject: x\r\n\r\n..dot\r\n."
	return []dialogue{
		{"plain", []string{ehlo, mail, rcpt, "DATA", body, "QUIT"}},
		{"HELO", []string{"HELO mx.sender.example", mail, rcpt, "DATA", body, "QUIT"}},
		{"pipelined", []string{ehlo, "+" + mail, "+" + rcpt, "DATA", body, "QUIT"}},
		{"all in one", []string{ehlo, "+" + mail, "+" + rcpt, "+BDAT 3008 LAST\r\nA: b\r\n\r\n" + strings.Repeat("x", 2998) + "\r\n", "QUIT"}},
		{"chunks", []string{ehlo, mail, rcpt, "BDAT 6\r\nA: b\r\n", "BDAT 2 LAST\r\n\r\n", "QUIT"}},
		{"two messages", []string{ehlo, mail, rcpt, "DATA", body, mail + " SIZE=100", rcpt, "DATA", body, "QUIT"}},
		{"unknown recipients", []string{ehlo, mail, "RCPT TO:<nobody@bench.test>", rcpt, "RCPT TO:<x@elsewhere.example>", "RSET", "QUIT"}},
		{"only unknown ones", []string{ehlo, "+" + mail, "+RCPT TO:<nobody@bench.test>", "DATA", "QUIT"}},
		{"out of order", []string{rcpt, "DATA", ehlo, rcpt, mail, mail, "DATA", rcpt, ehlo, rcpt, "QUIT"}},
		{"nonsense", []string{ehlo, "HELP", "NOOP x", "VRFY x", "EXPN x", "FOO", "MAIL FOO", "MAIL FROM:<a@b", mail + " FOO=1", mail, "RCPT FOO", rcpt, "FOO", "QUIT"}},
		{"null reverse-path", []string{ehlo, "MAIL FROM:<> BODY=8BITMIME", rcpt, "RSET", mail, rcpt, "DATA", body, "QUIT"}},
		{"TLS", []string{ehlo, "STARTTLS", "TLS", mail, ehlo, mail, rcpt, "DATA", body, "QUIT"}},
		{"TLS in a transaction", []string{ehlo, mail, "STARTTLS x", "STARTTLS", "QUIT"}},
	}
}

// play says a dialogue from an address and gives all replies, without what may
// differ.
func (d *dialogue) play(w *wall, from string, conf *tls.Config) string {
	w.t.Helper()
	c := w.call(from)
	var all strings.Builder
	all.WriteString(c.reply())
	pending, late := "", 0
	for _, line := range d.lines {
		if line == "TLS" {
			c.secure(conf)
			continue
		}
		rest, more := strings.CutPrefix(line, "+")
		if !strings.HasSuffix(rest, "\n") {
			rest += "\r\n"
		}
		if pending += rest; more {
			late++
			continue
		}
		c.send(pending)
		pending = ""
		for ; late >= 0; late-- {
			all.WriteString(c.reply())
		}
		late = 0
	}
	c.ended()
	return unnamed(all.String(), from)
}
