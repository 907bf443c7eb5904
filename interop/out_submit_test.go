//go:build interop

package interop

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// submitter is a client that hands in a message with a Bcc field, if it lets
// one through, for to and for a hidden recipient.
type submitter struct {
	name string
	run  func(t *testing.T, h *outHost, dir, to, hidden string)
}

// raw is a message as a careless client has it: no Date, no Message-ID, a Bcc.
func raw(h *outHost, to, hidden string) string {
	return "From: One <" + h.User(0) + ">\r\nTo: <" + to + ">\r\nBcc: <" + hidden + ">,\r\n <nobody@away.test>\r\nSubject: for " + to + "\r\n\r\nHello.\r\n..\r\n"
}

func bySwaks(name string, addr func(h *outHost) string, args ...string) submitter {
	return submitter{name, func(t *testing.T, h *outHost, dir, to, hidden string) {
		file := filepath.Join(dir, "message")
		write(t, file, strings.TrimSuffix(raw(h, to, hidden), "\r\n"))
		all := append([]string{"--silent", "2", "--server", h.Server.TLSName(addr(h)), "--tls-verify", "--tls-ca-path", h.CA, "--from", h.User(0),
			"--to", to + "," + hidden, "--auth-user", h.User(0), "--auth-password", h.Password, "--data", "@" + file}, args...)
		run(t, dir, tool(t, "swaks"), all...)
	}}
}

func submission(h *outHost) string  { return h.Submission }
func submissions(h *outHost) string { return h.Submissions }
func mx(h *outHost) string          { return h.SMTP }

// submitters are the clients and ways in.
var submitters = []submitter{
	bySwaks("swaks-587-plain", submission, "--tls", "--auth", "PLAIN"),
	bySwaks("swaks-587-login", submission, "--tls", "--auth", "LOGIN", "--pipeline"),
	bySwaks("swaks-465-plain", submissions, "--tlsc", "--auth", "PLAIN"),
	bySwaks("swaks-465-login", submissions, "--tlsc", "--auth", "LOGIN"),
	bySwaks("swaks-25-plain", mx, "--tls", "--auth", "PLAIN"),
	bySwaks("swaks-25-login", mx, "--tls", "--auth", "LOGIN"),
	{"msmtp", byMsmtp},
	{"mutt", byMutt},
	{"curl", byCurl},
	{"smtplib", bySmtplib},
}

func byMsmtp(t *testing.T, h *outHost, dir, to, hidden string) {
	rc := filepath.Join(dir, "msmtprc")
	write(t, rc, fmt.Sprintf("account default\nhost localhost\nport %s\ntls on\ntls_starttls on\ntls_trust_file %s\nauth on\nuser %s\npassword %s\nfrom %s\nundisclosed_recipients off\nremove_bcc_headers off\nset_from_header off\nset_date_header off\nset_msgid_header off\n",
		port(t, h.Submission), h.CA, h.User(0), h.Password, h.User(0)))
	if out, err := try(t, dir, lf([]byte(raw(h, to, hidden))), tool(t, "msmtp"), "-C", rc, to, hidden); err != nil {
		t.Fatalf("msmtp: %v\n%s", err, out)
	}
}

// byMutt names the mechanism: left to itself mutt takes SCRAM-SHA-256-PLUS,
// whose channel binding for TLS 1.3 (RFC 9266) its library then lacks.
func byMutt(t *testing.T, h *outHost, dir, to, hidden string) {
	rc := filepath.Join(dir, "muttrc")
	write(t, rc, fmt.Sprintf("set smtp_url=\"smtp://%s@localhost:%s\"\nset smtp_pass=%q\nset ssl_starttls=yes\nset ssl_force_tls=yes\nset ssl_ca_certificates_file=%q\nset from=%q\nset realname=\"One\"\nset write_bcc=yes\nset copy=no\nset use_envelope_from=yes\nset smtp_authenticators=\"scram-sha-256\"\n",
		strings.ReplaceAll(h.User(0), "@", "%40"), port(t, h.Submission), h.Password, h.CA, h.User(0)))
	if out, err := try(t, dir, []byte("Hello.\n..\n"), tool(t, "mutt"), "-n", "-F", rc, "-s", "for "+to, "-b", hidden, "--", to); err != nil {
		t.Fatalf("mutt: %v\n%s", err, out)
	}
}

func byCurl(t *testing.T, h *outHost, dir, to, hidden string) {
	file := filepath.Join(dir, "message")
	write(t, file, raw(h, to, hidden))
	run(t, dir, tool(t, "curl"), "-sS", "--ssl-reqd", "--cacert", h.CA, "smtp://"+h.Server.TLSName(h.Submission), "--user", h.User(0)+":"+h.Password,
		"--mail-from", h.User(0), "--mail-rcpt", to, "--mail-rcpt", hidden, "-T", file)
}

const smtplibSubmit = `
import smtplib, ssl, sys
port, ca, user, password, to, hidden, name = sys.argv[1:8]
c = smtplib.SMTP("localhost", int(port))
c.starttls(context=ssl.create_default_context(cafile=ca))
c.login(user, password)
with open(name, "rb") as f:
    refused = c.sendmail(user, [to, hidden], f.read())
assert not refused, refused
c.quit()
`

func bySmtplib(t *testing.T, h *outHost, dir, to, hidden string) {
	file := filepath.Join(dir, "message")
	write(t, file, raw(h, to, hidden))
	run(t, dir, system(t, "/usr/bin/python3"), "-c", smtplibSubmit, port(t, h.Submission), h.CA, h.User(0), h.Password, to, hidden, file)
}

// strict is a configuration that checks all that submission checks.
func strict(s *sink) string {
	return "[queue]\nretry = [\"1s\"]\n[ledger]\naudit = \"1s\"\n[delivery]\nroutes = [\"away.test smtp://" + s.addr + "\"]\n"
}

// TestOut_Submit hands in mail for another host with every client and by every
// way in. What arrives there has no Bcc, has a Date and a Message-ID, and is
// signed so that a verifier of others agrees.
func TestOut_Submit(t *testing.T) {
	t.Parallel()
	away := startSink(t, "127.0.0.1:0", nil, sinkRules{})
	b := made(t, folder(t), "")
	keys := (&outHost{b, t}).signingKeys()
	h := startMade(t, b, "localhost", strict(away))
	t.Run("clients", func(t *testing.T) {
		for _, c := range submitters {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				to, hidden := c.name+"@away.test", c.name+"-hidden@away.test"
				c.run(t, h.with(t), folder(t), to, hidden)
				got := away.of(t, to, 1)[0]
				away.of(t, hidden, 1)
				handedOn(t, h, got, to)
				verified(t, got.data, keys)
			})
		}
	})
	if n := away.count("nobody@away.test"); n != 0 {
		t.Errorf("the Bcc field was taken for the envelope")
	}
	h.closed()
}

// handedOn checks what submission makes of a message.
func handedOn(t *testing.T, h *outHost, m taken, to string) {
	t.Helper()
	header, body, _ := bytes.Cut(m.data, []byte("\r\n\r\n"))
	text := "\r\n" + string(header)
	if regexp.MustCompile(`(?i)\r\nBcc:|nobody@|hidden`).MatchString(text) {
		t.Errorf("the hidden recipient shows:\n%s", text)
	}
	for _, name := range []string{"Date", "Message-ID", "From", "Subject", "Received"} {
		if n := len(regexp.MustCompile(`(?i)\r\n`+name+`:`).FindAllString(text, -1)); n != 1 {
			t.Errorf("%d fields %s:\n%s", n, name, text)
		}
	}
	if m.from != h.User(0) || !strings.Contains(text, "Subject: for "+to) || string(body) != "Hello.\r\n..\r\n" {
		t.Errorf("from <%s>: %s", m.from, m.data)
	}
	if !strings.Contains(text, "DKIM-Signature:") {
		t.Errorf("not signed:\n%s", text)
	}
}

// signingKeys makes keys for the domain of the users, and gives the records
// that are to be published, as a file for Python.
func (h *outHost) signingKeys() string {
	h.t.Helper()
	h.t.Log(h.cli("dkim", "add", "bench.test", "--force"))
	names, err := filepath.Glob(filepath.Join(h.Dir, "dkim", "bench.test", "*.pem"))
	if err != nil || len(names) != 2 {
		h.t.Fatalf("keys: %v, %v", names, err)
	}
	records := ""
	for _, name := range names {
		pub := run(h.t, h.Dir, tool(h.t, "openssl"), "pkey", "-in", name, "-pubout", "-outform", "PEM")
		p := regexp.MustCompile(`-----[A-Z ]+-----|\s`).ReplaceAllString(pub, "")
		kind := "rsa"
		if len(p) < 100 { // Ed25519: RFC 8463 §4 wants the bare key, the last 32 octets
			kind, p = "ed25519", bareKey(h.t, p)
		}
		records += strings.TrimSuffix(filepath.Base(name), ".pem") + "._domainkey.bench.test. v=DKIM1; k=" + kind + "; p=" + p + "\n"
	}
	file := filepath.Join(h.Dir, "records")
	if err := os.WriteFile(file, []byte(records), 0o600); err != nil {
		h.t.Fatal(err)
	}
	return file
}

const dkimVerify = `
import dkim, sys
records = {}
with open(sys.argv[1]) as f:
    for line in f:
        name, _, text = line.strip().partition(" ")
        records[name.encode()] = text.encode()
with open(sys.argv[2], "rb") as f:
    message = f.read()
def ask(name, timeout=5):
    if isinstance(name, str):
        name = name.encode()
    return records.get(name.rstrip(b".") + b".")
seen = set()
count = message.lower().count(b"dkim-signature:")
for i in range(count):
    d = dkim.DKIM(message)
    assert d.verify(i, dnsfunc=ask), "signature %d does not verify" % i
    seen.add(bytes(d.signature_fields[b"a"]).decode())
assert seen == {"rsa-sha256", "ed25519-sha256"}, seen
d = dkim.DKIM(message.replace(b"Hello.", b"Hallo."))
try:
    assert not d.verify(0, dnsfunc=ask), "a changed message verifies"
except dkim.DKIMException:
    pass
`

// verified has Python's verifier look at both signatures.
func verified(t *testing.T, message []byte, records string) {
	t.Helper()
	python := system(t, "/usr/bin/python3")
	dir := folder(t)
	file := filepath.Join(dir, "signed")
	write(t, file, string(message))
	if out, err := try(t, dir, nil, python, "-c", "import dkim, nacl"); err != nil {
		t.Skipf("MODULE MISSING: python3-dkim, python3-nacl: %s", out)
	}
	run(t, dir, python, "-c", dkimVerify, records, file)
}

// TestOut_Refused shows who may not send what, to the same client.
func TestOut_Refused(t *testing.T) {
	t.Parallel()
	swaks := tool(t, "swaks")
	away := startSink(t, "127.0.0.1:0", nil, sinkRules{})
	h := startOut(t, strict(away))
	smtpOnly, imapOnly := h.appPassword("scanner", "smtp"), h.appPassword("reader", "imap")
	h.cli("alias", "add", "info@bench.test", h.User(0))
	h.cli("account", "grant", h.User(0), "--send-as", "sales@bench.test")
	tests := []struct {
		name, want     string
		user, password string
		from, header   string
	}{
		{"own address", "", h.User(0), h.Password, h.User(0), h.User(0)},
		{"detail", "", h.User(0), h.Password, "user0+shop@bench.test", "user0+shop@bench.test"},
		{"alias", "", h.User(0), h.Password, "info@bench.test", "info@bench.test"},
		{"grant", "", h.User(0), h.Password, "sales@bench.test", "sales@bench.test"},
		{"app password", "", h.User(0), smtpOnly, h.User(0), h.User(0)},
		{"other user", "553 5.7.1", h.User(0), h.Password, h.User(1), h.User(1)},
		{"other host", "553 5.7.1", h.User(0), h.Password, "boss@away.test", "boss@away.test"},
		{"other From", "550 5.7.1", h.User(0), h.Password, h.User(0), h.User(1)},
		{"another's grant", "553 5.7.1", h.User(1), h.Password, "sales@bench.test", "sales@bench.test"},
		{"app password for IMAP", "535 5.7.8", h.User(0), imapOnly, h.User(0), h.User(0)},
		{"wrong password", "535 5.7.8", h.User(0), "wrong", h.User(0), h.User(0)},
	}
	good := 0
	for _, tt := range tests {
		out, err := try(t, folder(t), nil, swaks, "--server", h.Server.TLSName(h.Submissions), "--tlsc", "--auth", "PLAIN", "--auth-user", tt.user, "--auth-password", tt.password,
			"--from", tt.from, "--h-From", tt.header, "--to", "x@away.test", "--body", "x")
		switch {
		case tt.want == "" && err != nil, tt.want != "" && (err == nil || !strings.Contains(out, tt.want)):
			t.Errorf("%s: want %q, got\n%s", tt.name, tt.want, out)
		case tt.want == "":
			good++
		}
	}
	away.of(t, "x@away.test", good)
	if err := h.imapLogin(smtpOnly); err == nil {
		t.Error("an app password for SMTP reads mail")
	}
	if err := h.imapLogin(imapOnly); err != nil {
		t.Errorf("an app password for IMAP: %v", err)
	}
	if list := h.cli("account", "app-password", "list", h.User(0)); !strings.Contains(list, "scanner") || strings.Contains(list, smtpOnly) {
		t.Errorf("the list of app passwords:\n%s", list)
	}
	h.cli("account", "app-password", "remove", h.User(0), "--name", "reader")
	if err := h.imapLogin(imapOnly); err == nil {
		t.Error("an app password that was removed reads mail")
	}
	h.closed()
}

// appPassword makes one up.
func (h *outHost) appPassword(name, scope string) string {
	h.t.Helper()
	out := h.cli("account", "app-password", "add", h.User(0), "--name", name, "--scope", scope)
	words := strings.Fields(out)
	for _, w := range words {
		if strings.Count(w, "-") >= 2 || len(w) >= 16 && !strings.Contains(w, "@") {
			return w
		}
	}
	h.t.Fatalf("no password in %q", out)
	return ""
}
