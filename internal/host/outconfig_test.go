package host

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestQueueConfig_warn: 0 is never, as its documentation says, and not the
// queue's default.
func TestQueueConfig_warn(t *testing.T) {
	for warn, want := range map[Duration]time.Duration{0: -1, Duration(time.Hour): time.Hour} {
		if got := (&QueueConfig{Warn: warn}).warn(); got != want {
			t.Errorf("%s: got %s", warn, got)
		}
	}
}

// TestSubmissionConfig_networks: what cannot work is told by its key.
func TestSubmissionConfig_networks(t *testing.T) {
	for value, want := range map[string]string{
		"exempt_networks = [\"192.0.2.0/24\", \"2001:db8::1\"]": "",
		"exempt_networks = [\"office\"]":                        "submission.exempt_networks: \"office\" is no network",
		"network_recipients_per_hour = 0":                       "",
		"network_recipients_per_hour = -1":                      "submission.network_recipients_per_hour: -1 is out of bounds",
		"network_recipients_per_day = -1":                       "submission.network_recipients_per_day: -1 is out of bounds",
	} {
		path := filepath.Join(t.TempDir(), "breakwater.toml")
		if err := os.WriteFile(path, []byte("hostname = \"mail.demo.test\"\n[submission]\n"+value+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Load(path)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", value, err)
		}
	}
}

// TestPlan_local: nobody is asked, and nothing is held, of mail that stays here.
func TestPlan_local(t *testing.T) {
	c := Default()
	c.DNS.Enabled, c.Delivery.Hold = false, true
	p, err := c.plan(t.Context(), "demo.test", true)
	if err != nil || !p.Local || p.Held != "" || p.Problem != "" || p.Hosts == nil {
		t.Errorf("%+v, %v", p, err)
	}
	if p, err = c.plan(t.Context(), "example.org", false); err != nil || p.Local || p.Held == "" || p.Problem == "" {
		t.Errorf("another's: %+v, %v", p, err)
	}
	c.Delivery.Routes = []string{"demo.test lmtp:///run/lmtp"}
	if p, err = c.plan(t.Context(), "demo.test", true); err != nil || p.NextHop != "lmtp:///run/lmtp" {
		t.Errorf("routed: %+v, %v", p, err)
	}
}

// TestQueueAlarm: a queue is nearly full before it is long, if it may not be long.
func TestQueueAlarm(t *testing.T) {
	c := Default()
	if got := c.queueAlarm(); got != c.Alarm.QueueSize {
		t.Errorf("got %d by default", got)
	}
	if c.Queue.MaxRecipients = 1000; c.queueAlarm() != 900 {
		t.Errorf("got %d of 1000", c.queueAlarm())
	}
}

func TestNextHop_isOneDestinationHoweverWritten(t *testing.T) {
	for in, want := range map[string]string{
		"relay.example:25": "smtp://relay.example:25", "SMTP://Relay.Example": "smtp://relay.example:25",
		"smtps://[::1]/": "smtps://[::1]:465", "lmtp:///run/lmtp": "lmtp:///run/lmtp",
	} {
		if got, err := NextHop(in); err != nil || got != want {
			t.Errorf("%s: got %q, %v; want %q", in, got, err, want)
		}
	}
	if got, err := NextHop("ftp://relay.example"); err == nil {
		t.Errorf("ftp: got %q, want an error", got)
	}
}
