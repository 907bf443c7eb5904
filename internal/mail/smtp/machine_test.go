package smtp

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

// states are the points of a dialogue at which fuzzing and cutting begin: what
// the client has sent so far.
func states() map[string]string {
	const greeted = "EHLO client.example\r\n"
	const mail = greeted + "MAIL FROM:<a@b.example> SIZE=10 BODY=8BITMIME SMTPUTF8 RET=FULL ENVID=x\r\n"
	const rcpt = mail + "RCPT TO:<one@demo.test> NOTIFY=NEVER ORCPT=rfc822;x\r\n"
	return map[string]string{
		"fresh": "", "greeted": greeted, "mail": mail, "rcpt": rcpt,
		"data": rcpt + "DATA\r\n", "dataFault": rcpt + "DATA\r\nx\ny", "dot": rcpt + "DATA\r\nx\r\n.",
		"chunk": rcpt + "BDAT 20\r\nabc", "betweenChunks": rcpt + "BDAT 3\r\nabc", "lastChunk": rcpt + "BDAT 20 LAST\r\nabc",
		"skip": greeted + "NOOP \n", "auth": greeted + "AUTH TWO\r\n",
	}
}

func stateMachine() *Machine {
	return NewMachine(Options{Hostname: "mx.demo.test", SizeMax: 1000, TLS: true, Mechanisms: []string{"TWO", "PLAIN"}, TextLineMax: 200})
}

// play runs input, cut at the given places, after the prefix of a state.
func play(t testing.TB, m *Machine, prefix string, input []byte, cuts []int, handOver bool) *shell {
	s := newShell(t, m)
	s.handOver = handOver
	s.step(Event{Kind: EventOpenTLS})
	s.step(Event{Kind: EventInput, Data: []byte(prefix)})
	from := 0
	for _, cut := range append(cuts, len(input)) {
		if s.closed {
			break
		}
		// Memory of its own, which is overwritten afterwards: the machine
		// keeps no part of the input.
		part := bytes.Clone(input[from:cut])
		s.step(Event{Kind: EventInput, Data: part})
		for i := range part {
			part[i] = 'Z'
		}
		from = cut
	}
	return s
}

var faultText = regexp.MustCompile(`5\d\d 5\.[36]\.\d Message [^\r]*`)

// outcome is what must not depend on how the input was cut. Of a message with
// several faults it does depend which one is named.
func (s *shell) outcome() string {
	out := faultText.ReplaceAllString(string(s.out), "fault")
	return fmt.Sprintf("%s\nbodies %q aborted %d cancels %d closed %v stage %d", out, s.bodies, s.aborted, s.cancels, s.closed, s.d.stage)
}

// script is a session with every verb and much that is wrong.
const script = "NOOP\r\nEHLO client.example\r\nNOOP x\ny\r\nVRFY a\r\n" +
	"MAIL FROM:<a@b.example>\r\nRCPT TO:<one@demo.test>\r\nRCPT TO:<unknown@demo.test>\r\nDATA\r\n" +
	"Subject: x\r\n\r\n..dot\r\n.\r\n" +
	"MAIL FROM:<a@b.example>\r\nRCPT TO:<one@demo.test>\r\nDATA\r\nsmuggled\n.\r\nMAIL FROM:<e@b.example>\r\n.\r\n" +
	"MAIL FROM:<a@b.example>\r\nRCPT TO:<one@demo.test>\r\nBDAT 5\r\na\r\n.bBDAT 0 LAST\r\n" +
	"MAIL FROM:<failing@b.example>\r\nRCPT TO:<one@demo.test>\r\nDATA\r\n1234567890\r\n.x\r\n.\r\n" +
	"MAIL FROM:<a@b.example>\r\nRCPT TO:<one@demo.test>\r\nBDAT 3\r\na\nbBDAT 3 LAST\r\nabc" +
	"MAIL FROM:<nobegin@b.example>\r\nRCPT TO:<full@demo.test>\r\nDATA\r\nRSET\r\n" +
	"AUTH TWO\r\nYWdhaW4=\r\n*\r\nAUTH PLAIN AG9uZQBzZWNyZXQ=\r\nHELP\r\nEXPN x\r\nRSET\r\nHELO y\r\nQUIT\r\n"

// TestHandOver_atEveryOctet cuts a session at each place, and there makes the
// state into octets and back: the outcome is the same.
func TestHandOver_atEveryOctet(t *testing.T) {
	m := stateMachine()
	whole := play(t, m, "", []byte(script), nil, false)
	want := whole.outcome()
	if len(whole.bodies) != 2 || !whole.closed {
		t.Fatalf("the session is not what it should be:\n%s", want)
	}
	for cut := range len(script) {
		if got := play(t, m, "", []byte(script), []int{cut}, true).outcome(); got != want {
			t.Fatalf("cut at %d:\n%s\nwant\n%s", cut, got, want)
		}
	}
	every := make([]int, len(script))
	for i := range every {
		every[i] = i
	}
	if got := play(t, m, "", []byte(script), every, true).outcome(); got != want {
		t.Errorf("octet by octet:\n%s\nwant\n%s", got, want)
	}
}

// checkShell checks what holds after any input.
func checkShell(t *testing.T, s *shell, input []byte) {
	t.Helper()
	for rest := s.out; len(rest) > 0; {
		r, n, err := ParseReply(rest)
		if err != nil {
			t.Fatalf("reply %.80q: %v", rest, err)
		}
		if !r.Enhanced.Valid(r.Code) {
			t.Errorf("enhanced code of %v", &r)
		}
		rest = rest[n:]
	}
	for _, b := range s.bodies {
		if int64(len(b)) > s.m.o.SizeMax {
			t.Errorf("body of %d octets", len(b))
		}
		if strings.ContainsRune(b, 0) || strings.Count(b, "\n") != strings.Count(b, "\r\n") || strings.Count(b, "\r") != strings.Count(b, "\r\n") {
			t.Errorf("body %q was taken", b)
		}
	}
	if s.body != nil != (s.d.flags&flagBody != 0) && !s.closed {
		t.Errorf("body open %v, the machine thinks %v", s.body != nil, s.d.flags&flagBody != 0)
	}
	if len(s.d.line) > AuthLineMax {
		t.Errorf("%d octets of a line are kept", len(s.d.line))
	}
	if lines := bytes.Count(input, []byte("\n")); len(s.out) > 600*(lines+10) {
		t.Errorf("%d octets of replies to %d lines", len(s.out), lines)
	}
}

func seeds(f *testing.F) {
	names, err := filepath.Glob("testdata/seeds/*.raw")
	if err != nil || len(names) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, uint16(3), uint16(9))
	}
	f.Add([]byte(script), uint16(40), uint16(300))
	f.Add([]byte("x\r\n.\r\nQUIT\r\n"), uint16(4), uint16(5))
	f.Add([]byte(".\r\r\n.\n\x00.\r\n"), uint16(1), uint16(2))
	f.Add([]byte("BDAT 0 LAST\r\nBDAT 9999\r\n"), uint16(1), uint16(2))
	f.Add([]byte("STARTTLS\r\nEHLO x\r\nAUTH PLAIN =\r\n*\r\n"), uint16(1), uint16(2))
}

// fuzzState fuzzes what comes after a state, whole and cut in three.
func fuzzState(f *testing.F, name string) {
	seeds(f)
	m := stateMachine()
	prefix := states()[name]
	f.Fuzz(func(t *testing.T, input []byte, a, b uint16) {
		whole := play(t, m, prefix, input, nil, false)
		checkShell(t, whole, append([]byte(prefix), input...))
		i, j := int(a)%(len(input)+1), int(b)%(len(input)+1)
		cut := play(t, m, prefix, input, []int{min(i, j), max(i, j)}, true)
		if !sameHoweverCut(input) {
			return
		}
		if whole.outcome() != cut.outcome() {
			t.Errorf("whole:\n%s\ncut at %d and %d:\n%s", whole.outcome(), i, j, cut.outcome())
		}
	})
}

// sameHoweverCut says whether input must come to the same however it is cut. What
// is behind STARTTLS in the same piece is thrown away; and a store that fails by
// itself, in a body that is also at fault, fails before or after the fault has
// been seen.
func sameHoweverCut(input []byte) bool {
	if bytes.Contains(bytes.ToUpper(input), []byte("STARTTLS")) {
		return false
	}
	bare := bytes.ContainsAny(bytes.ReplaceAll(input, []byte("\r\n"), nil), "\r\n\x00")
	return !bytes.Contains(input, []byte("failing@")) || !bare && len(input) < 1000
}

func FuzzStep_fresh(f *testing.F)         { fuzzState(f, "fresh") }
func FuzzStep_greeted(f *testing.F)       { fuzzState(f, "greeted") }
func FuzzStep_mail(f *testing.F)          { fuzzState(f, "mail") }
func FuzzStep_rcpt(f *testing.F)          { fuzzState(f, "rcpt") }
func FuzzStep_data(f *testing.F)          { fuzzState(f, "data") }
func FuzzStep_dataFault(f *testing.F)     { fuzzState(f, "dataFault") }
func FuzzStep_dot(f *testing.F)           { fuzzState(f, "dot") }
func FuzzStep_chunk(f *testing.F)         { fuzzState(f, "chunk") }
func FuzzStep_betweenChunks(f *testing.F) { fuzzState(f, "betweenChunks") }
func FuzzStep_lastChunk(f *testing.F)     { fuzzState(f, "lastChunk") }
func FuzzStep_skip(f *testing.F)          { fuzzState(f, "skip") }
func FuzzStep_auth(f *testing.F)          { fuzzState(f, "auth") }

// model is RFC 5321 §4.5.2 an octet at a time: the body of DATA, whether it
// is sound, and what is left after its end.
func model(in []byte) (body, rest []byte, sound, ended bool) {
	sound = true
	lineStart := true
	for i := 0; i < len(in); {
		switch {
		case lineStart && bytes.HasPrefix(in[i:], []byte(".\r\n")):
			return body, in[i+3:], sound, true
		case lineStart && in[i] == '.':
			i++
			lineStart = false
			continue
		case bytes.HasPrefix(in[i:], []byte("\r\n")):
			body = append(body, '\r', '\n')
			i += 2
			lineStart = true
			continue
		case in[i] == '\r', in[i] == '\n', in[i] == 0:
			sound = false
		}
		body = append(body, in[i])
		lineStart = false
		i++
	}
	return body, nil, sound, false
}

// TestScanBody_model compares the scanner with the model on random octets
// that are mostly line ends and dots, cut at random.
func TestScanBody_model(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const letters = "\r\n.\r\n.ax\r\n.\x00"
	taken := 0
	for range 60_000 {
		in := make([]byte, r.IntN(24))
		for i := range in {
			in[i] = letters[r.IntN(len(letters)-r.IntN(2))]
			if in[i] == '\r' && r.IntN(3) > 0 && i+1 < len(in) {
				continue
			}
		}
		if r.IntN(2) == 0 {
			in = bytes.ReplaceAll(in, []byte("\r"), []byte("\r\n"))
		}
		in = append(in, "\r\n.\r\n"...)
		body, _, sound, ended := model(in)
		if !ended {
			continue
		}
		var cuts []int
		for at := 0; at < len(in); at += 1 + r.IntN(8) {
			cuts = append(cuts, at)
		}
		s := play(t, NewMachine(Options{}), states()["data"], in, cuts, false)
		switch {
		case len(s.bodies) == 0:
			if sound {
				t.Fatalf("%q: sound, and refused", in)
			}
		case !sound || s.bodies[0] != string(body):
			t.Fatalf("%q: took %q, want %q (sound %v)", in, s.bodies[0], body, sound)
		default:
			taken++
		}
	}
	if taken < 5_000 {
		t.Errorf("only %d sound bodies", taken)
	}
}

func TestDialogue_isSmall(t *testing.T) {
	if size := reflect.TypeFor[Dialogue]().Size(); size > 128 {
		t.Errorf("a dialogue has %d octets", size)
	}
}

func TestStep_allocatesNothingForCommands(t *testing.T) {
	m := stateMachine()
	var d Dialogue
	out := make([]byte, 0, 4096)
	now := time.Unix(1, 0)
	_, out = m.Step(&d, Event{Kind: EventOpen}, now, out)
	in := []byte("NOOP\r\nEHLO client.example\r\nRSET\r\nVRFY x\r\nHELP\r\nFOO\r\nRCPT TO:<x@y>\r\nMAIL FROM:<a@b.example> X=1\r\nBDAT 3 LAST\r\nabcDATA\r\n")
	if got := testing.AllocsPerRun(20, func() {
		d.idle, d.wrong = 0, 0
		_, out = m.Step(&d, Event{Kind: EventInput, Data: in}, now, out[:0])
	}); got > 4 { // the envelope and address of a MAIL that fails, the refusal of BDAT, the path of RCPT
		t.Errorf("%v allocations", got)
	}
}

func TestStep_bareInput(t *testing.T) {
	m := stateMachine()
	var d Dialogue
	if a, _ := m.Step(&d, Event{Kind: EventInput, Data: []byte("x")}, time.Unix(1, 0), nil); a.Kind != ActionClose {
		t.Errorf("input before the banner: %v", a.Kind)
	}
	if a, out := m.Step(&d, Event{Kind: EventOpen}, time.Unix(1, 0), nil); a.Kind != ActionClose || len(out) > 0 {
		t.Errorf("a closed dialogue goes on: %v %q", a.Kind, out)
	}
}

func TestStep_early(t *testing.T) {
	m := stateMachine()
	for input, want := range map[string]bool{
		"EHLO x\r\n": false, "EHLO x\r\nMAIL FROM:<>\r\n": true, "NOOP\r\nEHLO x\r\n": false,
	} {
		if s := play(t, m, "", []byte(input), nil, false); s.d.Early() != want {
			t.Errorf("%q: early %v", input, s.d.Early())
		}
	}
}

func TestShutdown(t *testing.T) {
	m := stateMachine()
	for name, prefix := range states() {
		s := play(t, m, prefix, nil, nil, true)
		inBody := s.d.InBody()
		s.out = nil
		s.step(Event{Kind: EventShutdown})
		if s.closed == inBody {
			t.Errorf("%s: closed %v, body under way %v", name, s.closed, inBody)
		}
		if inBody {
			s.step(Event{Kind: EventTimeout})
		}
		if want := "421 4.3.2 Service shutting down, try again later\r\n"; string(s.out) != want {
			t.Errorf("%s: %q", name, s.out)
		}
	}
	s := play(t, m, states()["data"], nil, nil, false)
	s.step(Event{Kind: EventShutdown})
	s.out = nil
	s.step(Event{Kind: EventInput, Data: []byte("x\r\n.\r\n")})
	if got := string(s.out); got != "250 2.0.0 OK message 1, 3 octets\r\n421 4.3.2 Service shutting down, try again later\r\n" || !s.closed {
		t.Errorf("%q", got)
	}
}

func BenchmarkScanBody(b *testing.B) {
	line := strings.Repeat("x", 76) + "\r\n"
	for name, text := range map[string]string{
		"lines76": strings.Repeat(line, 800), "dots": strings.Repeat(".."+line, 800), "short": strings.Repeat("ab\r\n", 15_000),
	} {
		b.Run(name, func(b *testing.B) {
			m := NewMachine(Options{SizeMax: 1 << 62})
			var d Dialogue
			out := make([]byte, 0, 4096)
			now := time.Unix(1, 0)
			ev := Event{Kind: EventOpen}
			in := []byte(states()["data"])
			for {
				var a Action
				a, out = m.Step(&d, ev, now, out[:0])
				in = in[a.N:]
				ev = Event{Kind: EventProceed}
				if a.Kind == ActionRead {
					if len(in) == 0 && d.stage == stageData {
						break
					}
					ev = Event{Kind: EventInput, Data: in}
				}
			}
			p := []byte(text)
			b.SetBytes(int64(len(p)))
			for b.Loop() {
				for rest := p; len(rest) > 0; {
					a, _ := m.Step(&d, Event{Kind: EventInput, Data: rest}, now, out[:0])
					rest = rest[a.N:]
				}
			}
		})
	}
}

func BenchmarkMessage(b *testing.B) {
	m := stateMachine()
	in := []byte("MAIL FROM:<a@b.example>\r\nRCPT TO:<one@demo.test>\r\nDATA\r\n" + strings.Repeat("x", 70) + "\r\n.\r\n")
	var d Dialogue
	out := make([]byte, 0, 4096)
	now := time.Unix(1, 0)
	_, out = m.Step(&d, Event{Kind: EventOpen}, now, out)
	_, out = m.Step(&d, Event{Kind: EventInput, Data: []byte("EHLO x\r\n")}, now, out)
	b.ReportAllocs()
	for b.Loop() {
		rest := in
		ev := Event{Kind: EventInput, Data: rest}
		for {
			var a Action
			a, out = m.Step(&d, ev, now, out[:0])
			rest = rest[a.N:]
			ev = Event{Kind: EventInput, Data: rest}
			switch a.Kind {
			case ActionRecipient, ActionBegin, ActionEnd:
				ev = Event{Kind: EventProceed}
			}
			if a.Kind == ActionRead && len(rest) == 0 {
				break
			}
		}
	}
}

// TestRecipients_surplus: who pipelines a list that is too long for one
// transaction has it taken in parts (RFC 5321 §4.5.3.1.10), as long as that has
// an end.
func TestRecipients_surplus(t *testing.T) {
	list := func(n int) []byte {
		return bytes.Repeat([]byte("RCPT TO:<one@demo.test>\r\n"), n)
	}
	const greeting = "EHLO client.example\r\nMAIL FROM:<a@b.example>\r\n"
	m := NewMachine(Options{Hostname: "mx.demo.test", RecipientsMax: 100})
	s := play(t, m, greeting, append(list(100+50*refusedMax), "DATA\r\nx\r\n.\r\nMAIL FROM:<a@b.example>\r\n"...), nil, false)
	if s.closed || len(s.bodies) != 1 || bytes.Count(s.out, []byte("\r\n452 4.5.3 ")) != 50*refusedMax || !bytes.HasSuffix(s.out, []byte("250 2.1.0 Sender OK\r\n")) {
		t.Errorf("closed %v, %d bodies, %d refused, at last %q", s.closed, len(s.bodies), bytes.Count(s.out, []byte("\r\n452 4.5.3 ")), s.out[max(0, len(s.out)-100):])
	}
	s = play(t, m, greeting, list(100+surplusMax), nil, true)
	if s.closed {
		t.Error("closed after as many as there may be")
	}
	s = play(t, m, greeting, list(100+surplusMax+1), nil, false)
	if !s.closed || !bytes.HasSuffix(s.out, []byte("421 4.5.3 Too many recipients, closing connection\r\n")) {
		t.Errorf("not closed: %q", s.out[max(0, len(s.out)-100):])
	}
}
