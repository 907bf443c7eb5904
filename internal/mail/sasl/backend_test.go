package sasl

import (
	"context"
	"errors"
	"testing"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

var errFault = errors.New("directory is down")

// memory is a Backend of two accounts.
type memory struct {
	t         *testing.T
	passwords map[string]string
	verifiers map[string]Verifier
	fault     error
}

var pepper = Identity{Account: 7, Address: message.Address{Local: "one", Domain: "demo.test"}}

func newMemory(t *testing.T) *memory {
	t.Helper()
	m := &memory{t: t, passwords: map[string]string{}, verifiers: map[string]Verifier{}}
	m.set("one@demo.test", "pencil", pepper)
	m.set("a,b=c@demo.test", "pässword", Identity{Account: 8, Address: message.Address{Local: "a,b=c", Domain: "demo.test"}})
	return m
}

func (m *memory) set(user, password string, id Identity) {
	m.t.Helper()
	v, err := NewVerifier(password, []byte("sixteen octets!!"), MinIterations)
	if err != nil {
		m.t.Fatal(err)
	}
	v.Identity = id
	m.passwords[user], m.verifiers[user] = password, v
}

func (m *memory) Password(_ context.Context, user, password string) (Identity, error) {
	if m.fault != nil {
		return Identity{}, m.fault
	}
	if want, ok := m.passwords[user]; !ok || Prepare(want) != Prepare(password) {
		return Identity{}, ErrCredentials
	}
	return m.verifiers[user].Identity, nil
}

func (m *memory) Scram(_ context.Context, user string) (Verifier, error) {
	if m.fault != nil {
		return Verifier{}, m.fault
	}
	v, ok := m.verifiers[user]
	if !ok {
		v = Verifier{Salt: []byte("an invented salt"), Iterations: MinIterations}
	}
	return v, nil
}
