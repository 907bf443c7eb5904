package smtp

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/text/unicode/norm"
)

const (
	// scramIterationsMax is what a server may ask of us: a second's work. RFC
	// 7677 §4 has 4,096, careful servers some 100,000.
	scramIterationsMax = 1_000_000
	// scramPartMax bounds nonce and salt in octets.
	scramPartMax = 1024
)

// Errors of a login.
var (
	// ErrMechanism: the server offers no mechanism that we know.
	ErrMechanism = errors.New("no known mechanism is offered")
	// ErrClientScram: the server's half of a SCRAM exchange is not what one
	// who knows the password would say.
	ErrClientScram = errors.New("wrong answer in a SCRAM exchange")
)

// Login is who a client is. Nonce is random and not used again; without it
// SCRAM is not tried.
type Login struct {
	User, Password string
	Nonce          string // printable ASCII without ","
}

// Auth logs in with the best mechanism that is offered, under TLS only:
// SCRAM-SHA-256 (RFC 7677), which does not show the password, bound to the
// connection where that is offered too; then PLAIN (RFC 4616), then LOGIN, which
// has no RFC and which some servers know only.
func (c *Client) Auth(ctx context.Context, l Login) error {
	has := func(name string) bool {
		return slices.ContainsFunc(c.x.Auth, func(m string) bool { return strings.EqualFold(m, name) })
	}
	if !c.tls {
		return ErrClientPlain
	}
	binding := c.binding()
	switch {
	case has("SCRAM-SHA-256-PLUS") && l.Nonce != "" && binding != "":
		return c.authScram(ctx, l, "SCRAM-SHA-256-PLUS", "p=tls-exporter,,", binding)
	case has("SCRAM-SHA-256") && l.Nonce != "" && binding != "":
		// We could and the server cannot: if it can after all, somebody has
		// changed what it offers, and it will notice (RFC 5802 §6).
		return c.authScram(ctx, l, "SCRAM-SHA-256", "y,,", "")
	case has("SCRAM-SHA-256") && l.Nonce != "":
		return c.authScram(ctx, l, "SCRAM-SHA-256", "n,,", "")
	case has("PLAIN"):
		return c.AuthPlain(ctx, l.User, l.Password)
	case has("LOGIN"):
		return c.authLogin(ctx, l)
	}
	return ErrMechanism
}

// AuthPlain logs in with the mechanism PLAIN (RFC 4616), under TLS only.
func (c *Client) AuthPlain(ctx context.Context, user, password string) error {
	if !c.tls {
		return ErrClientPlain
	}
	defer c.watch(ctx)()
	r, err := c.command(ctx, "AUTH PLAIN "+encode64("\x00"+user+"\x00"+password))
	if err != nil {
		return err
	}
	return c.expect(&r, 235)
}

// authLogin answers the two questions of LOGIN, whatever their words.
func (c *Client) authLogin(ctx context.Context, l Login) error {
	defer c.watch(ctx)()
	for _, line := range [...]string{"AUTH LOGIN", encode64(l.User)} {
		r, err := c.command(ctx, line)
		if err != nil {
			return err
		}
		if err := c.expect(&r, 334); err != nil {
			return err
		}
	}
	r, err := c.command(ctx, encode64(l.Password))
	if err != nil {
		return err
	}
	return c.expect(&r, 235)
}

func encode64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// binding is what both ends of the connection know and nobody between two
// connections (RFC 9266); "" where none is agreed upon, which is before TLS 1.3.
func (c *Client) binding() string {
	state, ok := c.TLS()
	if !ok || state.Version < tls.VersionTLS13 {
		return ""
	}
	b, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, bindingOctets)
	if err != nil {
		return ""
	}
	return string(b)
}

// bindingOctets is RFC 9266 §4.2's.
const bindingOctets = 32

// authScram is RFC 5802 §3 with SHA-256. The header says what the binding is.
func (c *Client) authScram(ctx context.Context, l Login, mechanism, header, binding string) error {
	defer c.watch(ctx)()
	name := strings.NewReplacer("=", "=3D", ",", "=2C").Replace(prepared(l.User))
	first := "n=" + name + ",r=" + l.Nonce
	challenge, err := c.challenge(ctx, "AUTH "+mechanism+" "+encode64(header+first))
	if err != nil {
		return err
	}
	final, signature, err := scramFinal(first, string(challenge), header+binding, l)
	if err != nil {
		c.dead = true // the server waits, and nothing else can be said
		return err
	}
	if challenge, err = c.challenge(ctx, encode64(final)); err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(challenge, []byte("v="+base64.StdEncoding.EncodeToString(signature))) != 1 {
		c.dead = true
		return ErrClientScram
	}
	r, err := c.command(ctx, "")
	if err != nil {
		return err
	}
	return c.expect(&r, 235)
}

// challenge sends a line and decodes the challenge that answers it.
func (c *Client) challenge(ctx context.Context, line string) ([]byte, error) {
	r, err := c.command(ctx, line)
	if err != nil {
		return nil, err
	}
	if err := c.expect(&r, 334); err != nil {
		return nil, err
	}
	b, err := base64.StdEncoding.DecodeString(r.Text)
	if err != nil {
		c.dead = true
		return nil, fmt.Errorf("%w: no base64", ErrClientScram)
	}
	return b, nil
}

// scramFinal makes the client's last message and the signature that the server
// has to answer with.
func scramFinal(first, challenge, bound string, l Login) (final string, signature []byte, err error) {
	parts := strings.SplitN(challenge, ",", 4)
	if len(parts) < 3 || !strings.HasPrefix(parts[0], "r="+l.Nonce) || len(parts[0]) <= len("r=")+len(l.Nonce) ||
		!strings.HasPrefix(parts[1], "s=") || !strings.HasPrefix(parts[2], "i=") || len(challenge) > 2*scramPartMax {
		return "", nil, ErrClientScram
	}
	salt, err := base64.StdEncoding.DecodeString(parts[1][2:])
	iterations, ierr := strconv.Atoi(parts[2][2:])
	if err != nil || ierr != nil || len(salt) == 0 || iterations < 1 || iterations > scramIterationsMax {
		return "", nil, ErrClientScram
	}
	salted, err := pbkdf2.Key(sha256.New, prepared(l.Password), salt, iterations, sha256.Size)
	if err != nil {
		return "", nil, fmt.Errorf("derive key: %w", err)
	}
	final = "c=" + encode64(bound) + "," + parts[0]
	clientKey := mac(salted, "Client Key")
	stored := sha256.Sum256(clientKey)
	said := first + "," + challenge + "," + final
	proof := make([]byte, len(clientKey))
	subtle.XORBytes(proof, clientKey, mac(stored[:], said))
	return final + ",p=" + base64.StdEncoding.EncodeToString(proof), mac(mac(salted, "Server Key"), said), nil
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// prepared is what both sides make of a name or password before it is hashed:
// of SASLprep (RFC 4013) its normal form. What it maps to nothing stands in no
// password that somebody could type.
func prepared(s string) string {
	if isASCII([]byte(s)) && !bytes.ContainsRune([]byte(s), 0) {
		return s
	}
	return norm.NFKC.String(s)
}
