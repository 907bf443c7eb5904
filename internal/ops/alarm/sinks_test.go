package alarm

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

func notice() Notice {
	at := time.Date(2026, 11, 20, 10, 0, 0, 5e6, time.UTC)
	return Notice{
		Host: "mx.demo.test", Event: Raised, Key: "queue-age", Severity: Critical, Text: "too\r\nold \u2028\x1b[2J",
		Facts: Facts{"oldest": "1h", "domain": "example.org"}, Since: at, At: at,
	}
}

// soon gives a sink less time than Alarms does, where it is meant to run out.
func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

func sink(t *testing.T, c Config) Sink {
	t.Helper()
	all, err := c.Sinks()
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	return all[0]
}

func TestConfig_refusesWhatCannotWork(t *testing.T) {
	for name, c := range map[string]Config{
		"no scheme": {Webhook: "example.org/hook"}, "no host": {Webhook: "https:///x"}, "a file": {Webhook: "file:///etc/passwd"},
		"no program": {Exec: []string{"/nonexistent/program"}}, "too many": {Exec: make([]string, execArgumentsMax+1)},
		"no port": {Syslog: "udp:localhost"}, "relative": {Syslog: "unix:log"}, "unknown": {Syslog: "ssl:localhost:514"}, "empty": {Syslog: ":"},
	} {
		if all, err := c.Sinks(); err == nil {
			t.Errorf("%s: %v, want an error", name, all)
		}
	}
	_, err := Config{Webhook: "https://exa mple.org/SECRET"}.Sinks()
	if err == nil || strings.Contains(err.Error(), "SECRET") {
		t.Errorf("error = %v, want one that hides the URL", err)
	}
	all, err := Config{Webhook: "https://example.org/x", Exec: []string{os.Args[0]}, Syslog: "tcp:[::1]:601"}.Sinks()
	if err != nil || len(all) != 3 {
		t.Errorf("%v, %v", all, err)
	}
	if all, err := (Config{}).Sinks(); err != nil || len(all) != 0 {
		t.Errorf("none: %v, %v", all, err)
	}
}

func TestWebhook(t *testing.T) {
	secret := []byte("s3cret")
	var got Notice
	var problem string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mac := hmac.New(sha256.New, secret)
		mac.Write(body)
		if want := "sha256=" + hex.EncodeToString(mac.Sum(nil)); r.Header.Get("Breakwater-Signature") != want {
			problem = "signature " + r.Header.Get("Breakwater-Signature")
		}
		if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
			problem = r.Method + " " + r.Header.Get("Content-Type")
		}
		if err := json.Unmarshal(body, &got); err != nil {
			problem = err.Error()
		}
		_, _ = io.CopyN(w, endless{}, 1<<20)
	}))
	t.Cleanup(srv.Close)
	s := sink(t, Config{Webhook: srv.URL, Secret: secret})
	if err := s.Send(t.Context(), notice()); err != nil {
		t.Fatal(err)
	}
	if problem != "" || got.Key != "queue-age" || got.Severity != Critical || got.Facts["oldest"] != "1h" {
		t.Errorf("%s; notice = %+v", problem, got)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestWebhook_answers(t *testing.T) {
	for status, want := range map[int]string{
		200: "", 204: "", 301: "refused", 302: "refused", 400: "refused", 404: "refused",
		408: "later", 429: "later", 500: "later", 503: "later",
	} {
		hits := 0
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			hits++
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(status)
		}))
		err := sink(t, Config{Webhook: srv.URL + "/SECRET"}).Send(t.Context(), notice())
		srv.Close()
		is := "later"
		switch {
		case err == nil:
			is = ""
		case errors.Is(err, ErrRefused):
			is = "refused"
		}
		if is != want || hits != 1 || err != nil && strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%d: %q (%v) after %d requests, want %q", status, is, err, hits, want)
		}
	}
}

func TestWebhook_hangsOrIsGone(t *testing.T) {
	ended := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { <-ended }))
	err := sink(t, Config{Webhook: srv.URL + "/SECRET"}).Send(soon(t), notice())
	close(ended)
	srv.Close()
	if !errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "SECRET") {
		t.Errorf("hanging: %v", err)
	}
	if err := sink(t, Config{Webhook: srv.URL + "/SECRET"}).Send(t.Context(), notice()); err == nil || strings.Contains(err.Error(), "SECRET") {
		t.Errorf("gone: %v", err)
	}
}

// TestMain plays the program that an alarm starts.
func TestMain(m *testing.M) {
	if len(os.Args) < 3 || os.Args[1] != "alarm-program" {
		os.Exit(m.Run())
	}
	switch os.Args[2] {
	case "write":
		b, _ := io.ReadAll(os.Stdin)
		b = fmt.Appendln(b, os.Args[4:], os.Getenv("BREAKWATER_EVENT"), "secret:", os.Getenv("ALARM_TEST_SECRET"))
		if os.WriteFile(os.Args[3], b, 0o600) != nil {
			os.Exit(3)
		}
	case "fail":
		fmt.Fprint(os.Stderr, "no\npager\x1b[2J here ", strings.Repeat("x", 1<<20))
		os.Exit(4)
	case "hang":
		select {}
	}
}

func TestExec(t *testing.T) {
	t.Setenv("ALARM_TEST_SECRET", "of the host")
	path := filepath.Join(t.TempDir(), "out")
	s := sink(t, Config{Exec: []string{os.Args[0], "alarm-program", "write", path, "a b", "$HOME;"}})
	if err := s.Send(t.Context(), notice()); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	body, rest, _ := strings.Cut(string(b), "\n")
	var got Notice
	if err := json.Unmarshal([]byte(body), &got); err != nil || got.Key != "queue-age" {
		t.Errorf("standard input: %q, %v", body, err)
	}
	if rest != "[a b $HOME;] raised secret: \n" {
		t.Errorf("arguments and environment: %q", rest)
	}
}

func TestExec_failsOrHangs(t *testing.T) {
	err := sink(t, Config{Exec: []string{os.Args[0], "alarm-program", "fail"}}).Send(t.Context(), notice())
	if err == nil || !strings.Contains(err.Error(), "exit status 4: no pager [2J here x") || len(err.Error()) > 2*execErrorsMax {
		t.Errorf("failed: %v", err)
	}
	err = sink(t, Config{Exec: []string{os.Args[0], "alarm-program", "hang"}}).Send(soon(t), notice())
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("hanging: %v", err)
	}
}

// A program that leaves something behind which holds its output is done all
// the same, and what a hanging one has started is ended with it.
func TestExec_children(t *testing.T) {
	sh := "/bin/sh"
	if _, err := os.Stat(sh); err != nil {
		t.Skip("no /bin/sh")
	}
	if err := sink(t, Config{Exec: []string{sh, "-c", "sleep 30 & exit 0"}}).Send(t.Context(), notice()); err != nil {
		t.Errorf("left a child: %v", err)
	}
	pid := filepath.Join(t.TempDir(), "pid")
	if err := sink(t, Config{Exec: []string{sh, "-c", "sleep 30 & echo $! >" + pid + "; wait"}}).Send(soon(t), notice()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("hanging: %v", err)
	}
	b, err := os.ReadFile(pid)
	if err != nil {
		t.Fatal(err)
	}
	// A killed process may be a zombie until init has looked.
	stat, err := os.ReadFile("/proc/" + strings.TrimSpace(string(b)) + "/stat")
	if err == nil && !strings.Contains(string(stat), ") Z ") && !strings.Contains(string(stat), ") X ") {
		t.Errorf("the child of a program that hung is still there: %s", stat)
	}
}

var line5424 = regexp.MustCompile(`^<18>1 2026-11-20T10:00:00\.005Z mx\.demo\.test breakwater - raised - raised queue-age: too  old .* \[2J; domain=example\.org; oldest=1h$`)

func TestSyslog_datagrams(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	unix, err := net.ListenPacket("unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	for target, conn := range map[string]net.PacketConn{"unix:" + path: unix, "udp:" + udp.LocalAddr().String(): udp} {
		t.Cleanup(func() { conn.Close() })
		if err := sink(t, Config{Syslog: target}).Send(t.Context(), notice()); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 4096)
		n, _, err := conn.ReadFrom(b)
		if got := strings.TrimSuffix(string(b[:n]), "\n"); err != nil || !line5424.MatchString(got) {
			t.Errorf("%s: %q, %v", target, got, err)
		}
	}
}

func TestSyslog_streams(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	for _, addr := range []string{path, "127.0.0.1:0"} {
		network := "tcp"
		if addr == path {
			network = "unix"
		}
		l, err := net.Listen(network, addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		got := make(chan string, 1)
		go func() {
			conn, err := l.Accept()
			if err != nil {
				got <- err.Error()
				return
			}
			defer conn.Close()
			b, _ := io.ReadAll(conn)
			got <- string(b)
		}()
		if err := sink(t, Config{Syslog: network + ":" + l.Addr().String()}).Send(t.Context(), notice()); err != nil {
			t.Fatal(err)
		}
		line := <-got
		if network == "tcp" {
			count, rest, _ := strings.Cut(line, " ")
			if n, err := strconv.Atoi(count); err != nil || n != len(rest) {
				t.Errorf("octet count %q of %d octets", count, len(rest))
			}
			line = rest
		}
		if line = strings.TrimSuffix(line, "\n"); !line5424.MatchString(line) {
			t.Errorf("%s: %q", network, line)
		}
	}
}

// Over TLS a line goes to whoever has the right certificate, and to nobody else.
func TestSyslog_tls(t *testing.T) {
	srv := httptest.NewTLSServer(nil) // for its certificate
	defer srv.Close()
	l, err := tls.Listen("tcp", "127.0.0.1:0", srv.TLS)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got := make(chan string, 2)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b, _ := io.ReadAll(c)
			got <- string(b)
			_ = c.Close()
		}
	}()
	s := sink(t, Config{Syslog: "tls:" + l.Addr().String()}).(*syslog)
	if err := s.Send(t.Context(), notice()); err == nil {
		t.Error("sent to a certificate that nobody knows")
	}
	if line := <-got; line != "" {
		t.Errorf("it has read %q", line)
	}
	s.tls.RootCAs = x509.NewCertPool()
	s.tls.RootCAs.AddCert(srv.Certificate())
	if err := s.Send(t.Context(), notice()); err != nil {
		t.Fatal(err)
	}
	want := syslogLine(notice())
	if line := <-got; line != fmt.Sprintf("%d %s", len(want), want) {
		t.Errorf("it has read %q", line)
	}
	s.tls.ServerName = "loghost.invalid"
	if err := s.Send(t.Context(), notice()); err == nil {
		t.Error("sent to another name")
	}
}

func TestSyslog_gone(t *testing.T) {
	for _, target := range []string{"unix:" + filepath.Join(t.TempDir(), "log"), "tcp:127.0.0.1:1"} {
		if err := sink(t, Config{Syslog: target}).Send(soon(t), notice()); err == nil {
			t.Errorf("%s: no error", target)
		}
	}
}

// A receiver that reads nothing costs no more than the time it is given.
func TestSyslog_silent(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if err := sink(t, Config{Syslog: "tcp:" + l.Addr().String()}).Send(soon(t), notice()); err != nil {
		t.Errorf("the kernel has taken it: %v", err)
	}
}

func TestSyslogLine_bounds(t *testing.T) {
	n := notice()
	n.Host, n.Text = "bad host\x00"+strings.Repeat("h", 300), strings.Repeat("ü", 3000)
	line := syslogLine(n)
	if len(line) > syslogOctetsMax || !strings.HasPrefix(line, "<18>1 2026-11-20T10:00:00.005Z badhosth") || strings.ContainsRune(line, '\ufffd') {
		t.Errorf("%d octets: %.80q", len(line), line)
	}
	n = notice()
	for event, want := range map[string]string{Raised: "<18>", Repeated: "<18>", Cleared: "<21>", Tested: "<21>"} {
		n.Event, n.Host = event, ""
		if line := syslogLine(n); !strings.HasPrefix(line, want+"1 2026-11-20T10:00:00.005Z - breakwater") {
			t.Errorf("%s: %q", event, line)
		}
	}
	n.Severity, n.Event = Warning, Raised
	if line := syslogLine(n); !strings.HasPrefix(line, "<20>") {
		t.Errorf("a warning: %q", line)
	}
}
