package mailauth

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

var dkimNow = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// naiveBody is the canonical form of a whole body, step by step as RFC 6376
// §3.4.3 and §3.4.4 have it.
func naiveBody(s string, relaxed bool) string {
	ls := strings.Split(s, "\r\n")
	if relaxed {
		for i, l := range ls {
			l = regexp.MustCompile(`[ \t]+`).ReplaceAllString(l, " ")
			ls[i] = l
			if i < len(ls)-1 || !strings.HasSuffix(l, "\r") {
				ls[i] = strings.TrimRight(l, " ")
			}
		}
	}
	for len(ls) > 0 && ls[len(ls)-1] == "" {
		ls = ls[:len(ls)-1]
	}
	if len(ls) == 0 {
		if relaxed {
			return ""
		}
		return "\r\n"
	}
	return strings.Join(ls, "\r\n") + "\r\n"
}

func TestBodyHash_Pieces(t *testing.T) {
	token := rapid.SampledFrom([]string{"\r", "\n", "\r\n", " ", "\t", "a", "b c", "\r\n\r\n", "  \r\n", "\x00", "ü", strings.Repeat("x", canonOctets+1)})
	rapid.Check(t, func(t *rapid.T) {
		body := strings.Join(rapid.SliceOfN(token, 0, 30).Draw(t, "body"), "")
		relaxed := rapid.Bool().Draw(t, "relaxed")
		canonical := naiveBody(body, relaxed)
		length := rapid.IntRange(-1, len(canonical)).Draw(t, "length")
		h := newBodyHash(relaxed)
		want := canonical
		if length >= 0 {
			h.left, want = int64(length), canonical[:length]
		}
		for rest := body; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "piece")
			h.Write([]byte(rest[:n]))
			rest = rest[n:]
		}
		sum := sha256.Sum256([]byte(want))
		if !bytes.Equal(h.Sum(), sum[:]) || h.n != int64(len(canonical)) || !bytes.Equal(h.Sum(), sum[:]) {
			t.Fatalf("%q, relaxed %v: not the hash of %q, or %d octets", body, relaxed, want, h.n)
		}
	})
}

// TestCanonical_RFC6376 is the example of §3.4.5.
func TestCanonical_RFC6376(t *testing.T) {
	header := "A: X\r\nB : Y\t\r\n\tZ  \r\n"
	p := newFieldPicker([]byte(header))
	if got := string(p.appendSigned(nil, []string{"a", "b"}, true)); got != "a:X\r\nb:Y Z\r\n" {
		t.Errorf("relaxed: got %q", got)
	}
	if got := string(p.appendSigned(nil, []string{"a", "b"}, false)); got != header {
		t.Errorf("simple: got %q", got)
	}
	body := " C \r\nD \t E\r\n\r\n\r\n"
	if got := naiveBody(body, true); got != " C\r\nD E\r\n" {
		t.Errorf("relaxed body: got %q", got)
	}
	if got := naiveBody(body, false); got != " C \r\nD \t E\r\n" {
		t.Errorf("simple body: got %q", got)
	}
}

func TestFieldPicker(t *testing.T) {
	p := newFieldPicker([]byte("X: 1\r\nY: a\r\nx: 2\r\nX:3\r\n\r\nX: body\r\n"))
	got := string(p.appendSigned(nil, []string{"x", "gone", "X", "Y", "x", "x", "y"}, true))
	if want := "x:3\r\nx:2\r\ny:a\r\nx:1\r\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// signer is a key with its record in a zone.
type testKey struct {
	DKIMKey
	record string
}

func edKey(t testing.TB, domain, selector string) testKey {
	seed := sha256.Sum256([]byte(domain + selector))
	return keyOf(t, domain, selector, ed25519.NewKeyFromSeed(seed[:]))
}

func keyOf(t testing.TB, domain, selector string, k crypto.Signer) testKey {
	t.Helper()
	record, err := DKIMRecord(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	return testKey{DKIMKey{Domain: message.Domain(domain), Selector: selector, Key: k}, record}
}

func (k testKey) zone() zone {
	return zone{k.Selector + "._domainkey." + string(k.Domain): {txt(k.record)}}
}

// sealed makes a field with any tags, and signs it: what SignDKIM never makes.
func (k testKey) sealed(t testing.TB, header, body, tags string) string {
	t.Helper()
	s, err := parseSignature(strings.Replace(tags, "=BH", "=AA==", 1) + "; b=AA==")
	if err != nil {
		s.names, s.length = []string{"from"}, -1
	}
	h := newBodyHash(s.relaxedBody)
	if s.length >= 0 {
		h.left = s.length
	}
	h.Write([]byte(body))
	raw := "DKIM-Signature: " + strings.Replace(tags, "BH", base64.StdEncoding.EncodeToString(h.Sum()), 1) + "; b="
	text := newFieldPicker([]byte(header)).appendSigned(nil, s.names, s.relaxedHeader)
	digest := sha256.Sum256(appendField(text, []byte(raw), s.relaxedHeader))
	_, opts, err := signAlgorithm(k.Key)
	if err != nil {
		opts = crypto.SHA256
	}
	sig, err := k.Key.Sign(rand.Reader, digest[:], opts)
	if err != nil {
		t.Fatal(err)
	}
	return raw + base64.StdEncoding.EncodeToString(sig) + "\r\n"
}

const (
	plainHeader = "From: one@example.org\r\nTo: two@demo.test\r\nSubject: a\r\n\t b\r\n"
	plainBody   = "Hello \r\n\r\nthere\r\n\r\n"
	plainTags   = "v=1; a=ed25519-sha256; c=relaxed/simple; d=example.org; s=s1; h=From:To:Subject:Subject; bh=BH"
)

// verdictCase is a signature and what must become of it.
type verdictCase struct {
	name, tags, record string
	outcome            DKIMOutcome
	problem            string // part of it
}

func TestVerifyDKIM_Tags(t *testing.T) {
	k := edKey(t, "example.org", "s1")
	with := func(more string) string { return plainTags + "; " + more }
	swap := func(from, to string) string { return strings.Replace(plainTags, from, to, 1) }
	for _, c := range []verdictCase{
		{"plain", plainTags, "", DKIMPass, ""},
		{"simple header", swap("relaxed/simple", "simple/relaxed"), "", DKIMPass, ""},
		{"simple is the body's default", swap("relaxed/simple", "relaxed"), "", DKIMPass, ""},
		{"simple is the default", swap("c=relaxed/simple; ", ""), "", DKIMPass, ""},
		{"unknown tag", with("zz=1; z=From:x|To:y"), "", DKIMPass, ""},
		{"upper case", swap("d=example.org", "d=Example.ORG"), "", DKIMPass, ""},
		{"identity", with("i=a=20b@mail.example.org"), "", DKIMPass, ""},
		{"identity without a user", with("i=@example.org"), "", DKIMPass, ""},
		{"query", with("q=x : dns/txt"), "", DKIMPass, ""},
		{"not expired", with("t=1; x=" + fmt.Sprint(dkimNow.Unix()+1)), "", DKIMPass, ""},
		{"expired", with("x=" + fmt.Sprint(dkimNow.Unix())), "", DKIMPermError, "expired at 2026-11-22T12:00:00Z"},
		{"expires before it begins", with("t=10; x=10"), "", DKIMNeutral, "x= is not after t="},
		{"whole length", with("l=" + fmt.Sprint(len(naiveBody(plainBody, false)))), "", DKIMPass, ""},
		{"part", with("l=5"), "", DKIMPolicy, "the last 12 octets"},
		{"nothing of the body", with("l=0"), "", DKIMPolicy, "the last 17 octets"},
		{"too long", with("l=18"), "", DKIMFail, "only 17 octets"},
		{"no number", with("l=+1"), "", DKIMNeutral, "l=+1 is no number"},
		{"other identity", with("i=@example.com"), "", DKIMNeutral, "not within d=example.org"},
		{"identity that ends alike", with("i=@badexample.org"), "", DKIMNeutral, "not within d=example.org"},
		{"identity without @", with("i=example.org"), "", DKIMNeutral, "i= has no @"},
		{"version", swap("v=1", "v=2"), "", DKIMNeutral, "v=2 is unknown"},
		{"algorithm", swap("ed25519-sha256", "ed448-shake"), "", DKIMNeutral, "a=ed448-shake is unknown"},
		{"SHA-1", swap("ed25519-sha256", "rsa-sha1"), "", DKIMPermError, "SHA-1"},
		{"form", swap("relaxed/simple", "loose"), "", DKIMNeutral, "c=loose is unknown"},
		{"only another way", with("q=http/get"), "", DKIMNeutral, "q=http/get"},
		{"From is not signed", swap("From:To", "To"), "", DKIMNeutral, "From is not signed"},
		{"missing", swap("s=s1; ", ""), "", DKIMNeutral, "s= is missing"},
		{"twice", with("d=example.org"), "", DKIMNeutral, "d= is there twice"},
		{"empty", with("; x=1"), "", DKIMNeutral, "no tag with a value"},
		{"other body", swap("BH", base64.StdEncoding.EncodeToString(make([]byte, 32))), "", DKIMFail, "the body was changed"},
		{"short hash", swap("BH", "AAAA"), "", DKIMFail, "the body was changed"},
		{"no base64", swap("BH", "*"), "", DKIMNeutral, "bh= is not in base64"},
	} {
		checkVerdict(t, k, c)
	}
}

func checkVerdict(t *testing.T, k testKey, c verdictCase) {
	t.Helper()
	if c.record != "" {
		k.record = c.record
	}
	got := verify(t, k.zone(), k.sealed(t, plainHeader, plainBody, c.tags)+plainHeader+"\r\n"+plainBody, dkimNow)
	if len(got) != 1 || got[0].Outcome != c.outcome || !strings.Contains(got[0].Problem, c.problem) || (got[0].Problem == "") != (c.outcome == DKIMPass) || len(got[0].Trace) == 0 {
		t.Errorf("%s: got %+v; want %s, %q", c.name, got, c.outcome, c.problem)
	}
}

func TestVerifyDKIM_Records(t *testing.T) {
	k := edKey(t, "example.org", "s1")
	p := k.record[strings.LastIndex(k.record, "p="):]
	below := plainTags + "; i=@mail.example.org"
	weak, err := DKIMRecord(rsaKey(t, 1024).Public())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []verdictCase{
		{"no version", plainTags, "k=ed25519; " + p, DKIMPass, ""},
		{"everything", plainTags, "v=DKIM1; h=sha1 : sha256; k=ed25519; n=a=20note; s=tlsrpt:email; t=x; x=y; " + p + ";", DKIMPass, ""},
		{"any service", plainTags, "k=ed25519; s=*; " + p, DKIMPass, ""},
		{"folded", plainTags, "k=ed25519; " + p[:10] + " " + p[10:20] + "\t" + p[20:], DKIMPass, ""},
		{"strict", plainTags, "k=ed25519; t=s; " + p, DKIMPass, ""},
		{"strict, from below", below, "k=ed25519; t=y:s; " + p, DKIMPermError, "t=s"},
		{"from below", below, "k=ed25519; t=y; " + p, DKIMPass, ""},
		{"version", plainTags, "v=DKIM2; k=ed25519; " + p, DKIMPermError, "v= is not DKIM1"},
		{"version not first", plainTags, "k=ed25519; v=DKIM1; " + p, DKIMPermError, "v= is not DKIM1"},
		{"hash", plainTags, "k=ed25519; h=sha1; " + p, DKIMPermError, "h= does not allow"},
		{"service", plainTags, "k=ed25519; s=tlsrpt; " + p, DKIMPermError, "s= does not allow"},
		{"revoked", plainTags, "k=ed25519; p=", DKIMPermError, "revoked"},
		{"no key", plainTags, "k=ed25519", DKIMPermError, "p= is missing"},
		{"kind", plainTags, "k=ed448; " + p, DKIMPermError, "k=ed448 is unknown"},
		{"short", plainTags, "k=ed25519; p=AAAA", DKIMPermError, "3 octets"},
		{"rubbish", plainTags, "k=ed25519; p=*", DKIMPermError, "not in base64"},
		{"RSA rubbish", plainTags, p, DKIMPermError, "cannot be read"},
		{"other kind", plainTags, weak, DKIMPermError, "the key is for rsa, and the signature is ed25519-sha256"},
		{"other key", plainTags, edKey(t, "example.org", "other").record, DKIMFail, "not by this key"},
		{"no record", plainTags, "hello", DKIMPermError, "no tag"},
		{"too long", plainTags, "n=" + strings.Repeat("x", dkimRecordOctetsMax), DKIMPermError, "octets"},
	} {
		checkVerdict(t, k, c)
	}
}

// rsaKey makes a key of any length; short ones only if the runtime is told to.
func rsaKey(t testing.TB, bits int) *rsa.PrivateKey {
	t.Helper()
	if h, ok := t.(interface{ Setenv(key, value string) }); ok && bits < 1024 {
		h.Setenv("GODEBUG", "rsa1024min=0")
	}
	k, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestVerifyDKIM_RSA(t *testing.T) {
	tags := strings.Replace(plainTags, "ed25519", "rsa", 1)
	for _, c := range []struct {
		bits int
		want DKIMOutcome
	}{{512, DKIMPolicy}, {1024, DKIMPass}, {2048, DKIMPass}} {
		k := keyOf(t, "example.org", "s1", rsaKey(t, c.bits))
		checkVerdict(t, k, verdictCase{name: fmt.Sprint(c.bits), tags: tags, outcome: c.want})
		h := NewBodyHash()
		if _, err := SignDKIM([]DKIMKey{k.DKIMKey}, []byte(plainHeader), h, dkimNow, rand.Reader); (err == nil) != (c.bits >= 1024) {
			t.Errorf("signing with %d bits: got %v", c.bits, err)
		}
	}
}

// TestVerifyDKIM_Changes: whatever is done to what is signed is found.
func TestVerifyDKIM_Changes(t *testing.T) {
	k := edKey(t, "example.org", "s1")
	h := NewBodyHash()
	h.Write([]byte(plainBody))
	field, err := SignDKIM([]DKIMKey{k.DKIMKey}, []byte(plainHeader), h, dkimNow, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, header, body string
		want               DKIMOutcome
	}{
		{"nothing", plainHeader, plainBody, DKIMPass},
		{"trace fields before it", "Received: x\r\n" + plainHeader, plainBody, DKIMPass},
		{"folded anew", strings.Replace(plainHeader, "a\r\n\t b", "a b", 1), plainBody, DKIMPass},
		{"names in capitals", strings.Replace(plainHeader, "From:", "FROM :", 1), plainBody, DKIMPass},
		{"white space", plainHeader, "Hello\t\r\n\r\nthere   \r\n", DKIMPass},
		{"subject", strings.Replace(plainHeader, "b\r\n", "c\r\n", 1), plainBody, DKIMFail},
		{"second From above", "From: three@demo.test\r\n" + plainHeader, plainBody, DKIMFail},
		{"second From below", plainHeader + "From: three@demo.test\r\n", plainBody, DKIMFail},
		{"Reply-To added", plainHeader + "Reply-To: three@demo.test\r\n", plainBody, DKIMFail},
		{"Content-Type added", "Content-Type: text/html\r\n" + plainHeader, plainBody, DKIMFail},
		{"body", plainHeader, plainBody + "x", DKIMFail},
		{"white space at the start of a line", plainHeader, " " + plainBody, DKIMFail},
	} {
		got := verify(t, k.zone(), field+c.header+"\r\n"+c.body, dkimNow)
		if len(got) != 1 || got[0].Outcome != c.want {
			t.Errorf("%s: got %+v, want %s", c.name, got, c.want)
		}
	}
}

func TestVerifyDKIM_DNS(t *testing.T) {
	k := edKey(t, "example.org", "s1")
	msg := k.sealed(t, plainHeader, plainBody, plainTags) + plainHeader + "\r\n" + plainBody
	name := "s1._domainkey.example.org"
	for _, c := range []struct {
		name    string
		records []rr
		want    DKIMOutcome
		problem string
	}{
		{"time-out", []rr{{Type: "TIMEOUT"}}, DKIMTempError, "did not answer"},
		{"other records", []rr{a("192.0.2.1")}, DKIMPermError, "no key at s1._domainkey.example.org"},
		{"another first", []rr{txt("v=spf1 -all"), txt(k.record)}, DKIMPass, ""},
		{"two wrong ones", []rr{txt("p="), txt("hello")}, DKIMPermError, "revoked"},
		{"too many", []rr{txt("a"), txt("b"), txt("c"), txt("d"), txt(k.record)}, DKIMPermError, "no tag"},
	} {
		got := verify(t, zone{name: c.records}, msg, dkimNow)
		if len(got) != 1 || got[0].Outcome != c.want || !strings.Contains(got[0].Problem, c.problem) {
			t.Errorf("%s: got %+v, want %s, %q", c.name, got, c.want, c.problem)
		}
	}
	if got := verify(t, zone{}, msg, dkimNow); got[0].Outcome != DKIMPermError {
		t.Errorf("no such name: got %+v", got)
	}
	if got := verify(t, unaskable{}, msg, dkimNow); got[0].Outcome != DKIMPermError {
		t.Errorf("a name that cannot be asked: got %+v", got)
	}
}

// unaskable finds every name wrong.
type unaskable struct{}

func (unaskable) Lookup(_ context.Context, q dns.Question) dns.Answer {
	return dns.Answer{Question: q, Err: dns.ErrName}
}

// TestVerifyDKIM_Many: no more than ten are looked at.
func TestVerifyDKIM_Many(t *testing.T) {
	k := edKey(t, "example.org", "s1")
	one := k.sealed(t, plainHeader, plainBody, plainTags)
	r := &asked{Resolver: k.zone()}
	got := verify(t, r, strings.Repeat("DKIM-Signature: rubbish\r\n", 3)+strings.Repeat(one, 20)+plainHeader+"\r\n"+plainBody, dkimNow)
	if len(got) != dkimSignaturesMax || r.n != dkimSignaturesMax-3 || got[0].Outcome != DKIMNeutral || got[9].Outcome != DKIMPass {
		t.Errorf("got %d results and %d questions", len(got), r.n)
	}
}

// broken fails to read.
type broken struct{}

func (broken) ReadAt([]byte, int64) (int, error) { return 0, errors.New("disk") }

func TestVerifyDKIM_Reading(t *testing.T) {
	if _, err := VerifyDKIM(t.Context(), zone{}, broken{}, 10, dkimNow); err == nil || !strings.Contains(err.Error(), "disk") {
		t.Errorf("got %v", err)
	}
	for _, msg := range []string{"", "x", "\r\n", "\r\n\r\nDKIM-Signature: v=1\r\n", "From: a"} {
		if got := verify(t, zone{}, msg, dkimNow); got != nil {
			t.Errorf("%q: got %+v", msg, got)
		}
	}
	k := edKey(t, "example.org", "s1")
	long := "X-Long: " + strings.Repeat("x", 40<<10) + "\r\n"
	msg := k.sealed(t, plainHeader, plainBody, plainTags) + long + plainHeader + "\r\n" + plainBody
	if got := verify(t, k.zone(), msg, dkimNow); got[0].Outcome != DKIMPass {
		t.Errorf("long header: got %+v", got)
	}
	if got := verify(t, k.zone(), "DKIM-Signature: v=1; n="+strings.Repeat("x", dkimFieldOctetsMax)+"\r\n\r\n", dkimNow); got[0].Outcome != DKIMNeutral {
		t.Errorf("long field: got %+v", got)
	}
}

func TestSignDKIM_Refuses(t *testing.T) {
	k := edKey(t, "example.org", "s1").DKIMKey
	for _, c := range []struct {
		name   string
		key    DKIMKey
		header string
	}{
		{"no From", k, "To: a@b\r\n"},
		{"no key", DKIMKey{Domain: "example.org", Selector: "a"}, plainHeader},
		{"no selector", DKIMKey{Domain: "example.org", Key: k.Key}, plainHeader},
		{"a selector that breaks the field", DKIMKey{Domain: "example.org", Selector: "a;\r\nb", Key: k.Key}, plainHeader},
		{"address literal", DKIMKey{Domain: "[192.0.2.1]", Selector: "a", Key: k.Key}, plainHeader},
	} {
		if got, err := SignDKIM([]DKIMKey{c.key}, []byte(c.header), NewBodyHash(), dkimNow, nil); err == nil || got != "" {
			t.Errorf("%s: got %q, %v", c.name, got, err)
		}
	}
	if got, err := SignDKIM(nil, nil, nil, dkimNow, nil); got != "" || err != nil {
		t.Errorf("no keys: got %q, %v", got, err)
	}
}

// TestSignDKIM_Model signs messages of any shape, with two keys, and verifies
// them by the records of the keys; the lines are of a length that any host
// takes.
func TestSignDKIM_Model(t *testing.T) {
	rsaTest := keyOf(t, "example.org", "r20261122", rsaKey(t, 2048))
	names := rapid.SampledFrom([]string{"Subject", "To", "X-A", "subject ", "Received", "Reply-To", "DKIM-Signature", "Sender", "Content-Type"})
	values := rapid.StringMatching(`[ \ta-z;=<>@ü]{0,40}(\r\n [ \ta-z]{0,5}x){0,3}`)
	bodies := rapid.StringMatching(`([ \ta-zü.]{0,10}\r?\n?){0,10}`)
	rapid.Check(t, func(rt *rapid.T) {
		domain := "example.org"
		if rapid.Bool().Draw(rt, "long") {
			domain = strings.Repeat(strings.Repeat("d", 60)+".", 3) + "test"
		}
		ed := edKey(t, domain, "e20261122")
		header := "From: one@example.org\r\n"
		for range rapid.IntRange(0, 20).Draw(rt, "fields") {
			header += names.Draw(rt, "name") + ":" + values.Draw(rt, "value") + "\r\n"
		}
		body := bodies.Draw(rt, "body")
		h := NewBodyHash()
		h.Write([]byte(body))
		keys := []DKIMKey{rsaTest.DKIMKey, ed.DKIMKey}
		fields, err := SignDKIM(keys, []byte(header+"\r\n"), h, dkimNow, rand.Reader)
		if err != nil {
			rt.Fatal(err)
		}
		for l := range strings.SplitSeq(fields, "\r\n") {
			if len(l) > dkimLineOctetsMax && len(l) > len(domain)+5 {
				rt.Errorf("line of %d octets: %q", len(l), l)
			}
		}
		z := rsaTest.zone()
		for name, records := range ed.zone() {
			z[name] = records
		}
		got, err := VerifyDKIM(t.Context(), z, strings.NewReader(fields+header+"\r\n"+body), int64(len(fields+header)+2+len(body)), dkimNow)
		if err != nil || len(got) < 2 || got[0].Outcome != DKIMPass || got[1].Outcome != DKIMPass || !got[1].Created.Equal(dkimNow) {
			rt.Fatalf("got %+v, %v\n%s%s", got, err, fields, header)
		}
	})
}

func BenchmarkSHA256(b *testing.B) {
	body := bytes.Repeat([]byte("A line of text as people write it, with some words in it and an end.\r\n"), 1000)
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		sha256.Sum256(body)
	}
}

func BenchmarkBodyHash(b *testing.B) {
	body := bytes.Repeat([]byte("A line of text as people write it, with some words in it and an end.\r\n"), 1000)
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		h := NewBodyHash()
		h.Write(body)
		h.Sum()
	}
}
