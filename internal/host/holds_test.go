package host

import (
	"strings"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/account"
)

// TestHolds_text: whoever follows the notice of a hold line by line does not let
// go what a thief has queued.
func TestHolds_text(t *testing.T) {
	h := &holds{hostname: "mail.example.org"}
	at := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	a := account.Account{
		ID: 7, Address: message.Address{Local: "one", Domain: "example.org"},
		Hold: account.Hold{Since: at, Reason: "133 recipients in 6 minutes"},
	}
	text := string(h.text(a, []message.Address{{Local: "admin", Domain: "example.org"}}, at))
	last := -1
	for _, want := range []string{
		"\r\n\r\nSince 2026-11-22 08:00 UTC", a.Hold.Reason, "account password one@example.org", "queue list --account one@example.org",
		"queue fail --account one@example.org", "queue release --account one@example.org", "account release one@example.org",
	} {
		at := strings.Index(text, want)
		if at <= last {
			t.Errorf("%q is not where it belongs in\n%s", want, text)
		}
		last = at
	}
	if strings.Contains(text, "%!") || strings.Count(text, "\n") != strings.Count(text, "\r\n") {
		t.Errorf("misprinted:\n%q", text)
	}
}
