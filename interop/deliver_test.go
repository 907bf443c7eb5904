//go:build interop

package interop

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/breakwater-mail/breakwater/bench/peers"
	"github.com/breakwater-mail/breakwater/bench/wire"
)

// TestDeliver_Swaks hands in the corpus with swaks, plain and pipelined.
func TestDeliver_Swaks(t *testing.T) {
	t.Parallel()
	swaks := tool(t, "swaks")
	s := startServer(t)
	ways := []struct {
		name string
		args []string
	}{
		{"plain", nil},
		{"pipelined", []string{"--pipeline"}},
	}
	for user, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			dir := folder(t)
			// swaks gives a header without body a blank line more, and takes a dot
			// at the end for the end of data.
			letters := slices.DeleteFunc(corpus(), func(l letter) bool { return l.name == "no-body" })
			for i := range letters {
				letters[i].data = bytes.TrimSuffix(letters[i].data, []byte("\r\n.\r\n"))
				letters[i].data = append(bytes.TrimSuffix(letters[i].data, []byte("\r\n")), '\r', '\n')
			}
			for _, l := range letters {
				args := append([]string{"--silent", "2", "--server", s.SMTP, "--from", "sender@bench.example", "--to", s.User(user)}, way.args...)
				run(t, dir, swaks, append(args, "--data", "@"+swaksFile(t, dir, l))...)
			}
			arrived(t, s, user, letters)
		})
	}
}

// swaksFile writes a letter as swaks wants it: it adds the last line's end.
func swaksFile(t *testing.T, dir string, l letter) string {
	t.Helper()
	name := filepath.Join(dir, l.name)
	write(t, name, string(bytes.TrimSuffix(l.data, []byte("\r\n"))))
	return name
}

// arrived checks that a user has exactly the letters.
func arrived(t *testing.T, s *peers.Server, user int, letters []letter) {
	t.Helper()
	all := bodies(t, s, user, "INBOX", len(letters))
	for _, l := range letters {
		if got := find(t, all, l); got != nil {
			whole(t, l.name, got, l.data)
		}
	}
}

// TestDeliver_SwaksTLS covers STARTTLS, TLS from the first byte, and AUTH with
// each mechanism on both submission ports.
func TestDeliver_SwaksTLS(t *testing.T) {
	t.Parallel()
	swaks := tool(t, "swaks")
	if *against != "breakwater" {
		t.Skip("the peers are started without TLS for SMTP and without submission")
	}
	b := startBreakwater(t, folder(t), "")
	auth := func(mech string) []string {
		return []string{"--auth", mech, "--auth-user", b.User(1), "--auth-password", b.Password, "--from", b.User(1)}
	}
	tests := []struct {
		name string
		addr string
		args []string
	}{
		{"starttls", b.SMTP, []string{"--tls", "--from", "sender@bench.example"}},
		{"starttls-pipelined", b.SMTP, []string{"--tls", "--pipeline", "--from", "sender@bench.example"}},
		{"submission-plain", b.Submission, append(auth("PLAIN"), "--tls")},
		{"submission-login", b.Submission, append(auth("LOGIN"), "--tls")},
		{"submissions-plain", b.Submissions, append(auth("PLAIN"), "--tlsc")},
		{"submissions-login", b.Submissions, append(auth("LOGIN"), "--tlsc")},
	}
	letters := make([]letter, len(tests))
	for i, tt := range tests {
		letters[i] = letter{name: tt.name, data: []byte("From: <" + b.User(1) + ">\r\nTo: <" + b.User(0) + ">\r\nDate: Thu, 05 Nov 2026 10:00:00 +0000\r\n" +
			"Subject: " + tt.name + "\r\nMessage-ID: <" + tt.name + "@bench.example>\r\n\r\nover TLS\r\n")}
		dir := folder(t)
		args := append([]string{"--silent", "2", "--server", b.Server.TLSName(tt.addr), "--tls-verify", "--tls-ca-path", b.CA, "--to", b.User(0)}, tt.args...)
		run(t, dir, swaks, append(args, "--data", "@"+swaksFile(t, dir, letters[i]))...)
	}
	arrived(t, &b.Server, 0, letters)
}

// TestDeliver_Refusals shows what may not get in, to the same client.
func TestDeliver_Refusals(t *testing.T) {
	t.Parallel()
	swaks := tool(t, "swaks")
	if *against != "breakwater" {
		t.Skip("about our own refusals")
	}
	b := startBreakwater(t, folder(t), "")
	tests := []struct {
		name, want string
		args       []string
	}{
		{"unknown recipient", "550 5.1.1", []string{"--server", b.SMTP, "--to", "nobody@bench.test"}},
		{"relay", "550 5.7.1", []string{"--server", b.SMTP, "--to", "someone@elsewhere.example"}},
		{"submission without AUTH", "530 5.7.0", []string{"--server", b.Submission, "--tls", "--to", b.User(0)}},
		{"wrong password", "535 5.7.8", []string{"--server", b.Submission, "--tls", "--to", b.User(0),
			"--auth", "PLAIN", "--auth-user", b.User(0), "--auth-password", "wrong"}},
		{"AUTH without TLS", "Host did not advertise authentication", []string{"--server", b.Submission, "--to", b.User(0),
			"--auth", "PLAIN", "--auth-user", b.User(0), "--auth-password", b.Password}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, err := try(t, folder(t), nil, swaks, append(tt.args, "--from", "sender@bench.example", "--body", "x")...)
			if err == nil {
				t.Errorf("it got in:\n%s", out)
			}
			if !strings.Contains(out, tt.want) {
				t.Errorf("not answered %s:\n%s", tt.want, out)
			}
		})
	}
	bodies(t, &b.Server, 0, "INBOX", 0)
}

// TestDeliver_SMTPSource pours mail in as Postfix's own load generator does.
func TestDeliver_SMTPSource(t *testing.T) {
	t.Parallel()
	source := tool(t, "smtp-source")
	s := startServer(t)
	const sent = 500
	for _, args := range [][]string{
		{"-s", "20", "-m", fmt.Sprint(sent), "-l", "4096"},
		{"-d", "-s", "5", "-m", fmt.Sprint(sent), "-l", "10000"}, // many messages a connection
	} {
		run(t, folder(t), source, append(args, "-f", "sender@bench.example", "-t", s.User(2), "inet:"+s.SMTP)...)
	}
	for _, b := range bodies(t, s, 2, "INBOX", 2*sent) {
		if len(b) < 4096 || !bytes.HasSuffix(b, []byte("\r\n")) {
			t.Fatalf("a message of %d bytes", len(b))
		}
	}
}

// TestDeliver_Curl hands in the corpus with curl.
func TestDeliver_Curl(t *testing.T) {
	t.Parallel()
	curl := tool(t, "curl")
	s := startServer(t)
	dir := folder(t)
	letters := corpus()
	for _, l := range letters {
		name := filepath.Join(dir, l.name)
		write(t, name, string(l.data))
		run(t, dir, curl, "-sS", "smtp://"+s.SMTP, "--mail-from", "sender@bench.example", "--mail-rcpt", s.User(0), "-T", name)
	}
	arrived(t, s, 0, letters)
}

// anyFrom lets users hand in the corpus, which is from somebody else.
const anyFrom = "[submission]\ncheck_from = false\n"

// TestSubmit_Msmtp hands in over both submission ports.
func TestSubmit_Msmtp(t *testing.T) {
	t.Parallel()
	msmtp := tool(t, "msmtp")
	if *against != "breakwater" {
		t.Skip("the peers are started without submission")
	}
	b := startBreakwater(t, folder(t), anyFrom)
	var sent []letter
	for _, way := range []struct{ name, addr, starttls string }{
		{"starttls", b.Submission, "on"}, {"tls", b.Submissions, "off"},
	} {
		dir := folder(t)
		rc := filepath.Join(dir, "msmtprc")
		write(t, rc, fmt.Sprintf("account default\nhost localhost\nport %s\ntls on\ntls_starttls %s\ntls_trust_file %s\nauth on\nuser %s\npassword %s\nfrom %s\nset_from_header off\nset_date_header off\nset_msgid_header off\n",
			port(t, way.addr), way.starttls, b.CA, b.User(1), b.Password, b.User(1)))
		for _, l := range corpus() {
			l.data = bytes.ReplaceAll(l.data, []byte("Message-ID: <"), []byte("Message-ID: <"+way.name+"-"))
			l.name = way.name + "-" + l.name
			out, err := try(t, dir, lf(l.data), msmtp, "-C", rc, b.User(0))
			if err != nil {
				t.Fatalf("msmtp: %v\n%s", err, out)
			}
			sent = append(sent, l)
		}
	}
	arrived(t, &b.Server, 0, sent)
}

const smtplibScript = `
import smtplib, ssl, sys
starttls, tls, ca, user, password, to, folder = sys.argv[1:8]
context = ssl.create_default_context(cafile=ca)
for kind, port in (("starttls", starttls), ("tls", tls)):
    if kind == "tls":
        c = smtplib.SMTP_SSL("localhost", int(port), context=context)
    else:
        c = smtplib.SMTP("localhost", int(port))
        c.starttls(context=context)
    c.login(user, password)
    for name in sys.argv[8:]:
        with open(folder + "/" + name, "rb") as f:
            data = f.read()
        data = data.replace(b"Message-ID: <", b"Message-ID: <" + kind.encode() + b"-")
        options = ["BODY=8BITMIME"] if c.has_extn("8bitmime") else []
        refused = c.sendmail(user, [to], data, options)
        assert not refused, refused
    c.quit()
`

// TestSubmit_Smtplib hands in with Python's own library.
func TestSubmit_Smtplib(t *testing.T) {
	t.Parallel()
	python := system(t, "/usr/bin/python3")
	if *against != "breakwater" {
		t.Skip("the peers are started without submission")
	}
	b := startBreakwater(t, folder(t), anyFrom)
	dir := folder(t)
	args := []string{"-c", smtplibScript, port(t, b.Submission), port(t, b.Submissions), b.CA, b.User(1), b.Password, b.User(0), dir}
	var sent []letter
	for _, l := range corpus() {
		if err := os.WriteFile(filepath.Join(dir, l.name), l.data, 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, l.name)
		for _, kind := range []string{"starttls", "tls"} {
			sent = append(sent, letter{name: kind + "-" + l.name,
				data: bytes.ReplaceAll(l.data, []byte("Message-ID: <"), []byte("Message-ID: <"+kind+"-"))})
		}
	}
	run(t, dir, python, args...)
	arrived(t, &b.Server, 0, sent)
}

// TestDeliver_ManyRecipients sends one message to all users, to sub-addresses
// and twice to the same one.
func TestDeliver_ManyRecipients(t *testing.T) {
	t.Parallel()
	if *against != "breakwater" {
		t.Skip("about our own addresses")
	}
	b := startBreakwater(t, folder(t), "")
	c, err := wire.DialSMTP(b.SMTP, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Quit()
	l := corpus()[0]
	to := []string{b.User(0), "user1+tag@bench.test", b.User(2), "postmaster@bench.test", b.User(2)}
	if err := c.Send("", to, wire.Stuff(l.data)); err != nil {
		t.Fatal(err)
	}
	for user := range 3 {
		arrived(t, &b.Server, user, []letter{l})
	}
}
