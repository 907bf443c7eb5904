package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/breakwater-mail/breakwater/internal/host"
)

func TestDiagnoseRoute(t *testing.T) {
	server := serveDNS(t, `example.test. 60 MX 10 mail.example.test.
mail.example.test. 60 A 203.0.113.9
null.test. 60 MX 0 .`)
	config := filepath.Join(t.TempDir(), "breakwater.toml")
	ask := func(to, delivery string) host.Plan {
		t.Helper()
		text := "hostname = \"mail.example.com\"\ndir = \"" + filepath.Dir(config) + "\"\n[delivery]\n" + delivery
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var out, errs bytes.Buffer
		var p host.Plan
		if status := run(console{t.Context(), nil, &out, &errs}, []string{"diagnose", "route", to, "--config", config, "--dns", server}); status != 0 {
			t.Fatalf("%s: status %d: %s", to, status, errs.String())
		}
		if err := json.Unmarshal(out.Bytes(), &p); err != nil {
			t.Fatalf("%s: %v in %s", to, err, out.String())
		}
		return p
	}
	p := ask("one@example.test", `allow_networks = ["203.0.113.0/24"]`)
	if len(p.Hosts) != 1 || p.Hosts[0].Host != "mail.example.test" || len(p.Hosts[0].Addresses) != 1 || p.Hosts[0].TLS != "opportunistic" || p.Problem != "" {
		t.Errorf("MX host: %+v", p)
	}
	if p := ask("example.test", ""); p.Problem == "" || p.Hosts[0].Problem == "" {
		t.Errorf("an address of the documentation: %+v", p)
	}
	if p := ask("null.test", ""); !p.Final || p.Problem == "" {
		t.Errorf("null MX: %+v", p)
	}
	if p := ask("one@example.test", `routes = ["example.test smtp://127.0.0.1:2525 tls=require"]`+"\nhold = true"); p.NextHop != "smtp://127.0.0.1:2525" || !p.Hosts[0].Required || p.Held != "" {
		t.Errorf("route: %+v", p)
	}
	if p := ask("one@example.test", "hold = true"); p.Held == "" {
		t.Errorf("held: %+v", p)
	}
}

func TestDiagnoseRoute_strangeInput(t *testing.T) {
	for _, args := range [][]string{{"two words"}, {"one@"}, {"example.org", "--dns", "nowhere"}, {}} {
		var out, errs bytes.Buffer
		if status := run(console{t.Context(), nil, &out, &errs}, append([]string{"diagnose", "route", "--dir", t.TempDir()}, args...)); status == 0 || errs.Len() == 0 {
			t.Errorf("%v: status %d, %q", args, status, errs.String())
		}
	}
}
