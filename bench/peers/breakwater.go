package peers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/breakwater-mail/breakwater/bench/proc"
)

// breakwaterDomain is what the host takes mail for.
const breakwaterDomain = "bench.test"

// Breakwater is a host of ours in a folder: made once, then started, killed and
// started again as often as one likes.
type Breakwater struct {
	Server                           // SMTP, IMAPS and the rest; the addresses never change
	Bin                              // runs the commands
	Dir                              string
	Submission, Submissions, IMAP143 string
	POP3, POP3S, Metrics             string
	Hostname                         string   // what it calls itself from the next Configure on
	Env                              []string // of its process, besides ours: "KEY=value"
}

// Bin is the path of the breakwater program.
type Bin string

// Build compiles the program into dir.
func Build(ctx context.Context, dir string) (Bin, error) {
	name := filepath.Join(dir, "breakwater")
	out, err := exec.CommandContext(ctx, "go", "build", "-o", name, "github.com/breakwater-mail/breakwater/cmd/breakwater").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build breakwater: %w\n%s", err, out)
	}
	return Bin(name), nil
}

// Run runs one command of the program and gives what it printed on both outputs.
func (b Bin) Run(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, string(b), args...).CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("breakwater %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return string(out), nil
}

// NewBreakwater makes a host in dir on free ports, with the sections of TOML in
// extra added to its configuration. It does not start it.
func NewBreakwater(ctx context.Context, bin Bin, dir, extra string) (*Breakwater, error) {
	b := &Breakwater{Bin: bin, Dir: dir, Hostname: "localhost"}
	b.Name = "breakwater"
	b.CA = filepath.Join(dir, "ca.pem")
	b.Password = "bench-Password-1"
	b.serverName = "localhost"
	b.user = func(i int) string { return "user" + strconv.Itoa(i) + "@" + breakwaterDomain }
	b.provision = b.addAccounts
	b.settle = b.indexText
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := os.WriteFile(b.passwordFile(), []byte(b.Password+"\n"), 0o600); err != nil {
		return nil, err
	}
	if _, err := bin.Run(ctx, "init", "localhost", "--dir", dir, "--domain", breakwaterDomain, "--password-file", b.passwordFile()); err != nil {
		return nil, err
	}
	return b, b.configure(extra)
}

func (b *Breakwater) passwordFile() string { return filepath.Join(b.Dir, "bench-password") }

// ConfigFile gives the path of the configuration.
func (b *Breakwater) ConfigFile() string { return filepath.Join(b.Dir, "breakwater.toml") }

// listener is a key of [listen] and its address.
type listener struct {
	key  string
	addr *string
}

func (b *Breakwater) listeners() []listener {
	return []listener{
		{"smtp", &b.SMTP}, {"submission", &b.Submission}, {"submissions", &b.Submissions},
		{"imap", &b.IMAP143}, {"imaps", &b.IMAPS}, {"pop3", &b.POP3}, {"pop3s", &b.POP3S}, {"metrics", &b.Metrics},
	}
}

// configure chooses ports and writes the configuration.
func (b *Breakwater) configure(extra string) error {
	for _, l := range b.listeners() {
		var err error
		if *l.addr, err = b.port(); err != nil {
			return err
		}
	}
	return b.Configure(extra)
}

// Configure writes the configuration for the next start: the defaults, but for
// the ports, and the sections in extra.
func (b *Breakwater) Configure(extra string) error {
	var conf strings.Builder
	fmt.Fprintf(&conf, "hostname = %q\n\n[listen]\n", b.Hostname)
	for _, l := range b.listeners() {
		fmt.Fprintf(&conf, "%s = [%q]\n", l.key, *l.addr)
	}
	conf.WriteString("\n" + extra)
	return os.WriteFile(b.ConfigFile(), []byte(conf.String()), 0o644)
}

// Start starts the host and waits until it takes mail and shows it.
func (b *Breakwater) Start(ctx context.Context) error {
	if err := b.StartOnly(); err != nil {
		return err
	}
	return b.WaitReady(ctx)
}

// WaitReady waits until a started host is healthy. An open port alone says
// little: the kernel accepts connections while the store is still being opened.
func (b *Breakwater) WaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyWait)
	defer cancel()
	for {
		if b.healthy(ctx) {
			return nil
		}
		if !b.Running() {
			return fmt.Errorf("breakwater ended before it was ready; its log ends:\n%s", b.LogTail())
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("breakwater is not ready: %w; its log ends:\n%s", ctx.Err(), b.LogTail())
		case <-time.After(pollEvery):
		}
	}
}

// healthy asks the host for its health.
func (b *Breakwater) healthy(ctx context.Context) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+b.Metrics+"/health", nil)
	if err != nil {
		return false
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// indexText waits until the text index has what searches have asked for. It
// works a quarter of the time, so that this may take minutes.
func (b *Breakwater) indexText(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, textWait)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+b.Metrics+"/metrics", nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		text, err := io.ReadAll(resp.Body)
		if err := errors.Join(err, resp.Body.Close()); err != nil {
			return err
		}
		if bytes.Contains(text, []byte("\nbreakwater_fulltext_wanted_messages 0\n")) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

// StartOnly starts the host and waits for nothing.
func (b *Breakwater) StartOnly() error {
	if len(b.children) > 0 {
		return errors.New("breakwater runs already")
	}
	cmd := exec.Command(string(b.Bin), "serve", "--config", b.ConfigFile())
	if len(b.Env) > 0 {
		cmd.Env = append(os.Environ(), b.Env...)
	}
	c, err := proc.Start("breakwater", filepath.Join(b.Dir, "log"), cmd)
	if err != nil {
		return err
	}
	b.children = append(b.children, c)
	return nil
}

// Kill ends the host with SIGKILL.
func (b *Breakwater) Kill() {
	for _, c := range b.children {
		c.Kill()
	}
	b.children = nil
}

// Running tells whether the host was started and has not ended by itself.
func (b *Breakwater) Running() bool {
	if len(b.children) == 0 {
		return false
	}
	select {
	case <-b.children[0].Done():
		return false
	default:
		return true
	}
}

// LogTail gives the end of the host's log.
func (b *Breakwater) LogTail() string {
	const tail = 2000
	log, _ := os.ReadFile(filepath.Join(b.Dir, "log"))
	if len(log) > tail {
		log = log[len(log)-tail:]
	}
	return string(log)
}

// addAccounts makes the users that are not there yet, through the running host.
func (b *Breakwater) addAccounts(ctx context.Context, n int) error {
	for i := b.provided; i < n; i++ {
		if err := b.AddAccount(ctx, b.User(i)); err != nil {
			return err
		}
	}
	return nil
}

// AddAccount makes one account with the common password.
func (b *Breakwater) AddAccount(ctx context.Context, address string) error {
	_, err := b.Run(ctx, "account", "add", address, "--dir", b.Dir, "--password-file", b.passwordFile())
	return err
}

// StartDemo starts a demo in dir that asks a DNSBL. A demo has fixed ports: it
// wants a network of its own (proc.Isolate).
func StartDemo(ctx context.Context, bin Bin, dir string, dns *DNSBL) (*Server, error) {
	s := &Server{Name: "breakwater", SMTP: "127.0.0.1:2525", user: func(int) string { return "one@demo.test" }}
	c, err := proc.Start("breakwater", filepath.Join(dir, "log"),
		exec.Command(string(bin), "demo", "--dir", filepath.Join(dir, "demo"), "--password", "bench-Password-1", "--dns", dns.Addr, "--dnsbl", dns.Zone))
	if err != nil {
		return nil, err
	}
	s.children = append(s.children, c)
	if err := waitPort(ctx, s.SMTP, c); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}
