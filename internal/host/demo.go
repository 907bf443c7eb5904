package host

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"

	"github.com/breakwater-mail/breakwater/internal/ops/admin"
)

// The demo's domain and accounts (docs/architecture.md has the contract).
const demoDomain = "demo.test"

var demoAccounts = [...]string{"one@demo.test", "two@demo.test", "admin@demo.test"}

// InitDemo makes the configuration and certificates of a demo in dir: a whole
// host on loopback, on ports that need no privileges.
func InitDemo(dir string) error {
	c := Default()
	c.Hostname = "localhost"
	c.Ban.Kernel = "off"   // and leaves nothing behind in the kernel
	c.DNS.Enabled = false  // a demo asks nobody unless it is told whom
	c.Delivery.Hold = true // and sends nothing unless it is told where to
	c.Listen.SMTP = []string{"127.0.0.1:2525"}
	c.Listen.Submission = []string{"127.0.0.1:2587"}
	c.Listen.Submissions = []string{"127.0.0.1:2465"}
	c.Listen.IMAP = []string{"127.0.0.1:2143"}
	c.Listen.IMAPS = []string{"127.0.0.1:2993"}
	c.Listen.POP3 = []string{"127.0.0.1:2110"}
	c.Listen.POP3S = []string{"127.0.0.1:2995"}
	return create(dir, &c, []string{"localhost", "127.0.0.1", "::1", demoDomain})
}

// DemoAccounts says what PrepareDemo found or made.
type DemoAccounts struct {
	Fresh    bool   // made just now
	Password string // "" when it is an earlier run's
}

// PrepareDemo makes the demo's domain and accounts on the first run. On later
// runs it leaves them alone, but for a password that is given.
func PrepareDemo(ctx context.Context, s *Store, password string, makeUp func() string) (DemoAccounts, error) {
	x := s.Admin()
	list := x.Do(ctx, admin.Request{Op: admin.AccountList})
	if list.Error != "" {
		return DemoAccounts{}, fmt.Errorf("look for the demo's accounts: %s", list.Error)
	}
	d := DemoAccounts{Fresh: len(list.Accounts) == 0, Password: password}
	var requests []admin.Request
	switch {
	case d.Fresh:
		if d.Password == "" {
			d.Password = makeUp()
		}
		requests = append(requests, admin.Request{Op: admin.DomainAdd, Domain: demoDomain})
		for _, a := range demoAccounts {
			requests = append(requests, admin.Request{Op: admin.AccountAdd, Address: a, Password: d.Password, Admin: a == "admin@demo.test"})
		}
	case password != "":
		for _, a := range list.Accounts {
			// One that is held has to get another password than it has, which
			// is the operator's to do.
			if slices.Contains(demoAccounts[:], a.Address) && a.Held.IsZero() {
				requests = append(requests, admin.Request{Op: admin.AccountPassword, Address: a.Address, Password: password})
			}
		}
	}
	for _, q := range requests {
		if a := x.Do(ctx, q); a.Error != "" {
			return d, fmt.Errorf("%s %s%s: %s", q.Op, q.Domain, q.Address, a.Error)
		}
	}
	return d, nil
}

// WriteFirstSteps prints what a newcomer does next, as commands to paste.
func WriteFirstSteps(w io.Writer, c Config, b Bound, d DemoAccounts) error {
	password := d.Password
	shown := password
	if shown == "" {
		password, shown = "PASSWORD", "as printed by the first run (--password NEW changes it)"
	}
	port := func(service string) string {
		_, p, err := net.SplitHostPort(b.Addr(service))
		if err != nil {
			return "(off)"
		}
		return p
	}
	ca := c.DirPath("ca.pem")
	_, err := fmt.Fprintf(w, `
Breakwater is running on 127.0.0.1. Stop it with Ctrl-C; its mail stays in %[1]s.

  accounts      one@demo.test  two@demo.test  admin@demo.test
  password      %[2]s
  certificates  %[3]s (self-made authority)

  SMTP %[4]s   submission %[5]s (STARTTLS) %[6]s (TLS)   IMAP %[7]s (STARTTLS) %[8]s (TLS)
  POP3 %[9]s (STLS) %[10]s (TLS)   metrics and health http://%[11]s/metrics /health

Send a message (curl; or swaks):

  printf 'From: two@demo.test\r\nTo: one@demo.test\r\nSubject: Hello\r\n\r\nIt works.\r\n' |
    curl -sS smtp://127.0.0.1:%[4]s --mail-from two@demo.test --mail-rcpt one@demo.test -T -
  swaks --server 127.0.0.1:%[4]s --from two@demo.test --to one@demo.test

Read it:

  curl -sS --cacert %[3]s --user 'one@demo.test:%[12]s' 'imaps://localhost:%[8]s/INBOX;UID=1'

%[13]s
Ask what strangers on port 25 meet, and why:

  breakwater explain --dir %[1]s --ip 192.0.2.7 --helo mx.example.org --from a@example.org --rcpt one@demo.test
  breakwater top --dir %[1]s

In mutt:

  mutt -f imaps://one%%40demo.test@localhost:%[8]s/INBOX -e 'set ssl_ca_certificates_file=%[3]s smtp_url=smtps://one%%40demo.test@localhost:%[6]s/'

In Thunderbird: account one@demo.test, IMAP localhost port %[8]s SSL/TLS, SMTP localhost port %[6]s SSL/TLS,
user name one@demo.test, normal password; accept the certificate.

`, c.Dir, shown, ca, port("smtp"), port("submission"), port("submissions"), port("imap"), port("imaps"),
		port("pop3"), port("pop3s"), b.Addr("metrics"), password, awayStep(c, port("submissions"), ca, password))
	return err
}

// awayStep tells what becomes of mail for other hosts, and how to send some.
func awayStep(c Config, port, ca, password string) string {
	what := "goes to their own MX hosts:"
	switch {
	case c.Delivery.Relay != "":
		what = "goes to " + c.Delivery.Relay + ":"
	case c.Delivery.Hold, !c.DNS.Enabled:
		what = "is held, unless --relay HOST:PORT names a next hop; see it wait:"
	}
	return fmt.Sprintf(`Mail for other domains %[1]s

  printf 'From: one@demo.test\r\nTo: friend@example.org\r\nSubject: Hello\r\n\r\nIt leaves.\r\n' |
    curl -sS --cacert %[2]s smtps://localhost:%[3]s --user 'one@demo.test:%[4]s' --mail-from one@demo.test --mail-rcpt friend@example.org -T -
  breakwater queue list --dir %[5]s
  breakwater ledger --dir %[5]s
`, what, ca, port, password, c.Dir)
}
