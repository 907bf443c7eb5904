//go:build interop

package interop

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/breakwater-mail/breakwater/bench/proc"
)

// inner is an SMTP server of Debian's behind the edge. It takes mail for
// bench.test: not for unknown*, with 452 for full*, and after two seconds for
// slow*. Its maildirs are below mail.
type inner struct {
	dir, mail string
	xclient   string // address of a listener that takes XCLIENT; "" if it cannot
	proxy     string // of one that wants the PROXY protocol
	plain     string // of one that wants neither
	full      string // of one that believes its disk to be full; "" if it cannot
	log       string
	begun     *regexp.Regexp // a line that ties the server's id of a message to its subject
	queued    *regexp.Regexp // one that says that it was accepted; nil: the same
	start     func(t *testing.T) *proc.Child
	child     *proc.Child
}

// innerUsers have mailboxes.
var innerUsers = []string{"one", "many0", "many1", "slow1", "full1"}

// mailIDs are those of Debian's user mail.
func mailIDs(t *testing.T) (uid, gid int) {
	t.Helper()
	u, err := user.Lookup("mail")
	if err != nil {
		t.Skipf("USER MISSING: %v", err)
	}
	uid, _ = strconv.Atoi(u.Uid)
	gid, _ = strconv.Atoi(u.Gid)
	return uid, gid
}

// needUser skips unless a user is there, as Debian made it or addUsers.
func needUser(t *testing.T, name string) {
	t.Helper()
	if _, err := user.Lookup(name); err != nil {
		t.Skipf("MOUNT NOT ALLOWED: %v", err)
	}
}

// public makes a file that everybody may read.
func public(t *testing.T, name, text string) {
	t.Helper()
	write(t, name, text)
	if err := os.Chmod(name, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
}

// mailFolder makes a folder that the user mail owns.
func mailFolder(t *testing.T, dir, name string) string {
	t.Helper()
	uid, gid := mailIDs(t)
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, uid, gid); err != nil {
		t.Skipf("ROOT MISSING: %v", err)
	}
	return path
}

const innerPostfixMain = `compatibility_level = 3.6
queue_directory = %[1]s/spool
data_directory = %[1]s/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = %[1]s/postfix.log
maillog_file_prefixes = %[1]s
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = inner.bench.test
mydestination =
mynetworks = 192.0.2.99
alias_maps =
alias_database =
local_recipient_maps =
virtual_mailbox_domains = bench.test
virtual_mailbox_base = %[1]s/mail
virtual_mailbox_maps = texthash:%[1]s/etc/boxes
virtual_uid_maps = static:%[2]d
virtual_gid_maps = static:%[3]d
virtual_minimum_uid = 1
smtpd_peername_lookup = no
smtpd_relay_restrictions = reject_unauth_destination
smtpd_recipient_restrictions = check_recipient_access regexp:%[1]s/etc/access
smtpd_client_connection_count_limit = 0
in_flow_delay = 0
service_throttle_time = 1s
enable_long_queue_ids = yes
header_checks = regexp:%[1]s/etc/headers
`

// The ports are those of xclient, proxy, plain and full.
const innerPostfixMaster = `%s inet n - n - - smtpd
  -o smtpd_authorized_xclient_hosts=127.0.0.1
%s inet n - n - - smtpd
  -o smtpd_upstream_proxy_protocol=haproxy
%s inet n - n - - smtpd
%s inet n - n - - smtpd
  -o smtpd_authorized_xclient_hosts=127.0.0.1
  -o queue_minfree=1000000000000000
cleanup   unix n - n - 0 cleanup
qmgr      unix n - n 300 1 qmgr
rewrite   unix - - n - - trivial-rewrite
bounce    unix - - n - 0 bounce
defer     unix - - n - 0 bounce
trace     unix - - n - 0 bounce
flush     unix n - n 1000? 0 flush
proxymap  unix - - n - - proxymap
showq     unix n - n - - showq
error     unix - - n - - error
retry     unix - - n - - error
virtual   unix - n n - - virtual
anvil     unix - - n - 1 anvil
postlog   unix-dgram n - n - 1 postlogd
`

// startInnerPostfix starts Debian's Postfix with four listeners.
func startInnerPostfix(t *testing.T) *inner {
	t.Helper()
	return startInnerPostfixWith(t, strings.NewReplacer())
}

// startInnerPostfixWith starts one with changes to main.cf.
func startInnerPostfixWith(t *testing.T, changes *strings.Replacer) *inner {
	t.Helper()
	postfix := tool(t, "postfix")
	uid, gid := mailIDs(t)
	dir := folder(t)
	in := &inner{
		dir: dir, mail: mailFolder(t, dir, "mail"), log: filepath.Join(dir, "postfix.log"),
		begun:   regexp.MustCompile(` ([0-9A-Za-z]+): info: header Subject: (\S+) `),
		queued:  regexp.MustCompile(` ([0-9A-Za-z]+): from=<`),
		xclient: reserve(t, loopback), proxy: reserve(t, loopback), plain: reserve(t, loopback), full: reserve(t, loopback),
	}
	for _, name := range []string{"etc", "spool", "data"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if u, err := user.Lookup("postfix"); err == nil {
		id, _ := strconv.Atoi(u.Uid)
		if err := os.Chown(filepath.Join(dir, "data"), id, 0); err != nil {
			t.Skipf("ROOT MISSING: %v", err)
		}
	}
	public(t, filepath.Join(dir, "etc/main.cf"), changes.Replace(fmt.Sprintf(innerPostfixMain, dir, uid, gid)))
	public(t, filepath.Join(dir, "etc/master.cf"), fmt.Sprintf(innerPostfixMaster, port(t, in.xclient), port(t, in.proxy), port(t, in.plain), port(t, in.full)))
	// A start after a kill may have to mend the queue, by a program that is not
	// root and writes its log itself.
	public(t, in.log, "")
	if err := os.Chmod(in.log, 0o666); err != nil {
		t.Fatal(err)
	}
	var boxes strings.Builder
	for _, local := range innerUsers {
		fmt.Fprintf(&boxes, "%[1]s@bench.test %[1]s/\n", local)
	}
	public(t, filepath.Join(dir, "etc/boxes"), boxes.String())
	public(t, filepath.Join(dir, "etc/headers"), "/^Subject: / INFO\n")
	public(t, filepath.Join(dir, "etc/access"), "/^full/ 452 4.2.2 mailbox full\n/^slow/ sleep 2\n")
	in.start = func(t *testing.T) *proc.Child {
		c, err := proc.Start("postfix", filepath.Join(dir, "postfix.out"), exec.Command(postfix, "-c", filepath.Join(dir, "etc"), "start-fg"))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	in.up(t, in.xclient)
	return in
}

// eximFolder is where interop/install unpacks Exim: it cannot be installed
// beside Postfix.
const eximFolder = "/var/cache/breakwater-interop/exim"

const innerExim = `exim_user = mail
exim_group = mail
exim_path = %[2]s
keep_environment = LD_LIBRARY_PATH
spool_directory = %[1]s/spool
log_file_path = %[1]s/log/%%slog
log_selector = +subject
primary_hostname = inner.bench.test
daemon_smtp_ports = %[3]s : %[4]s
local_interfaces = 127.0.0.1
hosts_proxy = ${if eq{$received_port}{%[3]s}{127.0.0.1}}
tls_advertise_hosts =
host_lookup =
smtp_accept_max = 300
smtp_accept_max_per_connection = 10000
smtp_accept_queue_per_connection = 0
queue_run_max = 5
never_users =
acl_smtp_rcpt = rcpt
acl_smtp_data = data
begin acl
rcpt:
  deny local_parts = ^unknown
       message = 550 5.1.1 no such user here
  defer local_parts = ^full
       message = 452 4.2.2 mailbox full
  warn local_parts = ^slow
       delay = 2s
  accept domains = bench.test
  deny message = 550 5.7.1 relay not permitted
data:
  accept
begin routers
all:
  driver = accept
  domains = bench.test
  transport = box
begin transports
box:
  driver = appendfile
  directory = %[1]s/mail/${lookup{$local_part}lsearch{%[1]s/boxes}{$value}{other}}
  maildir_format
  user = mail
  group = mail
  create_directory
begin retry
* * F,2h,1s
`

// startInnerExim starts Debian's Exim from where interop/install unpacked it.
func startInnerExim(t *testing.T) *inner {
	t.Helper()
	exim := filepath.Join(eximFolder, "usr/sbin/exim4")
	if _, err := os.Stat(exim); err != nil {
		t.Skipf("PEER MISSING: exim4-daemon-heavy in %s (interop/install inner)", eximFolder)
	}
	needUser(t, "Debian-exim")
	dir := folder(t)
	in := &inner{dir: dir, mail: mailFolder(t, dir, "mail"), log: filepath.Join(dir, "log/mainlog"),
		begun: regexp.MustCompile(` ([0-9A-Za-z-]+) <= .* T="([^"]+)"`),
		proxy: reserve(t, loopback), plain: reserve(t, loopback)}
	mailFolder(t, dir, "spool")
	mailFolder(t, dir, "log")
	var boxes strings.Builder // what a client says is no path
	for _, local := range innerUsers {
		fmt.Fprintf(&boxes, "%[1]s: %[1]s\n", local)
	}
	public(t, filepath.Join(dir, "boxes"), boxes.String())
	config := filepath.Join(dir, "exim.conf")
	public(t, config, fmt.Sprintf(innerExim, dir, exim, port(t, in.proxy), port(t, in.plain)))
	in.start = func(t *testing.T) *proc.Child {
		cmd := exec.Command(exim, "-C", config, "-bdf", "-q2s")
		cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+filepath.Join(eximFolder, "usr/lib/x86_64-linux-gnu")+":"+filepath.Join(eximFolder, "usr/lib"))
		c, err := proc.Start("exim", filepath.Join(dir, "exim.out"), cmd)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	in.up(t, in.plain)
	return in
}

// up starts the server and waits until it answers.
func (in *inner) up(t *testing.T, addr string) {
	t.Helper()
	in.child = in.start(t)
	t.Cleanup(func() {
		in.kill()
		if t.Failed() {
			for _, name := range []string{in.log, filepath.Join(in.dir, "postfix.out"), filepath.Join(in.dir, "exim.out")} {
				text, _ := os.ReadFile(name)
				t.Logf("%s ends:\n%s", name, text[max(0, len(text)-4000):])
			}
		}
	})
	in.wait(t, addr)
}

func (in *inner) wait(t *testing.T, addr string) {
	t.Helper()
	eventually(t, "the inner server listens on "+addr, func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

// kill ends the server with all its processes, at once.
func (in *inner) kill() {
	_ = syscall.Kill(in.child.Pid(), syscall.SIGSTOP) // so that it starts no more that we do not see
	for _, pid := range proc.Tree(in.child.Pid()) {
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended by itself
	}
	in.child.Kill()
}

// killWorkers ends those processes that hold connections, and leaves the one
// that started them. It looks until there are some.
func (in *inner) killWorkers(t *testing.T) (n int) {
	t.Helper()
	eventually(t, "a process that holds a connection", func() bool { n = in.killOnce(); return n > 0 })
	return n
}

// killOnce looks while they all stand still: Exim's live for milliseconds.
func (in *inner) killOnce() (n int) {
	main := in.child.Pid()
	_ = syscall.Kill(main, syscall.SIGSTOP) // so that it starts no more that we do not see
	stopped := proc.Tree(main)
	for _, pid := range stopped {
		_ = syscall.Kill(pid, syscall.SIGSTOP) // it may have ended by itself
	}
	sockets := in.connections()
	for _, pid := range stopped {
		fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		for _, fd := range fds {
			to, _ := os.Readlink(fd)
			if pid != main && sockets[to] && syscall.Kill(pid, syscall.SIGKILL) == nil {
				n++
				break
			}
		}
	}
	for _, pid := range stopped {
		_ = syscall.Kill(pid, syscall.SIGCONT)
	}
	return n
}

// connections are the sockets of connections to the inner server's ports, as
// they stand in /proc/PID/fd.
func (in *inner) connections() map[string]bool {
	ports := map[string]bool{}
	for _, addr := range []string{in.xclient, in.proxy, in.plain, in.full} {
		if at, err := netip.ParseAddrPort(addr); err == nil { // "": it has none of that kind
			ports[fmt.Sprintf("%04X", at.Port())] = true
		}
	}
	text, _ := os.ReadFile("/proc/net/tcp")
	all := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 10 || f[3] != "01" { // established
			continue
		}
		if _, port, _ := strings.Cut(f[1], ":"); ports[port] {
			all["socket:["+f[9]+"]"] = true
		}
	}
	return all
}

// box returns the messages of a local part, with LF line ends.
func (in *inner) box(t *testing.T, local string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(in.mail, local, "new", "*"))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))))
	}
	return all
}

// arrived waits until a box has so many messages and returns them.
func (in *inner) arrived(t *testing.T, local string, n int) []string {
	t.Helper()
	eventually(t, fmt.Sprintf("%d messages for %s", n, local), func() bool { return len(in.box(t, local)) >= n })
	all := in.box(t, local)
	if len(all) != n {
		t.Errorf("%s has %d messages, want %d", local, len(all), n)
	}
	return all
}

// taken counts, by subject, the messages that the server has accepted, whatever
// became of each behind that: a delivery that is killed is done again.
func (in *inner) taken(t *testing.T) map[string]int {
	t.Helper()
	text, err := os.ReadFile(in.log)
	if err != nil {
		t.Fatal(err)
	}
	accepted := map[string]bool{}
	if in.queued != nil {
		for _, m := range in.queued.FindAllSubmatch(text, -1) {
			accepted[string(m[1])] = true
		}
	}
	seen, count := map[string]bool{}, map[string]int{}
	for _, m := range in.begun.FindAllSubmatch(text, -1) {
		if id := string(m[1]); !seen[id] && (in.queued == nil || accepted[id]) {
			seen[id] = true
			count[string(m[2])]++
		}
	}
	return count
}
