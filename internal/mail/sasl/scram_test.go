package sasl

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
)

// TestScram_RFC7677 plays the example of RFC 7677 §3.
func TestScram_RFC7677(t *testing.T) {
	salt, err := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	if err != nil {
		t.Fatal(err)
	}
	v, err := NewVerifier("pencil", salt, 4096)
	if err != nil {
		t.Fatal(err)
	}
	v.Identity = Identity{Account: 1}
	m := &memory{verifiers: map[string]Verifier{"user": v}}
	e := newScram(m, nil, false)
	e.serverNonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
	challenges, done, err := run(t, e,
		"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
		"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
		"")
	if err != nil || !done {
		t.Fatalf("done %v, err %v", done, err)
	}
	want := "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096|" +
		"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
	if got := strings.Join(challenges, "|"); got != want {
		t.Errorf("challenges\n%s, want\n%s", got, want)
	}
}

func TestScram_refusesFirst(t *testing.T) {
	binds := map[string][]byte{bindExporter: []byte("data")}
	for _, c := range []struct {
		first string
		plus  bool
		err   error
	}{
		{"n,,n=one@demo.test,r=abc", false, nil},
		{"n,,n=one@demo.test,r=abc,x=ext", false, nil},
		{"n,a=one@demo.test,n=one@demo.test,r=abc", false, nil},
		{"p=tls-exporter,,n=one@demo.test,r=abc", true, nil},
		{"n,,n=one@demo.test,r=abc", true, ErrMalformed},
		{"y,,n=one@demo.test,r=abc", true, ErrMalformed},
		{"y,,n=one@demo.test,r=abc", false, ErrMalformed}, // downgrade
		{"p=tls-exporter,,n=one@demo.test,r=abc", false, ErrMalformed},
		{"p=tls-unique,,n=one@demo.test,r=abc", true, ErrMalformed},
		{"p=tls-server-end-point,,n=one@demo.test,r=abc", true, ErrMalformed}, // no certificate known
		{"p=,,n=one@demo.test,r=abc", true, ErrMalformed},
		{"n,,m=x,n=one@demo.test,r=abc", false, ErrMalformed},
		{"n,,n=one@demo.test,r=abc,m=x", false, ErrMalformed},
		{"n,,n=one@demo.test,r=abc,x", false, ErrMalformed},
		{"n,,n=one@demo.test,r=", false, ErrMalformed},
		{"n,,n=one@demo.test,r=a\x01", false, ErrMalformed},
		{"n,,n=one@demo.test,r=" + strings.Repeat("a", MaxNonce+1), false, ErrMalformed},
		{"n,,n=one=2cdemo,r=abc", false, ErrMalformed},
		{"n,,n=one=,r=abc", false, ErrMalformed},
		{"n,,n=,r=abc", false, ErrMalformed},
		{"n,b=x,n=one@demo.test,r=abc", false, ErrMalformed},
		{"n,a=,n=one@demo.test,r=abc", false, ErrMalformed},
		{"z,,n=one@demo.test,r=abc", false, ErrMalformed},
		{"n,n=one@demo.test", false, ErrMalformed},
		{"", false, ErrMalformed},
	} {
		_, done, err := newScram(newMemory(t), binds, c.plus).Next(context.Background(), []byte(c.first))
		if done || !errors.Is(err, c.err) {
			t.Errorf("%.60q plus=%v: done %v, err %v, want %v", c.first, c.plus, done, err, c.err)
		}
	}
}

// proofOf computes the client's part of an exchange with independent steps
// from the stored password.
func proofOf(t *testing.T, e *scram, m *memory, user, cbind string, spoil func(string) string) string {
	t.Helper()
	c, _, err := e.Next(context.Background(), []byte("n,,n="+user+",r=abcdefgh"))
	if err != nil {
		t.Fatal(err)
	}
	nonce, _, _ := strings.Cut(strings.TrimPrefix(string(c), "r="), ",")
	final := spoil("c=" + cbind + ",r=" + nonce)
	v := m.verifiers[user]
	salted := saltedPassword(t, m.passwords[user], v)
	key := mac(salted, "Client Key")
	signature := mac(v.StoredKey[:], "n="+user+",r=abcdefgh,"+string(c)+","+final)
	for i := range key {
		key[i] ^= signature[i]
	}
	return final + ",p=" + base64.StdEncoding.EncodeToString(key)
}

func TestScram_refusesFinal(t *testing.T) {
	same := func(s string) string { return s }
	for _, c := range []struct {
		name  string
		cbind string
		spoil func(string) string
		alter func(string) string
		err   error
	}{
		{"right", "biws", same, same, nil},
		{"extension", "biws", func(s string) string { return s + ",x=1" }, same, nil},
		{"other header", "eSws", same, same, ErrMalformed},
		{"no binding", "", same, same, ErrMalformed},
		{"other nonce", "biws", func(s string) string { return s + "x" }, same, ErrMalformed},
		{"no proof", "biws", same, func(s string) string { s, _, _ = strings.Cut(s, ",p="); return s }, ErrMalformed},
		{"short proof", "biws", same, func(s string) string { s, _, _ = strings.Cut(s, ",p="); return s + ",p=AAAA" }, ErrMalformed},
		{"proof with newline", "biws", same, func(s string) string { return s + "\n" }, ErrMalformed},
		{"zero proof", "biws", same, func(s string) string {
			s, _, _ = strings.Cut(s, ",p=")
			return s + ",p=" + base64.StdEncoding.EncodeToString(make([]byte, 32))
		}, ErrCredentials},
		{"data after proof", "biws", same, func(s string) string { return s + ",x=1" }, ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMemory(t)
			e := newScram(m, nil, false)
			final := c.alter(proofOf(t, e, m, "one@demo.test", c.cbind, c.spoil))
			_, _, err := e.Next(context.Background(), []byte(final))
			if !errors.Is(err, c.err) {
				t.Fatalf("err %v, want %v", err, c.err)
			}
			if e.Identity() != (Identity{}) {
				t.Error("an identity before the end")
			}
			if c.err != nil {
				return
			}
			if _, done, err := e.Next(context.Background(), nil); !done || err != nil || e.Identity() != pepper {
				t.Errorf("end: %v %v %v", done, err, e.Identity())
			}
		})
	}
}

func TestScram_passwordChangedDuringExchange(t *testing.T) {
	m := newMemory(t)
	e := newScram(m, nil, false)
	final := proofOf(t, e, m, "one@demo.test", "biws", func(s string) string { return s })
	m.set("one@demo.test", "brush", pepper)
	if _, _, err := e.Next(context.Background(), []byte(final)); !errors.Is(err, ErrCredentials) {
		t.Errorf("err %v", err)
	}
}

func TestScram_noIdentityNeverEnters(t *testing.T) {
	m := newMemory(t)
	m.set("one@demo.test", "pencil", Identity{}) // what an invented verifier would look like if guessed
	e := newScram(m, nil, false)
	final := proofOf(t, e, m, "one@demo.test", "biws", func(s string) string { return s })
	if _, _, err := e.Next(context.Background(), []byte(final)); !errors.Is(err, ErrCredentials) {
		t.Errorf("err %v", err)
	}
}

func TestScram_dataAfterSignature(t *testing.T) {
	m := newMemory(t)
	e := newScram(m, nil, false)
	final := proofOf(t, e, m, "one@demo.test", "biws", func(s string) string { return s })
	if _, _, err := e.Next(context.Background(), []byte(final)); err != nil {
		t.Fatal(err)
	}
	if _, done, err := e.Next(context.Background(), []byte("x")); done || !errors.Is(err, ErrMalformed) || e.Identity() != (Identity{}) {
		t.Errorf("done %v, err %v", done, err)
	}
}

func TestNewVerifier_bounds(t *testing.T) {
	salt := make([]byte, 16)
	for _, c := range []struct {
		salt       []byte
		iterations int
	}{{salt[:7], 4096}, {make([]byte, 65), 4096}, {salt, 4095}, {salt, MaxIterations + 1}} {
		if _, err := NewVerifier("x", c.salt, c.iterations); err == nil {
			t.Errorf("%d octets, %d iterations: accepted", len(c.salt), c.iterations)
		}
	}
}
