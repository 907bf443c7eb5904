//go:build interop

package interop

import (
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/bench/proc"
	"github.com/breakwater-mail/breakwater/bench/wire"
)

// demo is `breakwater demo` on its fixed ports.
type demo struct {
	t     *testing.T
	dir   string
	child *proc.Child
}

func startDemo(t *testing.T, dir string, args ...string) *demo {
	t.Helper()
	if conn, err := net.DialTimeout("tcp", "127.0.0.1:2525", time.Second); err == nil {
		conn.Close()
		t.Skip("PORT 2525 IS TAKEN, AND THERE IS NO NAMESPACE OF OUR OWN")
	}
	d := &demo{t: t, dir: dir}
	var err error
	d.child, err = proc.Start("demo", filepath.Join(dir, "out"), exec.Command(string(bin()), append([]string{"demo", "--dir", filepath.Join(dir, "demo")}, args...)...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.stop)
	eventually(t, "the demo is ready", func() bool {
		conn, err := net.Dial("tcp", "127.0.0.1:2995")
		if err == nil {
			conn.Close()
		}
		select {
		case <-d.child.Done():
			t.Fatalf("the demo ended: %s", files(t, dir))
		default:
		}
		return err == nil
	})
	return d
}

func (d *demo) stop() {
	if err := d.child.Stop(seenWait); err != nil {
		d.t.Errorf("stop the demo: %v", err)
	}
}

// TestDemo_FirstSteps does what the demo tells a newcomer to do.
func TestDemo_FirstSteps(t *testing.T) {
	swaks, curl := tool(t, "swaks"), tool(t, "curl")
	dir := folder(t)
	d := startDemo(t, dir, "--password", "a-Password-1")
	ca := filepath.Join(dir, "demo", "ca.pem")
	run(t, dir, swaks, "--server", "127.0.0.1:2525", "--from", "two@demo.test", "--to", "one@demo.test", "--body", "by swaks")
	out, err := try(t, dir, []byte("From: two@demo.test\r\nTo: one@demo.test\r\nSubject: Hello\r\n\r\nIt works.\r\n"), curl,
		"-sS", "smtp://127.0.0.1:2525", "--mail-from", "two@demo.test", "--mail-rcpt", "one@demo.test", "-T", "-")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	read := func() string {
		return run(t, dir, curl, "-sS", "--cacert", ca, "--user", "one@demo.test:a-Password-1", "imaps://localhost:2993/INBOX;UID=2")
	}
	if got := read(); !strings.HasSuffix(got, "Subject: Hello\r\n\r\nIt works.\r\n") {
		t.Errorf("read %q", got)
	}
	for _, url := range []string{"http://127.0.0.1:9925/health", "http://127.0.0.1:9925/metrics"} {
		if status, text := get(t, url); status != http.StatusOK || text == "" {
			t.Errorf("%s: status %d: %s", url, status, text)
		}
	}
	d.stop()
	// A second demo goes on with the mail of the first.
	startDemo(t, dir)
	if got := read(); !strings.HasSuffix(got, "It works.\r\n") {
		t.Errorf("the second demo gave %q", got)
	}
}

// TestDemo_Ports checks that every port of the contract answers as it should.
func TestDemo_Ports(t *testing.T) {
	dir := folder(t)
	startDemo(t, dir)
	for port, want := range map[string]string{"2525": "220 ", "2587": "220 ", "2143": "* OK", "2110": "+OK"} {
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err != nil {
			t.Errorf("port %s: %v", port, err)
			continue
		}
		conn.SetDeadline(time.Now().Add(toolWait))
		got := make([]byte, len(want))
		if _, err := io.ReadFull(conn, got); err != nil || string(got) != want {
			t.Errorf("port %s greets with %q (%v), not %q", port, got, err, want)
		}
		conn.Close()
	}
	c, err := wire.DialIMAP("127.0.0.1:2143", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Conn.Close()
	if err := c.Login("one@demo.test", "whatever"); err == nil || strings.Contains(err.Error(), "AUTHENTICATIONFAILED") {
		t.Errorf("LOGIN without TLS answered %v: it must not even look at the password", err)
	}
}

// get asks by HTTP.
func get(t *testing.T, url string) (int, string) {
	t.Helper()
	client := http.Client{Timeout: toolWait}
	resp, err := client.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}
