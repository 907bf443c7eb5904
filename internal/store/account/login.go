package account

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/sasl"
)

// checkPassword tells whether a password can be one.
func checkPassword(p string) error {
	if p == "" || len(p) > sasl.MaxPassword || !utf8.ValidString(p) || strings.ContainsRune(p, 0) {
		return ErrPassword
	}
	return nil
}

// newCredentials makes all that is kept of a password.
func (s *Store) newCredentials(ctx context.Context, password string) (credentials, error) {
	if err := checkPassword(password); err != nil {
		return credentials{}, err
	}
	salts, err := s.random(2 * saltBytes)
	if err != nil {
		return credentials{}, err
	}
	p := phc{argonParams: s.argon, salt: salts[:saltBytes], hash: make([]byte, hashBytes)}
	var c credentials
	err = s.hashes.do(ctx, p.memoryKiB, func() {
		p.hash = p.sum(sasl.Prepare(password))
		c.hash = p.String()
		if !s.o.NoScram {
			c.scram, err = newScramKeys(password, salts[saltBytes:], s.o.ScramIterations)
		}
	})
	return c, err
}

func newScramKeys(password string, salt []byte, iterations int) (scramKeys, error) {
	v, err := sasl.NewVerifier(password, salt, iterations)
	if err != nil {
		return scramKeys{}, fmt.Errorf("make SCRAM verifier: %w", err)
	}
	return scramKeys{salt: v.Salt, iterations: v.Iterations, stored: v.StoredKey[:], server: v.ServerKey[:]}, nil
}

// outdated tells whether a login should renew the credentials.
func (s *Store) outdated(c credentials) bool {
	p, err := parsePHC(c.hash)
	if err != nil || !p.current(s.argon) {
		return true
	}
	if s.o.NoScram {
		return c.scram.salt != nil
	}
	return c.scram.iterations != s.o.ScramIterations
}

// Login tells whose password it is. user is an account's address; aliases
// and details do not log in. Errors: ErrCredentials if it is not this user's
// password, or if the account is disabled (then it wraps ErrDisabled too). Any
// other error, ErrBusy among them, is a fault. Known or not, every wrong name
// or password costs one argon2id hash. App passwords are not known here: For.
func (s *Store) Login(ctx context.Context, user, password string) (Account, error) {
	e, err := s.loginTo(ctx, user, password, 0)
	return e.Account, err
}

// Password implements sasl.Backend by Login.
func (s *Store) Password(ctx context.Context, user, password string) (sasl.Identity, error) {
	return s.identify(ctx, user, password, 0)
}

// identify is a login to a service.
func (s *Store) identify(ctx context.Context, user, password string, service Scope) (sasl.Identity, error) {
	e, err := s.loginTo(ctx, user, password, service)
	if err != nil {
		return sasl.Identity{}, err
	}
	return e.identity(), nil
}

func (e *entry) identity() sasl.Identity {
	return sasl.Identity{Account: uint64(e.ID), Address: e.Address, Epoch: e.epoch}
}

func (s *Store) loginTo(ctx context.Context, user, password string, service Scope) (entry, error) {
	e, outcome, err := s.login(ctx, user, password, service)
	s.o.Metrics.logins.WithLabelValues(outcome).Inc()
	if err != nil {
		return entry{}, err
	}
	return e, nil
}

func (s *Store) login(ctx context.Context, user, password string, service Scope) (entry, string, error) {
	if checkPassword(password) != nil {
		return entry{}, loginRefused, ErrCredentials // nobody has such a password
	}
	for range loginRetries {
		e, err := s.lookup(user)
		if err != nil {
			return entry{}, loginFault, err
		}
		key := s.cache.keyFor(e.ID, e.version, password)
		if was, ok := s.cache.get(key, service); ok && e.ID != 0 {
			return s.admit(e, was, loginCached)
		}
		right, creds, err := s.check(ctx, e, password, service)
		if err != nil {
			return entry{}, loginFault, err
		}
		now, err := s.lookup(user)
		if err != nil {
			return entry{}, loginFault, err
		}
		if now.ID != e.ID || now.version != e.version {
			continue // the password was changed meanwhile: what was checked counts no more
		}
		if right == nil || e.ID == 0 {
			return entry{}, loginRefused, ErrCredentials
		}
		s.cache.add(key, *right)
		if right.app != (use{}) {
			return s.admit(now, *right, loginApp)
		}
		if s.outdated(creds) && !now.Disabled {
			s.renew(ctx, now, password)
		}
		return s.admit(now, *right, loginVerified)
	}
	return entry{}, loginFault, fmt.Errorf("%w: the password keeps changing", ErrBusy)
}

// check tells what a password is of an account: its own, or an app password
// for the service; nil if it is neither. creds are those of its own.
func (s *Store) check(ctx context.Context, e entry, password string, service Scope) (*success, credentials, error) {
	a, err := s.findApp(ctx, e, password, service)
	if err != nil {
		return nil, credentials{}, err
	}
	if a != nil {
		return &success{scope: a.Scope, app: useOf(e.ID, *a)}, credentials{}, nil
	}
	creds, ok, err := s.verify(ctx, e.ID, password)
	if err != nil || !ok {
		return nil, creds, err
	}
	return &success{scope: AllScopes}, creds, nil
}

// admit lets in who has shown the right password, unless the account is
// disabled.
func (s *Store) admit(e entry, right success, how string) (entry, string, error) {
	if e.Disabled {
		return entry{}, loginDisabled, errors.Join(ErrDisabled, ErrCredentials)
	}
	if right.app != (use{}) {
		s.uses.note(right.app, s.o.Clock.Now())
	}
	return e, how, nil
}

// lookup returns a copy of the entry that a login name means; one without ID
// if there is none.
func (s *Store) lookup(user string) (entry, error) {
	address, parseErr := parseUser(user)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if !s.attached {
		return entry{}, errDetached
	}
	if parseErr != nil {
		return entry{}, nil
	}
	if e := s.dir.names[keyOf(address)]; e != nil {
		return *e, nil
	}
	return entry{}, nil
}

func parseUser(user string) (message.Address, error) {
	if len(user) > sasl.MaxName {
		return message.Address{}, ErrAddress
	}
	return message.ParseAddress(sasl.Prepare(user))
}

// verify tells whether password is that of account id. For id 0, which
// nobody has, and for an account without a password it does the same work and
// says no.
func (s *Store) verify(ctx context.Context, id ID, password string) (creds credentials, ok bool, err error) {
	if creds, err = s.credentials(ctx, id); err != nil {
		return creds, false, err
	}
	p := phc{argonParams: s.argon, salt: s.fallback[:saltBytes], hash: s.fallback}
	if creds.hash != "" {
		if p, err = parsePHC(creds.hash); err != nil {
			return creds, false, fmt.Errorf("password hash of account %d: %w", id, err)
		}
	}
	err = s.hashes.do(ctx, p.memoryKiB, func() { ok = p.matches(sasl.Prepare(password)) })
	return creds, ok && creds.hash != "", err
}

// credentials reads the credentials of an account: none if there is none.
func (s *Store) credentials(ctx context.Context, id ID) (c credentials, err error) {
	err = s.x.Read(ctx, func(conn *sqlite.Conn) error {
		return sqlitex.Execute(conn, "SELECT hash, salt, iterations, stored, server FROM account WHERE id = ?",
			&sqlitex.ExecOptions{Args: []any{int64(id)}, ResultFunc: func(st *sqlite.Stmt) error {
				c = credentialsRow(st)
				return nil
			}})
	})
	if err != nil {
		return credentials{}, fmt.Errorf("read credentials of account %d: %w", id, err)
	}
	return c, nil
}

// renew replaces credentials that were made with other parameters than
// today's, unless they changed since e was looked up. It is no reason to
// refuse a login: what goes wrong is logged.
func (s *Store) renew(ctx context.Context, e entry, password string) {
	creds, err := s.newCredentials(ctx, password)
	if err == nil {
		err = s.change(ctx, func(dir *directory) ([]change, error) {
			if now := dir.accounts[e.ID]; now == nil || now.version != e.version {
				return nil, nil
			}
			return []change{{op: opCredentials, id: e.ID, creds: creds, renewed: true}}, nil
		})
	}
	if err != nil {
		s.o.Log.Warn("password not rehashed", telemetry.Account, uint64(e.ID), telemetry.Err, err)
	}
}

// Scram implements sasl.Backend: the SCRAM-SHA-256 verifier of user. Who is
// unknown, or has none, gets an invented one that is always the same and fits
// no password. A disabled account's has no Identity. Errors are faults.
func (s *Store) Scram(ctx context.Context, user string) (sasl.Verifier, error) {
	e, err := s.lookup(user)
	if err != nil {
		return sasl.Verifier{}, err
	}
	creds, err := s.credentials(ctx, e.ID)
	if err != nil {
		return sasl.Verifier{}, err
	}
	k := creds.scram
	if e.ID == 0 || k.salt == nil || len(k.stored) != sha256.Size || len(k.server) != sha256.Size {
		return s.inventVerifier(user, e), nil
	}
	v := sasl.Verifier{
		Salt: k.salt, Iterations: k.iterations,
		StoredKey: [sha256.Size]byte(k.stored), ServerKey: [sha256.Size]byte(k.server),
	}
	if !e.Disabled {
		v.Identity = e.identity()
	}
	return v, nil
}

// inventVerifier makes a verifier out of a name and the store's secret.
func (s *Store) inventVerifier(user string, e entry) sasl.Verifier {
	name := e.key
	if name == "" {
		if a, err := parseUser(user); err == nil {
			name = keyOf(a)
		} else {
			name = fold(sasl.Prepare(user))
		}
	}
	s.mu.RLock()
	secret := s.dir.secret
	s.mu.RUnlock()
	if secret == nil {
		secret = s.fallback
	}
	derive := func(what string) []byte {
		h := hmac.New(sha256.New, secret)
		h.Write([]byte(what + "\x00" + name))
		return h.Sum(nil)
	}
	return sasl.Verifier{
		Salt: derive("salt")[:saltBytes], Iterations: s.o.ScramIterations,
		StoredKey: [sha256.Size]byte(derive("stored key")), ServerKey: [sha256.Size]byte(derive("server key")),
	}
}
