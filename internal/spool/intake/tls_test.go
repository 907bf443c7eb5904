package intake

import (
	"testing"

	"github.com/breakwater-mail/breakwater/internal/store/account"
)

func TestTLSOptional(t *testing.T) {
	for _, c := range []struct {
		header string
		want   bool
	}{
		{"TLS-Required: No\r\n", true},
		{"Subject: x\r\ntls-required:\r\n\tno \r\nTo: y\r\n", true},
		{"TLS-Required: Yes\r\n", false},
		{"TLS-Required: No\r\nTLS-Required: Yes\r\n", false},
		{"TLS-Required: Yes\r\nTLS-Required: No\r\n", false},
		{"TLS-Required: No way\r\n", false},
		{"TLS-Required:\r\n", false},
		{"Subject: x\r\n\r\nTLS-Required: No\r\n", false},
		{"", false},
	} {
		if got := tlsOptional([]byte(c.header)); got != c.want {
			t.Errorf("%q: %t", c.header, got)
		}
	}
}

// TestBody_tlsOptional: the fact is noted with the message, whoever sends it on
// (RFC 8689 §4.1).
func TestBody_tlsOptional(t *testing.T) {
	r, _ := newOutgoing(t, Options{Submission: true}, "one", "away")
	must(t, r.accounts.SetForward(t.Context(), addr(t, "away@demo.test"), account.Forward{Targets: parse(t, "k@b.example")}))
	says := "TLS-Required: No\r\n" + subject("x")
	strict := r.from("one", "a@b.example")
	strict.RequireTLS = true
	for name, c := range map[string]struct {
		id   func() (string, error)
		want bool
	}{
		"a user":       {func() (string, error) { return r.send(r.from("one", "a@b.example"), says) }, true},
		"says nothing": {func() (string, error) { return r.send(r.from("one", "a@b.example"), subject("x")) }, false},
		"says both":    {func() (string, error) { return r.send(strict, says) }, false},
		"a stranger":   {func() (string, error) { return r.send(r.envelope("s@c.example", "away@demo.test"), says) }, true},
		"the host itself": {func() (string, error) {
			return r.Post(t.Context(), Post{To: parse(t, "a@b.example"), Body: []byte(says)})
		}, true},
	} {
		id, err := c.id()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if m, _ := r.message(id); m.TLSOptional != c.want {
			t.Errorf("%s: %t", name, m.TLSOptional)
		}
	}
}
