package sasl

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
)

// nonceBytes is the entropy of the server's half of the nonce.
const nonceBytes = 18

// scram is RFC 5802 with SHA-256 (RFC 7677).
type scram struct {
	backend  Backend
	bindings map[string][]byte // by channel binding type; empty without PLUS
	plus     bool
	step     scramStep

	first       clientFirst
	verifier    Verifier
	nonce       string // the client's and ours
	serverFirst string
	serverNonce string // ours; fixed by tests only
	proven      Identity
	id          Identity
}

type scramStep uint8

const (
	scramStart scramStep = iota // waits for client-first-message
	scramAsked                  // no initial response: an empty challenge was sent
	scramFirst                  // server-first-message sent
	scramFinal                  // server-final-message sent
	scramOver
)

func newScram(b Backend, binds map[string][]byte, plus bool) *scram {
	var raw [nonceBytes]byte
	rand.Read(raw[:]) // never fails
	return &scram{backend: b, bindings: binds, plus: plus, serverNonce: base64.RawStdEncoding.EncodeToString(raw[:])}
}

func (s *scram) Identity() Identity { return s.id }

func (s *scram) Next(ctx context.Context, response []byte) ([]byte, bool, error) {
	step := s.step
	s.step = scramOver // unless a step below says otherwise
	if len(response) > MaxResponse {
		return nil, false, malformed("response too long")
	}
	switch step {
	case scramStart:
		if response == nil {
			s.step = scramAsked
			return []byte{}, false, nil
		}
		return s.start(ctx, response)
	case scramAsked:
		return s.start(ctx, response)
	case scramFirst:
		return s.finish(ctx, response)
	case scramFinal:
		// The server's signature went as a challenge, since none of our
		// protocols carries data beside success; the answer is empty.
		if len(response) != 0 {
			return nil, false, malformed("data after the exchange")
		}
		s.id = s.proven
		return nil, true, nil
	}
	return nil, false, malformed("exchange is over")
}

// start answers client-first-message.
func (s *scram) start(ctx context.Context, response []byte) ([]byte, bool, error) {
	first, err := parseClientFirst(response)
	if err != nil {
		return nil, false, err
	}
	if err := s.checkBinding(first); err != nil {
		return nil, false, err
	}
	v, err := s.backend.Scram(ctx, first.user)
	if err != nil {
		return nil, false, err
	}
	s.first, s.verifier = first, v
	s.nonce = first.nonce + s.serverNonce
	s.serverFirst = "r=" + s.nonce + ",s=" + base64.StdEncoding.EncodeToString(v.Salt) + ",i=" + strconv.Itoa(v.Iterations)
	s.step = scramFirst
	return []byte(s.serverFirst), false, nil
}

// checkBinding holds the client's gs2-cbind-flag against the mechanism and
// the connection (RFC 5802 §6).
func (s *scram) checkBinding(f clientFirst) error {
	switch {
	case s.plus && f.flag != 'p':
		return malformed("the PLUS mechanism wants channel binding")
	case s.plus && s.bindings[f.binding] == nil:
		return malformed("this channel binding type is not offered")
	case !s.plus && f.flag == 'p':
		return malformed("channel binding wants the PLUS mechanism")
	case !s.plus && f.flag == 'y' && len(s.bindings) > 0:
		// The client could bind and believes that we cannot: somebody
		// took PLUS out of the list that it saw.
		return malformed("the server does support channel binding")
	}
	return nil
}

// finish checks client-final-message and answers with the server's signature.
func (s *scram) finish(ctx context.Context, response []byte) ([]byte, bool, error) {
	final, err := parseClientFinal(response)
	if err != nil {
		return nil, false, err
	}
	want := append([]byte(s.first.gs2), s.bindings[s.first.binding]...)
	if !hmac.Equal(final.binding, want) {
		return nil, false, malformed("channel bindings do not match")
	}
	if final.nonce != s.nonce {
		return nil, false, malformed("nonce does not match")
	}
	// The password may have been changed, or the account closed, since
	// the exchange began.
	now, err := s.backend.Scram(ctx, s.first.user)
	if err != nil {
		return nil, false, err
	}
	auth := s.first.bare + "," + s.serverFirst + "," + final.withoutProof
	key := mac(s.verifier.StoredKey[:], auth)
	for i := range key {
		key[i] ^= final.proof[i] // ClientKey = ClientSignature XOR ClientProof
	}
	stored := sha256.Sum256(key)
	proven := hmac.Equal(stored[:], s.verifier.StoredKey[:])
	current := s.verifier.equal(now)
	if !proven || !current || now.Identity.Account == 0 {
		return nil, false, ErrCredentials
	}
	if err := checkAuthzid(s.first.authzid, s.first.user, now.Identity); err != nil {
		return nil, false, err
	}
	s.proven = now.Identity
	s.step = scramFinal
	signature := mac(s.verifier.ServerKey[:], auth)
	return base64.StdEncoding.AppendEncode([]byte("v="), signature), false, nil
}
