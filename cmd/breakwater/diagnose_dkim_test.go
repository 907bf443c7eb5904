package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/host"
	"github.com/breakwater-mail/breakwater/internal/mail/mailauth"
	"github.com/breakwater-mail/breakwater/internal/ops/dkim"
)

// TestDKIM goes the way of an operator: make keys, publish them, check, sign,
// and verify what was signed.
func TestDKIM(t *testing.T) {
	dir := t.TempDir()
	command := func(stdin string, want int, args ...string) string {
		t.Helper()
		var out, errs bytes.Buffer
		if got := run(console{t.Context(), strings.NewReader(stdin), &out, &errs}, args); got != want {
			t.Fatalf("%q: got status %d, want %d: %s", args, got, want, &errs)
		}
		return out.String()
	}
	command("", 0, "init", "mail.example.org", "--dir", dir, "--generate")
	zone := command("", 0, "dkim", "add", "example.org", "--dir", dir)
	none := serveDNS(t, `other.test. 60 TXT "x"`)
	if got := command("", 1, "dkim", "check", "--dir", dir, "--dns", none); strings.Count(got, "there is no such record") != 2 || strings.Contains(got, "signing") {
		t.Errorf("got %s", got)
	}
	server := serveDNS(t, strings.TrimSpace(zone))
	if got := command("", 0, "dkim", "check", "--dir", dir, "--dns", server); strings.Count(got, "published") != 2 || strings.Count(got, "signing") != 2 {
		t.Errorf("got %s", got)
	}

	cfg, err := host.Load(dir + "/breakwater.toml")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := dkim.Open(dkim.Options{Dir: cfg.DirPath(cfg.DKIM.Dir)})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	const header, body = "From: one@example.org\r\nSubject: x\r\n", "Hello\r\n"
	h := mailauth.NewBodyHash()
	h.Write([]byte(body))
	fields, err := mailauth.SignDKIM(keys.Active("example.org", now), []byte(header), h, now, sys.Rand())
	if err != nil {
		t.Fatal(err)
	}
	msg := fields + header + "\r\n" + body
	for name, c := range map[string]struct {
		msg, server string
		want        mailauth.DKIMOutcome
		problem     string
	}{
		"signed":        {msg, server, mailauth.DKIMPass, ""},
		"LF":            {strings.ReplaceAll(msg, "\r\n", "\n"), server, mailauth.DKIMPass, ""},
		"changed":       {msg + "PS\r\n", server, mailauth.DKIMFail, "the body was changed"},
		"not published": {msg, none, mailauth.DKIMPermError, "no key at"},
	} {
		var got dkimReport
		if err := json.Unmarshal([]byte(command(c.msg, 0, "diagnose", "dkim", "--dns", c.server)), &got); err != nil {
			t.Fatal(err)
		}
		if len(got.Signatures) != 2 {
			t.Fatalf("%s: got %+v", name, got)
		}
		for _, s := range got.Signatures {
			if s.Outcome != c.want || !strings.Contains(s.Problem, c.problem) || s.Domain != "example.org" || len(s.Trace) == 0 {
				t.Errorf("%s: got %+v", name, s)
			}
		}
	}
	expired := strings.Replace(msg, " t=", " x=100; t=", 1)
	if got := command(expired, 0, "diagnose", "dkim", "--dns", server, "--now", "2026-11-22T12:00:00Z"); !strings.Contains(got, "x= is not after t=") {
		t.Errorf("got %s", got)
	}
}
