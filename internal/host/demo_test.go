package host

import (
	"strings"
	"testing"

	"github.com/breakwater-mail/breakwater/internal/base/sim"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// TestWriteFirstSteps_awayMail: who tries a demo is told that nothing leaves it,
// where to see that, and how to let it.
func TestWriteFirstSteps_awayMail(t *testing.T) {
	c := Default()
	c.Dir, c.Delivery.Hold = "/d", true
	steps := func() string {
		var b strings.Builder
		if err := WriteFirstSteps(&b, c, Bound{{"submissions", "127.0.0.1:2465"}}, DemoAccounts{Password: "pw"}); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(b.String(), "%!") {
			t.Errorf("misprinted:\n%s", b.String())
		}
		return b.String()
	}
	for _, want := range []string{"Mail for other domains is held", "--relay HOST:PORT", "breakwater queue list --dir /d\n", "breakwater top --dir /d\n", "smtps://localhost:2465", "'one@demo.test:pw'"} {
		if got := steps(); !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if err := c.RelayTo("127.0.0.1:1025"); err != nil {
		t.Fatal(err)
	}
	if got := steps(); !strings.Contains(got, "Mail for other domains goes to smtp://127.0.0.1:1025:") || strings.Contains(got, "is held") {
		t.Errorf("with a relay:\n%s", got)
	}
}

// TestWriteNextSteps_sending: the records that other hosts judge our mail by.
func TestWriteNextSteps_sending(t *testing.T) {
	c := Default()
	c.Hostname, c.path = "mail.example.org", "/d/breakwater.toml"
	var b strings.Builder
	if err := WriteNextSteps(&b, c, message.Address{Local: "admin", Domain: "example.org"}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`example.org.  TXT    "v=spf1 mx -all"`, `mail.example.org.  TXT    "v=spf1 a -all"`, `_smtp._tls.example.org.  TXT  "v=TLSRPTv1; rua=mailto:`,
		"breakwater dkim add example.org --config /d/breakwater.toml", "port 25", "[alarm]",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "%!") {
		t.Errorf("misprinted:\n%s", b.String())
	}
	c.Hostname = "example.org" // two SPF records of one name are as good as none
	b.Reset()
	if err := WriteNextSteps(&b, c, message.Address{Local: "admin", Domain: "example.org"}); err != nil || strings.Count(b.String(), "v=spf1") != 1 {
		t.Errorf("%v\n%s", err, b.String())
	}
}

// TestPrepareDemo_held: a demo starts although an account is held that has the
// password already which the command line gives.
func TestPrepareDemo_held(t *testing.T) {
	c := simConfig()
	s, err := OpenStore(t.Context(), c, StoreOptions{FS: sim.NewDisk(0), MemoryIndex: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := PrepareDemo(t.Context(), s, "one password", nil); err != nil {
		t.Fatal(err)
	}
	a, err := s.Accounts.Get(t.Context(), message.Address{Local: "one", Domain: demoDomain})
	if err == nil {
		err = s.Accounts.Hold(t.Context(), a.ID, "133 recipients")
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := PrepareDemo(t.Context(), s, "one password", nil); err != nil {
		t.Error(err)
	}
	if a, err = s.Accounts.Get(t.Context(), a.Address); err != nil || !a.Hold.On() {
		t.Errorf("the hold has ended: %+v, %v", a, err)
	}
}
