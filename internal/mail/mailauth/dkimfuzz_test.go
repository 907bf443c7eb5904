package mailauth

import (
	"bytes"
	"strings"
	"testing"
)

// FuzzSignature: what parses keeps its promises, and taking the value of b=
// out leaves the rest.
func FuzzSignature(f *testing.F) {
	f.Add("v=1; a=rsa-sha256; d=example.org; s=s1; h=from : to; bh=AA==; b=AA==")
	f.Add(" v=1; a=ed25519-sha256; c=relaxed; d=a.b; s=s; i=x@c.a.b; q=dns/txt; t=1; x=2; l=3; h=From; bh=AA==; b = A\r\n\tA == ;")
	f.Fuzz(func(t *testing.T, value string) {
		s, err := parseSignature(value)
		if err != nil {
			if msg := strings.ReplaceAll(err.Error(), "…", ""); len(msg) > 300 || printable(msg) != msg {
				t.Errorf("got error %q", err)
			}
			return
		}
		if s.domain == "" || s.selector == "" || !within(s.identityDomain, s.domain) || len(s.names) == 0 || len(s.sig) == 0 {
			t.Errorf("%q: got %+v", value, s)
		}
		raw := []byte("DKIM-Signature:" + value)
		empty := withoutSignature(raw)
		if len(empty) >= len(raw) || !bytes.Equal(withoutSignature(empty), empty) {
			t.Errorf("%q: without its signature %q", raw, empty)
		}
		list, _, err := parseTags(string(empty[len("DKIM-Signature:"):]))
		if err != nil || list["b"] != "" {
			t.Errorf("%q: got b=%q, %v", empty, list["b"], err)
		}
	})
}

func FuzzKeyRecord(f *testing.F) {
	f.Add("v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=")
	for _, records := range rfcZone() {
		f.Add(records[0].Value)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parseKeyRecord(text)
		if err != nil {
			if msg := strings.ReplaceAll(err.Error(), "…", ""); len(msg) > 300 || printable(msg) != msg {
				t.Errorf("got error %q", err)
			}
			return
		}
		if r.revoked != (r.key == nil) {
			t.Errorf("%q: got %+v", text, r)
		}
		if r.key != nil && r.verify(make([]byte, 32), make([]byte, 64)) == nil {
			t.Errorf("%q: an empty signature is good", text)
		}
	})
}

// FuzzVerifyDKIM: any message and any record give results that keep their
// promises, and none passes without a key.
func FuzzVerifyDKIM(f *testing.F) {
	f.Add(lines(rfc8463), "v=DKIM1; p=")
	f.Add(lines(rfc6376), "k=rsa; p=AAAA")
	f.Add("DKIM-Signature: v=1; a=rsa-sha256; d=a.b; s=s; l=0; h=from:from; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AA==\n\nx", "p=AAAA")
	f.Fuzz(func(t *testing.T, msg, record string) {
		z := rfcZone()
		for name := range z {
			z[name] = []rr{txt(record)}
		}
		z["s._domainkey.a.b"] = []rr{txt(record)}
		got := verify(t, z, msg, dkimNow)
		if len(got) > dkimSignaturesMax {
			t.Errorf("got %d results", len(got))
		}
		for _, g := range got {
			if g.Outcome == "" || (g.Problem == "") != (g.Outcome == DKIMPass) || len(g.Trace) == 0 || len(g.SignedHeader) > dkimShownOctetsMax {
				t.Errorf("got %+v", g)
			}
		}
	})
}
