package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/host"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/ops/dkim"
)

type dkimCmd struct {
	List    dkimListCmd    `cmd:"" help:"List the keys that sign what users send."`
	Add     dkimAddCmd     `cmd:"" help:"Make the first keys of a domain, and print what to publish."`
	Import  dkimImportCmd  `cmd:"" help:"Take over a key that another program signed with, and print what to publish."`
	Rotate  dkimRotateCmd  `cmd:"" help:"Make new keys of a domain; the old ones sign until the new ones are published."`
	Records dkimRecordsCmd `cmd:"" help:"Print the records to publish."`
	Check   dkimCheckCmd   `cmd:"" help:"Ask the DNS whether the keys are published; those that are sign from now on."`
	Retire  dkimRetireCmd  `cmd:"" help:"Remove a key that signs no more."`
}

// keys opens the keys of a host. The host need not run, and may.
func (w where) keys() (*dkim.Store, error) {
	cfg, err := w.load()
	if err != nil {
		return nil, err
	}
	return dkim.Open(dkim.Options{Dir: cfg.DirPath(cfg.DKIM.Dir), Own: host.GiveFile(cfg)})
}

// keyDomain is a domain on the command line; "" stands for all.
func keyDomain(s string) (message.Domain, error) {
	if s == "" {
		return "", nil
	}
	d, err := message.ParseDomain(s)
	if err != nil {
		return "", usageError{err}
	}
	return d, nil
}

type dkimListCmd struct {
	where
	table
	Domain string `arg:"" optional:"" help:"Such as example.org; all if it is left out."`
}

func (d *dkimListCmd) Help() string {
	return "A key is waiting until its record was found in the DNS, then signing, then replaced by a newer one, and in the end retired. A replaced key must stay published until KEEP UNTIL, since mail that it has signed may be under way.\n\nExamples:\n  breakwater dkim list\n  breakwater dkim list example.org --json"
}

func (d *dkimListCmd) Run(c console) error {
	domain, err := keyDomain(d.Domain)
	if err != nil {
		return err
	}
	keys, err := d.keys()
	if err != nil {
		return err
	}
	list := keys.List(domain)
	if list == nil {
		list = []dkim.Key{}
	}
	rows := make([][]string, len(list))
	for i, k := range list {
		rows[i] = []string{string(k.Domain), k.Selector, k.Algorithm, string(k.State), stamp(k.Made), stampOrNone(k.Seen), stampOrNone(k.KeepUntil)}
	}
	return d.print(c, list, "DOMAIN\tSELECTOR\tALGORITHM\tSTATE\tMADE\tSEEN\tKEEP UNTIL", rows)
}

// stampOrNone is a time as tables show it, if there is one.
func stampOrNone(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return stamp(t)
}

type dkimAddCmd struct {
	where
	Domain string `arg:"" help:"Such as example.org."`
	Force  bool   `help:"Sign at once, whether or not the records are published."`
}

func (d *dkimAddCmd) Help() string {
	return "Makes an RSA key of 2,048 bits and an Ed25519 key. Publish the records that are printed; a running host finds them within minutes and signs from then on.\n\nExample: breakwater dkim add example.org"
}

func (d *dkimAddCmd) Run(c console) error {
	return makeKeys(c, d.where, d.Domain, d.Force, (*dkim.Store).Add)
}

type dkimImportCmd struct {
	where
	Domain   string `arg:"" help:"Such as example.org."`
	Selector string `arg:"" help:"Where its record is: the mail of mail._domainkey.example.org."`
	File     string `arg:"" help:"The private key: PEM, PKCS #1 or PKCS #8, as opendkim and rspamd keep it."`
	Force    bool   `help:"Sign at once, whether or not the record is published."`
}

func (d *dkimImportCmd) Help() string {
	return "The key is copied; the file stays as it is. If the record is published already a running host finds it within minutes and signs with the key from then on, in the place of older ones of its kind.\n\nRSA keys have 1,024 to 4,096 bits; Ed25519 keys have one length.\n\nExamples:\n  breakwater dkim import example.org mail /etc/opendkim/keys/example.org/mail.private\n  breakwater dkim import example.org dkim /var/lib/rspamd/dkim/example.org.dkim.key"
}

func (d *dkimImportCmd) Run(c console) error {
	domain, err := keyDomain(d.Domain)
	if err != nil {
		return err
	}
	keys, err := d.keys()
	if err != nil {
		return err
	}
	key, err := keys.Import(domain, d.Selector, d.File)
	if err != nil {
		return err
	}
	if d.Force {
		if _, err := keys.Force(domain, key.Selector); err != nil {
			return err
		}
	}
	if err := printRecords(c, keys, domain, key.Name(), false); err != nil {
		return err
	}
	if key.Short() {
		fmt.Fprintf(c.err, "Its key is %s: some verifiers no longer believe keys of fewer than 2,048 bits. Replace it soon by `breakwater dkim rotate %s`.\n", key.Algorithm, domain)
	}
	if d.Force {
		fmt.Fprintln(c.err, "The key signs as soon as the running host has read it, within a minute: this record must be published.")
	} else {
		fmt.Fprintln(c.err, "This record must be published, and may be already. The key signs once it is found in the DNS.")
	}
	return nil
}

type dkimRotateCmd struct {
	where
	Domain string `arg:"" help:"Such as example.org."`
	Force  bool   `help:"Sign with the new keys at once, whether or not their records are published. If there are new keys already, none are made."`
}

func (d *dkimRotateCmd) Help() string {
	return "The new keys sign once a running host, or `breakwater dkim check`, has found their records. The old ones stay published for two weeks after that; then see `breakwater dkim retire`.\n\nExamples:\n  breakwater dkim rotate example.org\n  breakwater dkim rotate example.org --force"
}

func (d *dkimRotateCmd) Run(c console) error {
	return makeKeys(c, d.where, d.Domain, d.Force, func(s *dkim.Store, domain message.Domain) ([]dkim.Key, error) {
		if d.Force && waits(s.List(domain)) {
			return nil, nil // they are forced
		}
		return s.Rotate(domain)
	})
}

func waits(keys []dkim.Key) bool {
	for _, k := range keys {
		if k.State == dkim.Waiting {
			return true
		}
	}
	return false
}

// makeKeys makes keys of a domain and prints what to publish.
func makeKeys(c console, w where, name string, force bool, fn func(*dkim.Store, message.Domain) ([]dkim.Key, error)) error {
	domain, err := keyDomain(name)
	if err != nil {
		return err
	}
	keys, err := w.keys()
	if err != nil {
		return err
	}
	if _, err := fn(keys, domain); err != nil {
		return err
	}
	if force {
		if _, err := keys.Force(domain); err != nil {
			return err
		}
	}
	if err := printRecords(c, keys, domain, "", false); err != nil {
		return err
	}
	if force {
		fmt.Fprintln(c.err, "The new keys sign as soon as the running host has read them, within a minute: publish their records at once.")
	} else {
		fmt.Fprintln(c.err, "Publish these records. The new keys sign once they are found in the DNS.")
	}
	return nil
}

type dkimRecordsCmd struct {
	where
	JSON   bool   `help:"Print JSON."`
	Domain string `arg:"" optional:"" help:"Such as example.org; all if it is left out."`
}

func (d *dkimRecordsCmd) Help() string {
	return "The records are as a zone file has them. In the form of a provider's web page, put the strings of one record together without a space between them.\n\nExample: breakwater dkim records example.org"
}

func (d *dkimRecordsCmd) Run(c console) error {
	domain, err := keyDomain(d.Domain)
	if err != nil {
		return err
	}
	keys, err := d.keys()
	if err != nil {
		return err
	}
	return printRecords(c, keys, domain, "", d.JSON)
}

// printRecords prints the records of a domain, or one of them by its name.
func printRecords(c console, keys *dkim.Store, domain message.Domain, name string, asJSON bool) error {
	records, err := keys.Records(domain)
	if err != nil {
		return err
	}
	if name != "" {
		records = slices.DeleteFunc(records, func(r dkim.Record) bool { return r.Name != name })
	}
	if asJSON {
		if records == nil {
			records = []dkim.Record{}
		}
		return printJSON(c, records)
	}
	for _, r := range records {
		fmt.Fprintln(c.out, r)
	}
	return nil
}

type dkimCheckCmd struct {
	where
	table
	DNS    string `name:"dns" help:"Name server to ask (default: those of /etc/resolv.conf)." placeholder:"IP[:PORT]"`
	Domain string `arg:"" optional:"" help:"Such as example.org; all if it is left out."`
}

func (d *dkimCheckCmd) Help() string {
	return "Ends with status 1 if a key is not published as it must be.\n\nExamples:\n  breakwater dkim check\n  breakwater dkim check example.org --dns 192.0.2.53"
}

func (d *dkimCheckCmd) Run(c console) error {
	domain, err := keyDomain(d.Domain)
	if err != nil {
		return err
	}
	keys, err := d.keys()
	if err != nil {
		return err
	}
	client, err := resolver(d.DNS, sys.RealClock())
	if err != nil {
		return err
	}
	defer client.Close()
	found, err := keys.Check(c.ctx, client, domain)
	if err != nil {
		return err
	}
	if found == nil {
		found = []dkim.Finding{}
	}
	rows, bad := make([][]string, len(found)), 0
	for i, f := range found {
		says := "published"
		if !f.Published {
			says = printable(f.Problem)
			bad++
		}
		rows[i] = []string{f.Name(), f.Algorithm, string(f.State), says}
	}
	if err := d.print(c, found, "RECORD\tALGORITHM\tSTATE\tDNS", rows); err != nil {
		return err
	}
	if len(found) == 0 && domain != "" {
		return fmt.Errorf("%s has no keys, so its mail is not signed; `breakwater dkim add %s` makes some", domain, domain)
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d keys are not published as they must be", bad, len(found))
	}
	return nil
}

// resolver asks a name server that was named, or those of the system.
func resolver(server string, clock sys.Clock) (*dns.Client, error) {
	servers := dns.SystemServers(sys.OSFS())
	if server != "" {
		addr, err := parseServer(server)
		if err != nil {
			return nil, usageError{fmt.Errorf("--dns: %w", err)}
		}
		servers = servers[:0:0]
		servers = append(servers, addr)
	}
	client, err := dns.New(dns.Options{Servers: servers, Clock: clock})
	if err != nil {
		return nil, fmt.Errorf("open resolver: %w", err)
	}
	return client, nil
}

type dkimRetireCmd struct {
	where
	Domain   string `arg:"" help:"Such as example.org."`
	Selector string `arg:"" help:"Such as r20261122; see breakwater dkim list."`
	Force    bool   `help:"Even if it signs, or mail that it has signed may be under way."`
}

func (d *dkimRetireCmd) Help() string {
	return "Its file is removed; take its record out of the DNS then.\n\nExample: breakwater dkim retire example.org r20261122"
}

func (d *dkimRetireCmd) Run(c console) error {
	domain, err := keyDomain(d.Domain)
	if err != nil {
		return err
	}
	keys, err := d.keys()
	if err != nil {
		return err
	}
	if err := keys.Retire(domain, d.Selector, d.Force); err != nil {
		return err
	}
	fmt.Fprintf(c.out, "%s is gone. Take the record %s._domainkey.%s out of the DNS.\n", d.Selector, d.Selector, domain)
	return nil
}
