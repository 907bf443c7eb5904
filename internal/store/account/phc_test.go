package account

import (
	"strings"
	"testing"
)

func TestParsePHC(t *testing.T) {
	const good = "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$qqwiI1yJpHLKyxJGrLnQuOZfT9DbJNUTmqzqqXMI/Xs"
	p, err := parsePHC(good)
	if err != nil || p.String() != good {
		t.Fatalf("%v, %v", p, err)
	}
	for _, bad := range []string{
		"",
		"$",
		strings.Replace(good, "argon2id", "argon2i", 1),
		strings.Replace(good, "v=19", "v=16", 1),
		strings.Replace(good, "m=64", "m=65537", 1),
		strings.Replace(good, "m=64", "m=0", 1),
		strings.Replace(good, "m=64", "m=064", 1),
		strings.Replace(good, "m=64", "m=4294967360", 1),
		strings.Replace(good, "t=1", "t=21", 1),
		strings.Replace(good, "p=1", "p=17", 1),
		strings.Replace(good, "p=1", "p=", 1),
		strings.Replace(good, "m=64,t=1", "t=1,m=64", 1),
		strings.Replace(good, "c2FsdHNhbHQ", "c2FsdA", 1),
		strings.Replace(good, "c2FsdHNhbHQ", "c2FsdHNhbHQ=", 1),
		good + "\n",
		good + "$x",
		good + strings.Repeat("A", 512),
	} {
		if p, err := parsePHC(bad); err == nil {
			t.Errorf("%q: parsed as %v", bad, p)
		}
	}
}

// TestPHC_vector: a test vector of the reference implementation (argon2id,
// version 0x13, t=2, m=2^16, p=1, "password", "somesalt").
func TestPHC_vector(t *testing.T) {
	p, err := parsePHC("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc")
	if err != nil {
		t.Fatal(err)
	}
	if !p.matches("password") || p.matches("passwore") || p.current(newArgonParams()) {
		t.Error("the reference's hash does not match")
	}
}

func FuzzParsePHC(f *testing.F) {
	f.Add("$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$qqwiI1yJpHLKyxJGrLnQuOZfT9DbJNUTmqzqqXMI/Xs")
	f.Add("$argon2id$v=19$m=19456,t=2,p=1$$")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parsePHC(s)
		if err != nil {
			return
		}
		if p.String() != s {
			t.Fatalf("%q comes back as %q", s, p.String())
		}
		if p.memoryKiB > hashMemoryKiB || p.time > maxArgonTime || len(p.salt) > 64 || len(p.hash) > 64 {
			t.Fatalf("out of limits: %q", s)
		}
	})
}
