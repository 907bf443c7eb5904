package host

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/breakwater-mail/breakwater/internal/spool/delivery"
)

// SubmissionConfig has the rules for mail of our own users.
type SubmissionConfig struct {
	CheckFrom      bool     `toml:"check_from" doc:"The From and Sender fields, too, must be addresses that the account may send as; the envelope's sender always must."`
	PerHour        int      `toml:"recipients_per_hour" doc:"Recipients that an account may write to in an hour; an account's own limit overrides it."`
	PerDay         int      `toml:"recipients_per_day" doc:"The same for a day."`
	NetworkPerHour int      `toml:"network_recipients_per_hour" doc:"Recipients that all accounts together may write to in an hour from one network (IPv4 /24, IPv6 /48); 0: ten times recipients_per_hour."`
	NetworkPerDay  int      `toml:"network_recipients_per_day" doc:"The same for a day; 0: ten times recipients_per_day."`
	ExemptNetworks []string `toml:"exempt_networks" doc:"Networks that many users send from, such as an office or a webmail server: the two limits above do not apply there, nor is it suspicious when several accounts are new there. This host's loopback addresses are among them in any case."`
	HoldSudden     bool     `toml:"hold_sudden" doc:"Hold the outgoing mail of an account that behaves all of a sudden as if its password were stolen; its owner and the operators are told."`
}

// QueueConfig has the schedule of what is to be sent.
type QueueConfig struct {
	MaxRecipients int        `toml:"max_recipients" doc:"Recipients that may be waiting; beyond it mail for other hosts is answered 452. Each takes some 100 bytes of memory."`
	Retry         []Duration `toml:"retry" doc:"Waits between the attempts for a recipient; the last is repeated."`
	Expire        Duration   `toml:"expire" doc:"When a message that could not be delivered goes back to its sender."`
	Warn          Duration   `toml:"warn" doc:"When its sender is told that it is late; 0: never."`
}

// warn is Warn as the queue takes it, to whom 0 is its default.
func (q *QueueConfig) warn() time.Duration {
	if q.Warn == 0 {
		return -1
	}
	return q.Warn.Std()
}

// DeliveryConfig has how mail leaves.
type DeliveryConfig struct {
	Hold              bool     `toml:"hold" doc:"Hold all mail for other hosts instead of sending it; see breakwater queue."`
	Relay             string   `toml:"relay" doc:"Next hop for all mail to other hosts, such as \"smtp://relay.example.org:587\" or \"smtps://relay.example.org\". Empty: each domain's own MX hosts."`
	RelayUser         string   `toml:"relay_user" doc:"Login at the relay, under TLS only."`
	RelayPasswordFile string   `toml:"relay_password_file" doc:"File with the password for relay_user. A relative path is relative to dir."`
	Routes            []string `toml:"routes" doc:"Next hops of single domains, each \"DOMAIN URL\", such as \"example.org lmtp:///run/dovecot/lmtp\" or \".example.net smtp://10.0.0.7:25\" (a leading dot: all below it). tls=require or tls=no may follow. A domain that is also one of this host's (breakwater domain add) has its mailboxes there, but for those that are here."`
	AllowNetworks     []string `toml:"allow_networks" doc:"Private networks that an MX record may point into; others of them are refused. Routes and the relay may point anywhere."`
	SourceIPv4        string   `toml:"source_ipv4" doc:"Local address of outgoing IPv4 connections. Empty: the system's choice."`
	SourceIPv6        string   `toml:"source_ipv6" doc:"Local address of outgoing IPv6 connections; \"off\": no IPv6."`
	MaxConns          int      `toml:"max_connections" doc:"Outgoing connections in all."`
	MaxPerDestination int      `toml:"max_per_destination" doc:"Outgoing connections to one destination; it begins with few and grows while the destination answers well."`
	MTASTS            bool     `toml:"mta_sts" doc:"Heed the MTA-STS policies of other domains (RFC 8461)."`
	TrustAD           string   `toml:"trust_ad" doc:"Believe the resolver that an answer was validated by DNSSEC, which DANE needs: auto (from resolvers on loopback addresses), yes or no."`
}

// DKIMConfig has how what we send is signed.
type DKIMConfig struct {
	Dir  string `toml:"dir" doc:"Folder of the signing keys; see breakwater dkim."`
	Sign bool   `toml:"sign" doc:"Sign what users send with the keys of their domain."`
}

// SRSConfig has how forwarded mail gets its sender.
type SRSConfig struct {
	Domain string `toml:"domain" doc:"Domain of the senders of forwarded mail, so that SPF passes at the next hop; bounces come back there. Empty: hostname."`
}

// LedgerConfig has how long the books are kept.
type LedgerConfig struct {
	Keep  Duration `toml:"keep" doc:"How long it can be told what became of a message that has ended."`
	Audit Duration `toml:"audit" doc:"How often the books are audited."`
}

// AlarmConfig has whom alarms go to. None of these roads leads through the
// queue.
type AlarmConfig struct {
	Webhook           string   `toml:"webhook" doc:"URL that alarms are posted to as JSON."`
	WebhookSecretFile string   `toml:"webhook_secret_file" doc:"File with a secret that signs what is posted (HMAC-SHA256). A relative path is relative to dir."`
	Exec              []string `toml:"exec" doc:"Program and arguments to run; it gets the alarm as JSON on its standard input."`
	Syslog            string   `toml:"syslog" doc:"Where to send alarms by syslog (RFC 5424): \"unix:/dev/log\", \"udp:HOST:514\", \"tcp:HOST:601\" or \"tls:HOST:6514\"."`
	Repeat            Duration `toml:"repeat" doc:"How often an alarm that holds on is repeated."`
	QueueAge          Duration `toml:"queue_age" doc:"Alarm when the oldest message of the queue is older than this."`
	QueueSize         int      `toml:"queue_size" doc:"Alarm when more recipients than this are waiting."`
}

// TLSReportConfig has the daily reports on TLS.
type TLSReportConfig struct {
	Send bool   `toml:"send" doc:"Send a daily report to domains that ask for one (TLSRPT, RFC 8460)."`
	From string `toml:"from" doc:"Sender of the reports. Empty: tls-reports@ the hostname."`
	Read string `toml:"read" doc:"Address of ours that others' reports come to: they are read as they arrive; see breakwater tlsrpt. Empty: none."`
}

// outDefaults fills the sections of outgoing mail.
func outDefaults(c *Config) {
	minutes := func(ns ...int) (out []Duration) {
		for _, n := range ns {
			out = append(out, Duration(time.Duration(n)*time.Minute))
		}
		return out
	}
	c.Submission = SubmissionConfig{CheckFrom: true, PerHour: 500, PerDay: 2000, HoldSudden: true}
	c.Queue = QueueConfig{
		MaxRecipients: 2_000_000, Retry: minutes(5, 10, 20, 30, 60, 120, 180, 240),
		Expire: Duration(5 * 24 * time.Hour), Warn: Duration(4 * time.Hour),
	}
	c.Delivery = DeliveryConfig{MaxConns: 500, MaxPerDestination: 20, MTASTS: true, TrustAD: "auto"}
	c.DKIM = DKIMConfig{Dir: "dkim", Sign: true}
	c.Ledger = LedgerConfig{Keep: Duration(60 * 24 * time.Hour), Audit: Duration(15 * time.Minute)}
	c.Alarm = AlarmConfig{Repeat: Duration(6 * time.Hour), QueueAge: Duration(time.Hour), QueueSize: 10000}
	c.TLSReport = TLSReportConfig{Send: true}
}

// validateOut reports the first thing in the sections of outgoing mail that
// cannot work.
func (c *Config) validateOut() error {
	for _, p := range []struct {
		key      string
		n        int64
		min, max int64
	}{
		{"submission.recipients_per_hour", int64(c.Submission.PerHour), 1, 1 << 30},
		{"submission.recipients_per_day", int64(c.Submission.PerDay), 1, 1 << 30},
		{"submission.network_recipients_per_hour", int64(c.Submission.NetworkPerHour), 0, 1 << 30},
		{"submission.network_recipients_per_day", int64(c.Submission.NetworkPerDay), 0, 1 << 30},
		{"queue.max_recipients", int64(c.Queue.MaxRecipients), 1000, 50_000_000},
		{"delivery.max_connections", int64(c.Delivery.MaxConns), 1, 10000},
		{"delivery.max_per_destination", int64(c.Delivery.MaxPerDestination), 1, int64(c.Delivery.MaxConns)},
		{"alarm.queue_size", int64(c.Alarm.QueueSize), 1, 1 << 30},
	} {
		if p.n < p.min || p.n > p.max {
			return fmt.Errorf("%s: %d is out of bounds; from %d to %d", p.key, p.n, p.min, p.max)
		}
	}
	if err := c.validateSchedule(); err != nil {
		return err
	}
	if err := oneOf(c.Delivery.TrustAD, []string{"auto", "yes", "no"}); err != nil {
		return fmt.Errorf("delivery.trust_ad: %w", err)
	}
	if _, err := c.routes(); err != nil {
		return fmt.Errorf("delivery.routes: %w", err)
	}
	if c.Delivery.Relay != "" {
		hop, err := delivery.ParseHop(c.Delivery.Relay)
		if err != nil {
			return fmt.Errorf("delivery.relay: %w", err)
		}
		if hop.Socket != "" && c.Delivery.RelayUser != "" {
			return fmt.Errorf("delivery.relay_user: there is no login at a socket of this machine (%s)", hop)
		}
	}
	if _, err := parsePrefixes(c.Delivery.AllowNetworks); err != nil {
		return fmt.Errorf("delivery.allow_networks: %w", err)
	}
	if _, err := parsePrefixes(c.Submission.ExemptNetworks); err != nil {
		return fmt.Errorf("submission.exempt_networks: %w", err)
	}
	if (c.Delivery.RelayUser == "") != (c.Delivery.RelayPasswordFile == "") {
		return fmt.Errorf("delivery.relay_user and delivery.relay_password_file: one without the other")
	}
	for _, s := range []struct{ key, value string }{
		{"delivery.source_ipv4", c.Delivery.SourceIPv4}, {"delivery.source_ipv6", strings.TrimPrefix(c.Delivery.SourceIPv6, "off")},
	} {
		if _, err := netip.ParseAddr(s.value); s.value != "" && err != nil {
			return fmt.Errorf("%s: %q is no IP address", s.key, s.value)
		}
	}
	return nil
}

func (c *Config) validateSchedule() error {
	if len(c.Queue.Retry) == 0 {
		return fmt.Errorf("queue.retry: at least one wait is needed, such as [\"30m\"]")
	}
	for _, d := range c.Queue.Retry {
		if d.Std() < time.Second || d.Std() > 7*24*time.Hour {
			return fmt.Errorf("queue.retry: %s is out of bounds; from 1s to 7d", d)
		}
	}
	for _, p := range []struct {
		key      string
		d        Duration
		min, max time.Duration
	}{
		{"queue.expire", c.Queue.Expire, time.Minute, 30 * 24 * time.Hour},
		{"queue.warn", c.Queue.Warn, 0, c.Queue.Expire.Std()},
		{"ledger.keep", c.Ledger.Keep, 24 * time.Hour, 3650 * 24 * time.Hour},
		{"ledger.audit", c.Ledger.Audit, time.Second, 24 * time.Hour},
		{"alarm.repeat", c.Alarm.Repeat, time.Minute, 30 * 24 * time.Hour},
		{"alarm.queue_age", c.Alarm.QueueAge, time.Second, 30 * 24 * time.Hour},
	} {
		if p.d.Std() < p.min || p.d.Std() > p.max {
			return fmt.Errorf("%s: %s is out of bounds; from %s to %s", p.key, p.d, Duration(p.min), Duration(p.max))
		}
	}
	return nil
}

// NextHop reads a next hop as operators write it, and gives the URL that the
// queue knows it by: what goes to one server is one destination, however it was
// written.
func NextHop(s string) (string, error) {
	h, err := delivery.ParseHop(s)
	if err != nil {
		return "", err
	}
	return h.String(), nil
}

// RelayTo makes addr ("HOST:PORT") the next hop of all mail for other hosts,
// and ends the demo's holding of it.
func (c *Config) RelayTo(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || host == "" || port == "" {
		return fmt.Errorf("--relay: %q is no address; write \"127.0.0.1:1025\"", addr)
	}
	c.Delivery.Relay, c.Delivery.Hold = "smtp://"+addr, false
	return nil
}
