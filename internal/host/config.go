package host

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// Config is the whole configuration: one TOML file, a section for each part.
// Every key has a default, so a file with only a hostname runs. The comments
// of docs/operations/config.md and of a new breakwater.toml are the doc tags
// below; a test compares them.
//
// Domains, accounts and aliases are not here: they live in the store.
type Config struct {
	Hostname string `toml:"hostname" doc:"The name this host greets with and puts into Received fields."`
	Dir      string `toml:"dir" doc:"Where everything is kept. A relative path is relative to the configuration file."`
	User     string `toml:"user" doc:"When started as root: the user to become once the ports are bound."`

	Listen   ListenConfig   `toml:"listen" doc:"The addresses to listen on, each \"host:port\". An empty list turns the service off."`
	TLS      TLSConfig      `toml:"tls" doc:"The certificate shown on every listener. Both files are read again on SIGHUP."`
	SMTP     SMTPConfig     `toml:"smtp" doc:"What port 25 and submission take."`
	DNS      DNSConfig      `toml:"dns" doc:"Who answers questions about names."`
	DNSBL    DNSBLConfig    `toml:"dnsbl" doc:"DNS lists of good and bad sources of mail."`
	Lobby    LobbyConfig    `toml:"lobby" doc:"Where strangers on port 25 are held until something is known of them."`
	Policy   PolicyConfig   `toml:"policy" doc:"What decides about strangers on port 25."`
	Ban      BanConfig      `toml:"ban" doc:"Sources that come back after a refusal, or guess passwords."`
	Greylist GreylistConfig `toml:"greylist" doc:"Senders with a middling score have to come back once."`
	Relay    RelayConfig    `toml:"relay" doc:"Edge mode: this host in front of another SMTP server."`

	Submission SubmissionConfig `toml:"submission" doc:"What the users of this host may send."`
	Queue      QueueConfig      `toml:"queue" doc:"Mail for other hosts: when it is tried again, when it is given up."`
	Delivery   DeliveryConfig   `toml:"delivery" doc:"How mail for other hosts leaves."`
	DKIM       DKIMConfig       `toml:"dkim" doc:"Signatures of what is sent."`
	SRS        SRSConfig        `toml:"srs" doc:"Senders of forwarded mail."`
	Ledger     LedgerConfig     `toml:"ledger" doc:"What became of every message."`
	Alarm      AlarmConfig      `toml:"alarm" doc:"Who is told when something is wrong, by roads that do not lead through the queue."`
	TLSReport  TLSReportConfig  `toml:"tlsrpt" doc:"Reports on TLS between hosts."`

	IMAP    IMAPConfig    `toml:"imap" doc:"Reading mail by IMAP."`
	Journal JournalConfig `toml:"journal" doc:"The log that every accepted message and every change is written to before it is acknowledged."`
	Mailbox MailboxConfig `toml:"mailbox" doc:"What mailboxes keep, and how long."`
	Log     LogConfig     `toml:"log" doc:"What is written to standard error."`

	path string // of the file that it was read from; "" for the defaults alone
	set  map[string]bool
}

// ListenConfig has the addresses of every service.
type ListenConfig struct {
	SMTP        []string `toml:"smtp" doc:"SMTP from other hosts (port 25)."`
	Submission  []string `toml:"submission" doc:"Submission with STARTTLS (port 587)."`
	Submissions []string `toml:"submissions" doc:"Submission over TLS (port 465)."`
	IMAP        []string `toml:"imap" doc:"IMAP with STARTTLS (port 143)."`
	IMAPS       []string `toml:"imaps" doc:"IMAP over TLS (port 993)."`
	POP3        []string `toml:"pop3" doc:"POP3 with STLS (port 110)."`
	POP3S       []string `toml:"pop3s" doc:"POP3 over TLS (port 995)."`
	Metrics     []string `toml:"metrics" doc:"Metrics (/metrics) and health (/health) by HTTP. Keep it on loopback: it asks for no password."`

	ProxyFrom     []string `toml:"proxy_from" doc:"Networks whose connections must begin with a PROXY protocol header, such as \"10.0.0.0/8\"."`
	MaxConns      int      `toml:"max_connections" doc:"Open connections, for each listener."`
	MaxPerNetwork int      `toml:"max_per_network" doc:"Open connections from one network (IPv4 /24, IPv6 /64), for each listener. Loopback is not counted."`
}

// TLSConfig names the certificate.
type TLSConfig struct {
	Certificate string `toml:"certificate" doc:"Certificate chain, PEM. A relative path is relative to dir."`
	Key         string `toml:"key" doc:"Private key of the certificate, PEM."`
}

// SMTPConfig has the limits of receiving.
type SMTPConfig struct {
	MessageSize   Size `toml:"message_size" doc:"Largest message."`
	MaxRecipients int  `toml:"max_recipients" doc:"Recipients of one message. RFC 5321 asks for 100 at least."`
}

// IMAPConfig has the limits of IMAP.
type IMAPConfig struct {
	MaxPerUser int `toml:"max_per_user" doc:"Sessions of one account at a time."`
}

// JournalConfig has the journal's sizes.
type JournalConfig struct {
	SegmentSize Size `toml:"segment_size" doc:"Size at which a new segment file is begun."`
}

// MailboxConfig has what mailboxes keep.
type MailboxConfig struct {
	Retention Duration `toml:"retention" doc:"How long an expunged message stays recoverable before compaction may drop it."`
	Quota     Size     `toml:"quota" doc:"Quota of a new account; 0 is none."`
}

// LogConfig has the form of the log.
type LogConfig struct {
	Level  string `toml:"level" doc:"debug, info, warn or error. debug holds the dialogues, never bodies or passwords."`
	Format string `toml:"format" doc:"text or json."`
}

// Default returns the configuration of a real host: the standard ports on
// every address.
func Default() Config {
	c := Config{
		Dir: ".",
		Listen: ListenConfig{
			SMTP: []string{":25"}, Submission: []string{":587"}, Submissions: []string{":465"},
			IMAP: []string{":143"}, IMAPS: []string{":993"}, POP3: []string{":110"}, POP3S: []string{":995"},
			Metrics:  []string{"127.0.0.1:9925"},
			MaxConns: 10000, MaxPerNetwork: 1000,
		},
		TLS:     TLSConfig{Certificate: "tls/cert.pem", Key: "tls/key.pem"},
		SMTP:    SMTPConfig{MessageSize: 50 << 20, MaxRecipients: 1000},
		IMAP:    IMAPConfig{MaxPerUser: 100},
		Journal: JournalConfig{SegmentSize: 256 << 20},
		Mailbox: MailboxConfig{Retention: Duration(14 * 24 * 3600e9)},
		Log:     LogConfig{Level: "info", Format: "text"},
	}
	edgeDefaults(&c)
	outDefaults(&c)
	return c
}

// Load reads a configuration file over the defaults and validates it. A key
// that does not exist is an error that says where it stands and what was
// probably meant.
func Load(path string) (Config, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	c := Default()
	if err := decodeStrict(b, &c); err != nil {
		return Config{}, fmt.Errorf("%s:%w", path, err)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	c.path = abs
	if !filepath.IsAbs(c.Dir) {
		c.Dir = filepath.Join(filepath.Dir(abs), c.Dir)
	}
	if c.set, err = keysSet(b); err != nil {
		return Config{}, err
	}
	if c.Relay.To != "" {
		c.edgeMode()
	}
	if err := c.Validate(); err != nil {
		return Config{}, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// decodeStrict decodes b; its errors begin with the line number.
func decodeStrict(b []byte, c *Config) error {
	d := toml.NewDecoder(bytes.NewReader(b)).DisallowUnknownFields()
	err := d.Decode(c)
	var strict *toml.StrictMissingError
	if errors.As(err, &strict) && len(strict.Errors) > 0 {
		first := strict.Errors[0]
		row, _ := first.Position()
		key := strings.Join(first.Key(), ".")
		return fmt.Errorf("%d: unknown key %q%s", row, key, suggestion(key))
	}
	var decode *toml.DecodeError
	if errors.As(err, &decode) {
		row, _ := decode.Position()
		return fmt.Errorf("%d: %s: %s", row, strings.Join(decode.Key(), "."), strings.TrimPrefix(decode.Error(), "toml: "))
	}
	if err != nil {
		return fmt.Errorf(" %w", err)
	}
	return nil
}

// Validate reports the first thing that cannot work, by its key.
func (c *Config) Validate() error {
	if c.Hostname == "" {
		return errors.New(`hostname: missing; write hostname = "mail.example.org"`)
	}
	if _, err := message.ParseDomain(c.Hostname); err != nil {
		return fmt.Errorf("hostname: %w", err)
	}
	for _, l := range c.Listen.all() {
		for _, a := range l.addrs {
			if _, _, err := net.SplitHostPort(a); err != nil {
				return fmt.Errorf("listen.%s: %q is no address; write \"127.0.0.1:2525\" or \":25\"", l.name, a)
			}
		}
	}
	if _, err := c.proxyFrom(); err != nil {
		return fmt.Errorf("listen.proxy_from: %w", err)
	}
	for _, p := range []struct {
		key string
		n   int64
		min int64
	}{
		{"listen.max_connections", int64(c.Listen.MaxConns), 1},
		{"listen.max_per_network", int64(c.Listen.MaxPerNetwork), 1},
		{"smtp.message_size", int64(c.SMTP.MessageSize), 64 << 10},
		{"smtp.max_recipients", int64(c.SMTP.MaxRecipients), 100},
		{"imap.max_per_user", int64(c.IMAP.MaxPerUser), 1},
		{"journal.segment_size", int64(c.Journal.SegmentSize), 1 << 20},
	} {
		if p.n < p.min {
			return fmt.Errorf("%s: %d is too small; the least is %d", p.key, p.n, p.min)
		}
	}
	if _, err := c.Log.level(); err != nil {
		return err
	}
	if err := c.validateEdge(); err != nil {
		return err
	}
	if err := c.validateOut(); err != nil {
		return err
	}
	if c.Log.Format != "text" && c.Log.Format != "json" {
		return fmt.Errorf("log.format: %q is neither text nor json", c.Log.Format)
	}
	return nil
}

// namedAddrs are the addresses of one service.
type namedAddrs struct {
	name  string
	addrs []string
}

// all lists the services in the order in which they are bound.
func (l *ListenConfig) all() []namedAddrs {
	return []namedAddrs{
		{"metrics", l.Metrics}, {"smtp", l.SMTP}, {"submission", l.Submission}, {"submissions", l.Submissions},
		{"imap", l.IMAP}, {"imaps", l.IMAPS}, {"pop3", l.POP3}, {"pop3s", l.POP3S},
	}
}

// DirPath returns a path under the data directory; an absolute one as it is.
func (c *Config) DirPath(elem ...string) string {
	p := filepath.Join(elem...)
	if filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(c.Dir, p)
}

// Path returns the file that the configuration was read from, "" if none.
func (c *Config) Path() string { return c.path }
