package sasl

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
)

// Bounds of a verifier.
const (
	// MinIterations is RFC 7677 §4's least.
	MinIterations = 4096
	// MaxIterations keeps a corrupt or careless figure from costing minutes.
	MaxIterations = 10_000_000
	// MinSalt and MaxSalt bound the salt, in octets.
	MinSalt, MaxSalt = 8, 64
)

// Verifier is what a server keeps to check a SCRAM-SHA-256 proof (RFC 5802
// §3): it does not hold the password, but whoever has it can test guesses.
type Verifier struct {
	// Identity is whose it is; zero for an invented one, which never
	// lets anybody in.
	Identity   Identity
	Salt       []byte
	Iterations int
	StoredKey  [sha256.Size]byte
	ServerKey  [sha256.Size]byte
}

// NewVerifier computes the verifier of a password, which it prepares first.
// It takes CPU time in proportion to iterations (15 to 50 ms for 100,000).
func NewVerifier(password string, salt []byte, iterations int) (Verifier, error) {
	if len(salt) < MinSalt || len(salt) > MaxSalt {
		return Verifier{}, fmt.Errorf("salt of %d octets is out of range", len(salt))
	}
	if iterations < MinIterations || iterations > MaxIterations {
		return Verifier{}, fmt.Errorf("iteration count %d is out of range", iterations)
	}
	salted, err := pbkdf2.Key(sha256.New, Prepare(password), salt, iterations, sha256.Size)
	if err != nil {
		return Verifier{}, fmt.Errorf("derive salted password: %w", err)
	}
	v := Verifier{Salt: salt, Iterations: iterations}
	v.StoredKey = sha256.Sum256(mac(salted, "Client Key"))
	copy(v.ServerKey[:], mac(salted, "Server Key"))
	return v, nil
}

// equal tells, in constant time, whether two verifiers check the same
// password with the same salt for the same account.
func (v Verifier) equal(w Verifier) bool {
	return v.Identity == w.Identity && v.Iterations == w.Iterations &&
		subtle.ConstantTimeCompare(v.Salt, w.Salt) == 1 &&
		subtle.ConstantTimeCompare(v.StoredKey[:], w.StoredKey[:]) == 1 &&
		subtle.ConstantTimeCompare(v.ServerKey[:], w.ServerKey[:]) == 1
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}
