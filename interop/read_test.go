//go:build interop

package interop

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/breakwater-mail/breakwater/bench/peers"
)

// TestRead lets every client read the same mailbox.
func TestRead(t *testing.T) {
	t.Parallel()
	s, letters := posted(t)
	clients := []struct {
		name string
		adds string // fields that the client itself puts into what it keeps
		read func(*testing.T, *peers.Server, []letter) [][]byte
	}{
		{"curl", "", readCurl},
		{"imaplib", "", readImaplib},
		{"mbsync", "X-TUID", readMbsync},
		{"offlineimap", "", readOfflineimap},
		{"mutt", "Content-Length|Lines", readMutt},
	}
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			compare(t, c.read(t, s, letters), letters, c.adds)
		})
	}
}

// compare checks that all are the letters, but for line ends and for fields
// that the client adds.
func compare(t *testing.T, all [][]byte, letters []letter, adds string) {
	t.Helper()
	if len(all) != len(letters) {
		t.Errorf("read %d messages of %d", len(all), len(letters))
	}
	for _, l := range letters {
		got := find(t, all, l)
		if got == nil {
			continue
		}
		got = lf(got)
		if adds != "" {
			head, body, _ := bytes.Cut(got, []byte("\n\n"))
			head = regexp.MustCompile(`(?m)\n(`+adds+`): .*$`).ReplaceAll(head, nil)
			got = slices.Concat(head, []byte("\n\n"), body)
		}
		whole(t, l.name, got, lf(l.data))
	}
}

// port splits an address.
func port(t *testing.T, addr string) string {
	t.Helper()
	_, p, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func readCurl(t *testing.T, s *peers.Server, letters []letter) [][]byte {
	curl := tool(t, "curl")
	var all [][]byte
	for i := range letters {
		out := run(t, folder(t), curl, "-sS", "--cacert", s.CA, "--user", s.User(0)+":"+s.Password,
			fmt.Sprintf("imaps://localhost:%s/INBOX;MAILINDEX=%d", port(t, s.IMAPS), i+1))
		all = append(all, []byte(out))
	}
	return all
}

const imaplibScript = `
import imaplib, ssl, sys
host, port, ca, user, password, out = sys.argv[1:]
c = imaplib.IMAP4_SSL(host, int(port), ssl_context=ssl.create_default_context(cafile=ca))
c.login(user, password)
typ, data = c.select("INBOX", readonly=True)
assert typ == "OK", data
typ, data = c.search(None, "ALL")
assert typ == "OK", data
for n in data[0].split():
    typ, data = c.fetch(n, "(RFC822)")
    assert typ == "OK", data
    with open(out + "/" + n.decode(), "wb") as f:
        f.write(data[0][1])
typ, data = c.status("INBOX", "(MESSAGES UIDNEXT UIDVALIDITY UNSEEN)")
assert typ == "OK", data
c.close()
c.logout()
`

func readImaplib(t *testing.T, s *peers.Server, _ []letter) [][]byte {
	python := system(t, "/usr/bin/python3")
	dir := folder(t)
	out := filepath.Join(dir, "out")
	if err := os.Mkdir(out, 0o700); err != nil {
		t.Fatal(err)
	}
	run(t, dir, python, "-c", imaplibScript, "localhost", port(t, s.IMAPS), s.CA, s.User(0), s.Password, out)
	return files(t, out)
}

// files reads every regular file below dir.
func files(t *testing.T, dir string) [][]byte {
	t.Helper()
	var all [][]byte
	if _, err := os.Stat(dir); os.IsNotExist(err) {
		return nil
	}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(name)
		all = append(all, b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// mail reads the messages of a maildir.
func mail(t *testing.T, maildir string) [][]byte {
	t.Helper()
	return append(files(t, filepath.Join(maildir, "cur")), files(t, filepath.Join(maildir, "new"))...)
}

// mbsyncConfig writes an mbsyncrc that keeps maildir and the account the same.
func mbsyncConfig(t *testing.T, s *peers.Server, user int, dir string) string {
	t.Helper()
	rc := filepath.Join(dir, "mbsyncrc")
	write(t, rc, fmt.Sprintf(`IMAPAccount host
Host localhost
Port %s
User %s
Pass %s
SSLType IMAPS
CertificateFile %s

IMAPStore far
Account host

MaildirStore near
Path %s/mail/
Inbox %s/mail/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns *
Create Both
Expunge Both
SyncState *
`, port(t, s.IMAPS), s.User(user), s.Password, s.CA, dir, dir))
	if err := os.MkdirAll(filepath.Join(dir, "mail"), 0o700); err != nil {
		t.Fatal(err)
	}
	return rc
}

func readMbsync(t *testing.T, s *peers.Server, _ []letter) [][]byte {
	mbsync := tool(t, "mbsync")
	dir := folder(t)
	run(t, dir, mbsync, "-c", mbsyncConfig(t, s, 0, dir), "-a")
	return mail(t, filepath.Join(dir, "mail", "INBOX"))
}

func readOfflineimap(t *testing.T, s *peers.Server, _ []letter) [][]byte {
	offlineimap := tool(t, "offlineimap")
	dir := folder(t)
	rc := filepath.Join(dir, "offlineimaprc")
	write(t, rc, fmt.Sprintf(`[general]
accounts = bench
metadata = %s/metadata
socktimeout = 60

[Account bench]
localrepository = near
remoterepository = far

[Repository near]
type = Maildir
localfolders = %s/mail

[Repository far]
type = IMAP
remotehost = localhost
remoteport = %s
remoteuser = %s
remotepass = %s
ssl = yes
sslcacertfile = %s
`, dir, dir, port(t, s.IMAPS), s.User(0), s.Password, s.CA))
	run(t, dir, offlineimap, "-c", rc, "-o", "-u", "basic")
	return pythonWrote(mail(t, filepath.Join(dir, "mail", "INBOX")))
}

// pythonWrote undoes what Python's email package does to messages that it parses
// and writes again: a blank after the colon of an empty field.
func pythonWrote(all [][]byte) [][]byte {
	for i := range all {
		all[i] = bytes.ReplaceAll(all[i], []byte("\nX-Empty: \n"), []byte("\nX-Empty:\n"))
	}
	return all
}

// readMutt has mutt copy every message into a maildir. mutt wants a terminal:
// script(1) lends it one.
func readMutt(t *testing.T, s *peers.Server, letters []letter) [][]byte {
	mutt, script := tool(t, "mutt"), tool(t, "script")
	dir := folder(t)
	rc := filepath.Join(dir, "muttrc")
	write(t, rc, fmt.Sprintf(`set ssl_ca_certificates_file="%s"
set imap_user="%s"
set imap_pass="%s"
set ssl_force_tls=yes
set folder="%s"
set mbox_type=Maildir
set confirmappend=no
set confirmcreate=no
set mark_old=no
set quit=yes
set delete=no
folder-hook . 'push "<tag-pattern>~A<enter><tag-prefix><copy-message><kill-line>%s/out<enter><exit>"'
`, s.CA, s.User(0), s.Password, dir, dir))
	box := "imaps://" + url.QueryEscape(s.User(0)) + "@localhost:" + port(t, s.IMAPS) + "/INBOX"
	out := run(t, dir, script, "-qec", mutt+" -n -R -F "+rc+" -f "+box, "/dev/null")
	all := mail(t, filepath.Join(dir, "out"))
	if len(all) != len(letters) {
		t.Errorf("mutt copied %d messages; its screen:\n%q", len(all), out)
	}
	return all
}

// TestReadPOP3 lets the POP3 clients read the same mailbox.
func TestReadPOP3(t *testing.T) {
	t.Parallel()
	if *against != "breakwater" {
		t.Skip("the peers are started without POP3")
	}
	b := startBreakwater(t, folder(t), "")
	letters := corpus()
	post(t, &b.Server, 0, letters)
	bodies(t, &b.Server, 0, "INBOX", len(letters))
	t.Run("fetchmail", func(t *testing.T) { readFetchmail(t, b, letters) })
	t.Run("getmail", func(t *testing.T) { readGetmail(t, b, letters) })
	t.Run("curl", func(t *testing.T) { readCurlPOP3(t, b, letters) })
	// None of them deletes: the mailbox is as it was.
	bodies(t, &b.Server, 0, "INBOX", len(letters))
}

func readFetchmail(t *testing.T, b *peers.Breakwater, letters []letter) {
	fetchmail := tool(t, "fetchmail")
	dir := folder(t)
	out := filepath.Join(dir, "out")
	if err := os.Mkdir(out, 0o700); err != nil {
		t.Fatal(err)
	}
	rc := filepath.Join(dir, "fetchmailrc")
	write(t, rc, fmt.Sprintf(`set invisible
poll localhost protocol pop3 port %s timeout 30
  user "%s" password "%s"
  keep no rewrite ssl sslcertck sslcertfile "%s"
  mda "/bin/sh -c 'cat >%s/$$'"
`, port(t, b.POP3S), b.User(0), b.Password, b.CA, out))
	run(t, dir, fetchmail, "-f", rc, "--fetchall", "--nosyslog", "--pidfile", filepath.Join(dir, "pid"))
	compare(t, files(t, out), letters, "")
}

func readGetmail(t *testing.T, b *peers.Breakwater, letters []letter) {
	getmail := tool(t, "getmail")
	dir := folder(t)
	deliverAs := ""
	for _, d := range []string{"", "cur", "new", "tmp"} {
		name := filepath.Join(dir, "out", d)
		if err := os.MkdirAll(name, 0o700); err != nil {
			t.Fatal(err)
		}
		if os.Getuid() == 0 { // getmail delivers nothing as root
			const nobody = 65534
			deliverAs = "user = nobody"
			if err := os.Chown(name, nobody, nobody); err != nil {
				t.Skipf("NO USER TO DELIVER AS: %v", err)
			}
		}
	}
	write(t, filepath.Join(dir, "rc", "getmailrc"), fmt.Sprintf(`[retriever]
type = SimplePOP3SSLRetriever
server = localhost
port = %s
username = %s
password = %s
ca_certs = %s

[destination]
type = Maildir
path = %s/out/
%s

[options]
read_all = true
delete = false
delivered_to = false
received = false
`, port(t, b.POP3S), b.User(0), b.Password, b.CA, dir, deliverAs))
	run(t, dir, getmail, "--getmaildir", filepath.Join(dir, "rc"))
	compare(t, pythonWrote(mail(t, filepath.Join(dir, "out"))), letters, "")
}

func readCurlPOP3(t *testing.T, b *peers.Breakwater, letters []letter) {
	curl := tool(t, "curl")
	var all [][]byte
	for i := range letters {
		out := run(t, folder(t), curl, "-sS", "--ssl-reqd", "--cacert", b.CA, "--user", b.User(0)+":"+b.Password,
			fmt.Sprintf("pop3://localhost:%s/%d", port(t, b.POP3), i+1))
		all = append(all, []byte(out))
	}
	compare(t, all, letters, "")
}

// sum gives a body's hash as it stands in the kill suite's messages.
func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// headerOf gives the value of a field of our own making.
func headerOf(msg []byte, name string) string {
	head, _, _ := bytes.Cut(msg, []byte("\r\n\r\n"))
	for line := range strings.SplitSeq(string(head), "\r\n") {
		if v, ok := strings.CutPrefix(line, name+": "); ok {
			return v
		}
	}
	return ""
}
