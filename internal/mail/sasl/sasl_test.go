package sasl

import (
	"context"
	"crypto/tls"
	"errors"
	"strings"
	"testing"
)

// run plays responses against an exchange until it is done or fails, and
// returns the challenges. A response "-" stands for no initial response.
func run(t *testing.T, e Exchange, responses ...string) ([]string, bool, error) {
	t.Helper()
	var challenges []string
	for i, r := range responses {
		b := []byte(r)
		if r == "-" {
			b = nil
		}
		c, done, err := e.Next(context.Background(), b)
		if done || err != nil {
			if done && i != len(responses)-1 {
				t.Fatalf("done after %d of %d responses", i+1, len(responses))
			}
			return challenges, done, err
		}
		challenges = append(challenges, string(c))
	}
	return challenges, false, nil
}

func TestPlainAndLogin(t *testing.T) {
	long := strings.Repeat("x", MaxPassword+1)
	for _, c := range []struct {
		name, mech string
		responses  []string
		challenges string
		err        error
	}{
		{"plain with initial response", Plain, []string{"\x00one@demo.test\x00pencil"}, "", nil},
		{"plain by challenge", "plain", []string{"-", "\x00one@demo.test\x00pencil"}, "", nil},
		{"plain same authzid", Plain, []string{"one@demo.test\x00one@demo.test\x00pencil"}, "", nil},
		{"plain authzid in capitals", Plain, []string{"ONE@DEMO.TEST\x00one@demo.test\x00pencil"}, "", nil},
		{"plain other authzid", Plain, []string{"two@demo.test\x00one@demo.test\x00pencil"}, "", ErrCredentials},
		{"plain wrong password", Plain, []string{"\x00one@demo.test\x00pencils"}, "", ErrCredentials},
		{"plain unknown user", Plain, []string{"\x00none@demo.test\x00pencil"}, "", ErrCredentials},
		{"plain two fields", Plain, []string{"one@demo.test\x00pencil"}, "", ErrMalformed},
		{"plain four fields", Plain, []string{"\x00one@demo.test\x00pencil\x00"}, "", ErrMalformed},
		{"plain no password", Plain, []string{"\x00one@demo.test\x00"}, "", ErrMalformed},
		{"plain no user", Plain, []string{"\x00\x00pencil"}, "", ErrMalformed},
		{"plain empty", Plain, []string{""}, "", ErrMalformed},
		{"plain not UTF-8", Plain, []string{"\x00one@demo.test\x00\xff"}, "", ErrMalformed},
		{"plain long password", Plain, []string{"\x00one@demo.test\x00" + long}, "", ErrMalformed},
		{"plain long response", Plain, []string{strings.Repeat("x", MaxResponse+1)}, "", ErrMalformed},
		{"login", Login, []string{"-", "one@demo.test", "pencil"}, "Username:|Password:", nil},
		{"login with initial response", Login, []string{"one@demo.test", "pencil"}, "Password:", nil},
		{"login wrong password", Login, []string{"-", "one@demo.test", "x"}, "Username:|Password:", ErrCredentials},
		{"login empty name", Login, []string{"-", ""}, "Username:", ErrMalformed},
		{"login empty password", Login, []string{"-", "one@demo.test", ""}, "Username:|Password:", ErrMalformed},
		{"login long name", Login, []string{strings.Repeat("x", MaxName+1)}, "", ErrMalformed},
		{"login long response", Login, []string{strings.Repeat("x", MaxResponse+1)}, "", ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, err := New(c.mech, newMemory(t), &tls.ConnectionState{})
			if err != nil {
				t.Fatal(err)
			}
			challenges, done, err := run(t, e, c.responses...)
			if got := strings.Trim(strings.Join(challenges, "|"), "|"); got != c.challenges {
				t.Errorf("challenges %q, want %q", got, c.challenges)
			}
			if !errors.Is(err, c.err) || done != (c.err == nil) {
				t.Fatalf("done %v, err %v, want %v", done, err, c.err)
			}
			want := Identity{}
			if c.err == nil {
				want = pepper
			}
			if e.Identity() != want {
				t.Errorf("identity %v, want %v", e.Identity(), want)
			}
			if _, done, err := e.Next(context.Background(), []byte("\x00one@demo.test\x00pencil")); done || !errors.Is(err, ErrMalformed) {
				t.Errorf("after the end: done %v, err %v", done, err)
			}
		})
	}
}

func TestFaultsAreNotCredentials(t *testing.T) {
	for mech, responses := range map[string][]string{
		Plain:       {"\x00one@demo.test\x00pencil"},
		Login:       {"one@demo.test", "pencil"},
		ScramSHA256: {"n,,n=one@demo.test,r=abcdefgh"},
	} {
		m := newMemory(t)
		m.fault = errFault
		e, err := New(mech, m, &tls.ConnectionState{})
		if err != nil {
			t.Fatal(err)
		}
		_, done, err := run(t, e, responses...)
		if done || !errors.Is(err, errFault) || errors.Is(err, ErrCredentials) || errors.Is(err, ErrMalformed) {
			t.Errorf("%s: done %v, err %v", mech, done, err)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	if _, err := New("CRAM-MD5", nil, &tls.ConnectionState{}); !errors.Is(err, ErrMechanism) {
		t.Errorf("unknown mechanism: %v", err)
	}
	for _, m := range Mechanisms(true) {
		if _, err := New(m, nil, nil); !errors.Is(err, ErrNoTLS) {
			t.Errorf("%s without TLS: %v", m, err)
		}
	}
	if got := Mechanisms(false); len(got) != 0 {
		t.Errorf("offered without TLS: %v", got)
	}
}

func TestDecodeResponse(t *testing.T) {
	for _, c := range []struct {
		line, want string
		err        error
	}{
		{"AG9uZQBwdw==", "\x00one\x00pw", nil},
		{"", "", nil},
		{"=", "", nil},
		{"*", "", ErrCancelled},
		{"**", "", ErrMalformed},
		{"==", "", ErrMalformed},
		{"AG9uZQBwdw", "", ErrMalformed},
		{"AG9uZQBwdx==", "", ErrMalformed}, // stray bits
		{"AG9u\nZQ==", "", ErrMalformed},
		{"AG9u\r\n", "", ErrMalformed},
		{"AG9u ZQ==", "", ErrMalformed},
		{"AG9uZQ==AG9uZQ==", "", ErrMalformed},
		{"AG-_", "", ErrMalformed}, // base64url
		{strings.Repeat("AAAA", MaxLine/4), strings.Repeat("\x00", MaxResponse), nil},
		{strings.Repeat("AAAA", MaxLine/4+1), "", ErrMalformed},
	} {
		got, err := DecodeResponse([]byte(c.line))
		if !errors.Is(err, c.err) || string(got) != c.want || (err == nil && got == nil) {
			t.Errorf("%.40q: %q, %v", c.line, got, err)
		}
		if c.err == nil && c.line != "=" {
			if back := AppendChallenge(nil, got); string(back) != c.line {
				t.Errorf("%.40q comes back as %.40q", c.line, back)
			}
		}
	}
}

func FuzzDecodeResponse(f *testing.F) {
	for _, s := range []string{"*", "=", "", "AG9uZQBwdw==", "AG9u\nZQ=="} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		b, err := DecodeResponse(line)
		if err != nil {
			if b != nil || !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrCancelled) {
				t.Fatalf("%q, %v", b, err)
			}
			return
		}
		if len(b) > MaxResponse {
			t.Fatal("too long")
		}
		if back := AppendChallenge(nil, b); string(back) != string(line) && string(line) != "=" {
			t.Fatalf("%q comes back as %q", line, back)
		}
	})
}

// FuzzExchange gives every mechanism any three responses: none may panic,
// and none may let anybody in but the one whose password it is.
func FuzzExchange(f *testing.F) {
	f.Add(uint8(2), []byte("\x00one@demo.test\x00pencil"), []byte(""), []byte(""))
	f.Add(uint8(3), []byte("one@demo.test"), []byte("pencil"), []byte(""))
	f.Add(uint8(1), []byte("n,,n=one@demo.test,r=abc"), []byte("c=biws,r=abc,p=AAAA"), []byte(""))
	f.Add(uint8(0), []byte("p=tls-exporter,a=x,n=a=2Cb=3Dc,r=abc,x=y"), []byte("c=,r="), []byte(""))
	f.Fuzz(func(t *testing.T, which uint8, a, b, c []byte) {
		names := Mechanisms(true)
		mech := names[int(which)%len(names)]
		e, err := New(mech, newMemory(t), &tls.ConnectionState{})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range [][]byte{a, b, c} {
			_, done, err := e.Next(context.Background(), r)
			if err != nil {
				if e.Identity() != (Identity{}) {
					t.Fatal("an identity after an error")
				}
				return
			}
			if done {
				text := string(a) + string(b) + string(c)
				if !strings.Contains(text, "pencil") && !strings.Contains(text, "pässword") {
					t.Fatalf("%s let %v in with %q %q %q", mech, e.Identity(), a, b, c)
				}
				return
			}
		}
	})
}
