package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/ops/admin"
	"github.com/breakwater-mail/breakwater/internal/ops/certs"
)

// ConfigName is the configuration's file name in a host's directory.
const ConfigName = "breakwater.toml"

// Init makes the configuration and a self-made certificate of a real host in
// dir. It refuses a directory that has a configuration already.
func Init(dir, hostname, user string) (Config, error) {
	c := Default()
	c.Hostname, c.User = hostname, user
	names := []string{hostname}
	if err := c.Validate(); err != nil {
		return c, err
	}
	return c, create(dir, &c, names)
}

// create writes a new host directory and sets c.Dir to it.
func create(dir string, c *Config, names []string) error {
	path := filepath.Join(dir, ConfigName)
	if _, err := os.Stat(path); err == nil {
		return fmt.Errorf("%s is there already; nothing was changed", path)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("look for a configuration: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	if err := selfMade(dir, c, names); err != nil {
		return err
	}
	var b strings.Builder
	if err := c.WriteTOML(&b); err != nil {
		return err
	}
	if err := sys.WriteFile(path, []byte(b.String()), 0o644); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	loaded, err := Load(path)
	if err != nil {
		return err
	}
	*c = loaded
	return nil
}

// selfMade makes an authority and a certificate for names.
func selfMade(dir string, c *Config, names []string) error {
	_, err := certs.SelfMade(certs.Files{
		CA: filepath.Join(dir, "ca.pem"), CAKey: filepath.Join(dir, "tls", "ca-key.pem"),
		Cert: filepath.Join(dir, c.TLS.Certificate), Key: filepath.Join(dir, c.TLS.Key),
	}, names, time.Now())
	return err
}

// ensureCertificate makes a certificate for a host that has none and names
// none: STARTTLS of other hosts does not ask who made it.
func ensureCertificate(c Config, log *slog.Logger) error {
	if c.set["tls.certificate"] || c.set["tls.key"] {
		return nil
	}
	for _, name := range []string{c.TLS.Certificate, c.TLS.Key} {
		if _, err := os.Stat(c.DirPath(name)); !errors.Is(err, fs.ErrNotExist) {
			return nil // it is there, or certs.Open says what is wrong
		}
	}
	log.Warn("no certificate: a self-made one is made", telemetry.Path, c.DirPath(c.TLS.Certificate))
	if err := selfMade(c.Dir, &c, []string{c.Hostname}); err != nil {
		return err
	}
	return GiveToUser(c)
}

// FirstAccount makes the first domain and admin@domain in a new host's store.
// An empty domain is the hostname without its first label. It returns the
// account's address.
func FirstAccount(ctx context.Context, c Config, domain, password string) (message.Address, error) {
	if domain == "" {
		domain = parentDomain(c.Hostname)
	}
	d, err := message.ParseDomain(domain)
	if err != nil {
		return message.Address{}, fmt.Errorf("domain: %w", err)
	}
	first := message.Address{Local: "admin", Domain: d}
	s, err := OpenStore(ctx, c, StoreOptions{})
	if err != nil {
		return first, err
	}
	x := s.Admin()
	for _, q := range []admin.Request{
		{Op: admin.DomainAdd, Domain: string(d)},
		{Op: admin.AccountAdd, Address: first.String(), Password: password, Admin: true},
	} {
		if a := x.Do(ctx, q); a.Error != "" {
			return first, errors.Join(fmt.Errorf("%s: %s", q.Op, a.Error), s.Close())
		}
	}
	return first, s.Close()
}

// parentDomain returns what is behind the first label, or the name itself
// where that would be a top-level domain.
func parentDomain(hostname string) string {
	_, parent, _ := strings.Cut(hostname, ".")
	if !strings.Contains(parent, ".") {
		return hostname
	}
	return parent
}

// WriteNextSteps prints the DNS records that a new host needs and what to do
// next.
func WriteNextSteps(w io.Writer, c Config, first message.Address) error {
	host, domain := c.Hostname, string(first.Domain)
	own := "" // the host's own record, where it has another name than the domain
	if host != domain {
		own = fmt.Sprintf("  %s.  TXT    \"v=spf1 a -all\"            (it sends reports, and what is forwarded)\n", host)
	}
	_, err := fmt.Fprintf(w, `Made %[1]s, a self-made certificate and the account %[2]s.

DNS records to publish, with this machine's own addresses for A, AAAA and PTR:

  %[3]s.  A      <IPv4 address>
  %[3]s.  AAAA   <IPv6 address, if it has one>
  <address>  PTR    %[3]s.          (at your provider: many hosts refuse mail without it)
  %[4]s.  MX     10 %[3]s.
  %[4]s.  TXT    "v=spf1 mx -all"
%[6]s  _dmarc.%[4]s.  TXT  "v=DMARC1; p=quarantine; rua=mailto:postmaster@%[4]s"
  _smtp._tls.%[4]s.  TXT  "v=TLSRPTv1; rua=mailto:postmaster@%[4]s"
  _imaps._tcp.%[4]s.        SRV  0 1 993 %[3]s.
  _submissions._tcp.%[4]s.  SRV  0 1 465 %[3]s.
  _pop3s._tcp.%[4]s.        SRV  10 1 995 %[3]s.

Next:

  breakwater dkim add %[4]s --config %[1]s
                                      make keys that sign what is sent; prints two more records to publish
  breakwater check --config %[1]s     what is still wrong, and how to mend it
  breakwater serve --config %[1]s     run it

Mail to other hosts leaves by port 25: let this machine connect to it anywhere. Where the provider
does not allow that, name a relay of his in [delivery] (relay, relay_user, relay_password_file).
In [alarm] say who is told when something is wrong.

Mail programs do not know the self-made authority (%[5]s). Put a certificate for %[3]s
into [tls] before you let people in.
`, c.Path(), first, host, domain, c.DirPath("ca.pem"), own)
	return err
}
