//go:build interop

package interop

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/breakwater-mail/breakwater/bench/proc"
	"github.com/breakwater-mail/breakwater/bench/wire"
)

// peer is a mail server of others. What it gets for peer.test it sends to a
// sink of the test, what it gets for bench.test to us.
type peer struct {
	name   string
	addr   string
	broken bool // its TLS offers itself and fails
}

// peerValues fill in the configurations.
type peerValues struct {
	dir, cert, key, addr, sink, us, exim string
}

// fill replaces {dir} and so on.
func (v peerValues) fill(text string) string {
	_, ownPort, _ := net.SplitHostPort(v.addr)
	_, sinkPort, _ := net.SplitHostPort(v.sink)
	_, usPort, _ := net.SplitHostPort(v.us)
	return strings.NewReplacer("{dir}", v.dir, "{cert}", v.cert, "{key}", v.key, "{port}", ownPort,
		"{sink}", sinkPort, "{us}", usPort, "{exim}", v.exim).Replace(text)
}

// newPeerValues makes a folder with a certificate.
func newPeerValues(t *testing.T, sink, us string) peerValues {
	t.Helper()
	dir := folder(t)
	v := peerValues{dir: dir, cert: dir + "/tls/cert.pem", key: dir + "/tls/key.pem", sink: sink, us: us, addr: reserve(t, loopback)}
	c := (*authority)(nil).issued(t, "peer.test")
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	public(t, v.cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]})))
	write(t, v.key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
	return v
}

// serve starts a peer's process and waits until it answers.
func (v peerValues) serve(t *testing.T, name string, env []string, args ...string) peer {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), env...)
	c, err := proc.Start(name, filepath.Join(v.dir, name+".out"), cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(seenWait); err != nil {
			t.Logf("%s: %v", name, err)
		}
		if !t.Failed() {
			return
		}
		for _, file := range []string{name + ".out", "postfix.log", "log/mainlog", "log/paniclog"} {
			text, _ := os.ReadFile(filepath.Join(v.dir, file))
			t.Logf("%s of %s ends:\n%s", file, name, text[max(0, len(text)-2000):])
		}
	})
	eventually(t, name+" listens", func() bool {
		c, err := wire.DialSMTP(v.addr, nil)
		if err == nil {
			c.Quit()
		}
		return err == nil
	})
	return peer{name: name, addr: v.addr}
}

const peerPostfixMain = `compatibility_level = 3.6
queue_directory = {dir}/spool
data_directory = {dir}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = {dir}/postfix.log
maillog_file_prefixes = {dir}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = postfix.peer.test
mydestination =
mynetworks = 127.0.0.0/8
alias_maps =
alias_database =
transport_maps = inline:{ {peer.test=smtp:[127.0.0.1]:{sink}}, {bench.test=smtp:[127.0.0.1]:{us}} }
smtpd_peername_lookup = no
smtp_dns_support_level = disabled
smtp_host_lookup = native
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_tls_security_level = may
smtpd_tls_cert_file = {cert}
smtpd_tls_key_file = {key}
smtp_tls_security_level = may
message_size_limit = 0
`

const peerPostfixMaster = `{port} inet n - n - - smtpd
cleanup   unix n - n - 0 cleanup
qmgr      unix n - n 300 1 qmgr
tlsmgr    unix - - n 1000? 1 tlsmgr
rewrite   unix - - n - - trivial-rewrite
bounce    unix - - n - 0 bounce
defer     unix - - n - 0 bounce
trace     unix - - n - 0 bounce
verify    unix - - n - 1 verify
flush     unix n - n 1000? 0 flush
proxymap  unix - - n - - proxymap
smtp      unix - - n - - smtp
showq     unix n - n - - showq
error     unix - - n - - error
retry     unix - - n - - error
anvil     unix - - n - 1 anvil
scache    unix - - n - 1 scache
postlog   unix-dgram n - n - 1 postlogd
`

func peerPostfix(t *testing.T, v peerValues) peer {
	postfix := tool(t, "postfix")
	for _, name := range []string{"etc", "spool", "data"} {
		if err := os.MkdirAll(filepath.Join(v.dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if u, err := user.Lookup("postfix"); err == nil {
		id, _ := strconv.Atoi(u.Uid)
		if err := os.Chown(filepath.Join(v.dir, "data"), id, 0); err != nil {
			t.Skipf("ROOT MISSING: %v", err)
		}
	}
	public(t, v.dir+"/etc/main.cf", v.fill(peerPostfixMain))
	public(t, v.dir+"/etc/master.cf", v.fill(peerPostfixMaster))
	return v.serve(t, "postfix", nil, postfix, "-c", v.dir+"/etc", "start-fg")
}

const peerExim = `exim_user = mail
exim_group = mail
exim_path = {exim}
keep_environment = LD_LIBRARY_PATH
spool_directory = {dir}/spool
log_file_path = {dir}/log/%slog
primary_hostname = exim.peer.test
daemon_smtp_ports = {port}
local_interfaces = 127.0.0.1
tls_advertise_hosts = *
tls_certificate = {cert}
tls_privatekey = {key}
host_lookup =
message_size_limit = 0
never_users =
acl_smtp_rcpt = all
acl_smtp_data = all
begin acl
all:
  accept
begin routers
away:
  driver = manualroute
  domains = peer.test
  route_list = * 127.0.0.1
  self = send
  transport = sink
us:
  driver = manualroute
  domains = bench.test
  route_list = * 127.0.0.1
  self = send
  transport = us
begin transports
sink:
  driver = smtp
  port = {sink}
  allow_localhost
us:
  driver = smtp
  port = {us}
  allow_localhost
begin retry
* * F,2h,1s
`

func peerExim4(t *testing.T, v peerValues) peer {
	v.exim = filepath.Join(eximFolder, "usr/sbin/exim4")
	if _, err := os.Stat(v.exim); err != nil {
		t.Skipf("PEER MISSING: exim4-daemon-heavy in %s (interop/install inner)", eximFolder)
	}
	needUser(t, "Debian-exim")
	uid, gid := mailIDs(t)
	mailFolder(t, v.dir, "spool")
	mailFolder(t, v.dir, "log")
	if err := os.Chown(v.key, uid, gid); err != nil {
		t.Fatal(err)
	}
	public(t, v.dir+"/exim.conf", v.fill(peerExim))
	libs := "LD_LIBRARY_PATH=" + filepath.Join(eximFolder, "usr/lib/x86_64-linux-gnu") + ":" + filepath.Join(eximFolder, "usr/lib")
	return v.serve(t, "exim", []string{libs}, v.exim, "-C", v.dir+"/exim.conf", "-bdf", "-q2s")
}

// opensmtpdFolder is where interop/install unpacks OpenSMTPD: it cannot be
// installed beside Postfix.
const opensmtpdFolder = "/var/cache/breakwater-interop/opensmtpd"

const peerOpenSMTPD = `pki peer cert "{cert}"
pki peer key "{key}"
listen on 127.0.0.1 port {port} tls pki peer hostname opensmtpd.peer.test
action "away" relay host "smtp+notls://127.0.0.1:{sink}"
action "us" relay host "smtp+tls://127.0.0.1:{us}" tls no-verify
match from any for domain "peer.test" action "away"
match from any for domain "bench.test" action "us"
`

// peerOpenSMTPD6 lays the folders that are compiled into it over those of these
// namespaces. What Debian has was not made for its OpenSSL: as a server it
// offers TLS and then has no key ("missing private key"), RSA or ECDSA, so that
// mail to it shows what becomes of a host with broken TLS.
func peerOpenSMTPD6(t *testing.T, v peerValues) peer {
	smtpd := filepath.Join(opensmtpdFolder, "usr/sbin/smtpd")
	if _, err := os.Stat(smtpd); err != nil {
		t.Skipf("PEER MISSING: opensmtpd in %s (interop/install clients)", opensmtpdFolder)
	}
	needUser(t, "opensmtpd")
	needUser(t, "opensmtpq")
	cover := func(kind, target, options string) {
		if err := unix.Mount(kind, target, kind, 0, options); err != nil {
			t.Skipf("MOUNT NOT ALLOWED: %s: %v", target, err)
		}
		t.Cleanup(func() { _ = unix.Unmount(target, unix.MNT_DETACH) })
	}
	for _, name := range []string{"upper", "work"} {
		if err := os.Mkdir(filepath.Join(v.dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cover("overlay", "/var/lib", fmt.Sprintf("lowerdir=%s/var/lib:/var/lib,upperdir=%[2]s/upper,workdir=%[2]s/work", opensmtpdFolder, v.dir))
	cover("tmpfs", "/var/spool", "mode=755")
	cover("tmpfs", "/run", "mode=755")
	if err := os.MkdirAll("/var/lib/opensmtpd/empty", 0o755); err != nil {
		t.Fatal(err)
	}
	public(t, v.dir+"/smtpd.conf", v.fill(peerOpenSMTPD))
	p := v.serve(t, "opensmtpd", []string{"LD_LIBRARY_PATH=" + opensmtpdFolder + "/usr/lib/x86_64-linux-gnu"}, smtpd, "-d", "-f", v.dir+"/smtpd.conf")
	p.broken = true
	return p
}

// TestOut_Peers sends the corpus to Debian's Postfix and Exim, and has them
// send it to us. Each message arrives as it was handed in, by TLS.
func TestOut_Peers(t *testing.T) {
	t.Parallel()
	t.Run("postfix", func(t *testing.T) { t.Parallel(); meetsPeer(t, peerPostfix) })
	t.Run("exim", func(t *testing.T) { t.Parallel(); meetsPeer(t, peerExim4) })
}

// TestOut_PeersOpenSMTPD does the same with OpenSMTPD. It is not parallel, since
// that needs folders of the system.
func TestOut_PeersOpenSMTPD(t *testing.T) { meetsPeer(t, peerOpenSMTPD6) }

func meetsPeer(t *testing.T, start func(*testing.T, peerValues) peer) {
	behind := startSink(t, "127.0.0.1:0", nil, sinkRules{})
	b := made(t, folder(t), "")
	p := start(t, newPeerValues(t, behind.addr, b.SMTP))
	h := startMade(t, b, "localhost", soon+"[delivery]\nroutes = [\"peer.test smtp://"+p.addr+"\"]\n")
	letters := append(corpus(), letter{name: "utf8-header", wide: true, data: []byte("From: Grüße <sender@bench.example>\r\nTo: <user0@bench.test>\r\n" +
		"Subject: Grüße 🌊\r\nMessage-ID: <utf8-header@bench.example>\r\nDate: Thu, 05 Nov 2026 10:00:00 +0000\r\n\r\nkurz\r\n")})
	h.toPeer(p, behind, letters)
	h.fromPeer(p, letters)
	h.closed()
}

// toPeer sends letters to the peer, which hands them on to the sink.
func (h *outHost) toPeer(p peer, behind *sink, letters []letter) {
	h.t.Helper()
	for _, l := range letters {
		h.submit(l.data, l.name+"@peer.test")
	}
	for _, l := range letters {
		got := behind.of(h.t, l.name+"@peer.test", 1)[0]
		whole(h.t, "to "+p.name+": "+l.name, got.data, l.data)
		said := h.became(l.name+"@peer.test", "relayed")
		want := "TLS 1.3"
		if p.broken {
			want = "handshake failed"
		}
		if !strings.Contains(said, want) {
			h.t.Errorf("to %s: trace says %q, want %s", p.name, said, want)
		}
	}
}

// fromPeer has the peer send letters to us.
func (h *outHost) fromPeer(p peer, letters []letter) {
	h.t.Helper()
	c, err := wire.DialSMTP(p.addr, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	defer c.Quit()
	for _, l := range letters {
		if err := inTurn(c, "sender@peer.test", h.User(2), l.data); err != nil {
			h.t.Fatalf("to %s: %s: %v", p.name, l.name, err)
		}
	}
	all := bodies(h.t, &h.Server, 2, "INBOX", len(letters))
	for _, l := range letters {
		if got := find(h.t, all, l); got != nil {
			whole(h.t, "from "+p.name+": "+l.name, got, l.data)
			if first, _, _ := bytes.Cut(got, []byte(";")); !bytes.Contains(first, []byte("with ESMTPS")) {
				h.t.Errorf("from %s: %s came without TLS: %s", p.name, l.name, first)
			}
		}
	}
}

// inTurn hands over a message without PIPELINING, which OpenSMTPD does not have.
func inTurn(c *wire.SMTP, from, to string, data []byte) error {
	if err := c.Command("MAIL FROM:<"+from+">", 250); err != nil {
		return err
	}
	if err := c.Command("RCPT TO:<"+to+">", 250); err != nil {
		return err
	}
	if err := c.Command("DATA", 354); err != nil {
		return err
	}
	if _, err := c.Conn.Write(wire.Stuff(data)); err != nil {
		return err
	}
	return c.Command(".", 250)
}
