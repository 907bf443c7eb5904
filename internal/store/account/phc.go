package account

import (
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
)

// phc is an argon2id hash in the notation of the PHC string format:
// $argon2id$v=19$m=19456,t=2,p=1$salt$hash, base64 without padding.
type phc struct {
	argonParams
	salt []byte
	hash []byte
}

// argonParams are the costs of one hash.
type argonParams struct {
	memoryKiB uint32
	time      uint32
	threads   uint8
}

// newArgonParams are those of new hashes.
func newArgonParams() argonParams {
	return argonParams{memoryKiB: argonMemoryKiB, time: argonTime, threads: argonThreads}
}

var errPHC = errors.New("malformed argon2id string")

// parsePHC reads what String makes, within the limits of this package.
func parsePHC(s string) (phc, error) {
	parts := strings.Split(s, "$")
	if len(s) > 512 || len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != "v=19" {
		return phc{}, errPHC
	}
	var p phc
	params := strings.Split(parts[3], ",")
	if len(params) != 3 {
		return phc{}, errPHC
	}
	m, err1 := parseParam(params[0], "m=", hashMemoryKiB)
	t, err2 := parseParam(params[1], "t=", maxArgonTime)
	n, err3 := parseParam(params[2], "p=", maxArgonThreads)
	if err := errors.Join(err1, err2, err3); err != nil {
		return phc{}, err
	}
	p.memoryKiB, p.time, p.threads = uint32(m), uint32(t), uint8(n)
	salt, err1 := base64.RawStdEncoding.Strict().DecodeString(parts[4])
	hash, err2 := base64.RawStdEncoding.Strict().DecodeString(parts[5])
	if err1 != nil || err2 != nil || strings.ContainsAny(s, "\r\n") || len(salt) < 8 || len(salt) > 64 || len(hash) < 16 || len(hash) > 64 {
		return phc{}, errPHC
	}
	p.salt, p.hash = salt, hash
	return p, nil
}

func parseParam(s, prefix string, max uint64) (uint64, error) {
	digits, ok := strings.CutPrefix(s, prefix)
	n, err := strconv.ParseUint(digits, 10, 32)
	if !ok || err != nil || n == 0 || n > max || digits[0] == '0' {
		return 0, errPHC
	}
	return n, nil
}

// String returns the PHC string.
func (p phc) String() string {
	b := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s",
		p.memoryKiB, p.time, p.threads, b.EncodeToString(p.salt), b.EncodeToString(p.hash))
}

// current tells whether p has the parameters a and the lengths that new
// hashes get.
func (p phc) current(a argonParams) bool {
	return p.argonParams == a && len(p.salt) == saltBytes && len(p.hash) == hashBytes
}

// sum hashes a prepared password with p's parameters and salt.
func (p phc) sum(password string) []byte {
	return argon2.IDKey([]byte(password), p.salt, p.time, p.memoryKiB, p.threads, uint32(len(p.hash)))
}

// matches tells whether p is the hash of a prepared password.
func (p phc) matches(password string) bool {
	return subtle.ConstantTimeCompare(p.sum(password), p.hash) == 1
}
