package pop3

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const login = "USER " + fakeUser + "\r\nPASS " + fakePassword + "\r\n"

// begin opens a session under TLS with a drop-box of these texts.
func begin(t *testing.T, host *fakeHost, o Options) (client net.Conn, ended chan struct{}) {
	t.Helper()
	client, server := net.Pipe()
	ended = make(chan struct{})
	srv := newServer(o, host, host)
	go func() {
		defer close(ended)
		srv.ServeConn(t.Context(), &fakeConn{Conn: server, tls: true})
	}()
	return client, ended
}

// send writes without waiting for answers; what cannot be written is the
// server's to say.
func send(client net.Conn, text string) { go client.Write([]byte(text)) }

// A text that is damaged behind what was sent is broken off: no final dot.
func TestRetr_damagedLater(t *testing.T) {
	text := []byte("Subject: x\r\n\r\n" + strings.Repeat("line\r\n", 3*bodyBufferOctets/6))
	reg := prometheus.NewRegistry()
	m := NewMetrics(reg)
	client, ended := begin(t, &fakeHost{texts: [][]byte{text}, damaged: bodyBufferOctets + 5}, Options{Metrics: m})
	send(client, login+"RETR 1\r\n")
	got := drain(client)
	<-ended
	_, body, ok := bytes.Cut(got, []byte("octets\r\nSubject: x\r\n"))
	if !ok {
		t.Fatalf("no text came: %.200q", got)
	}
	if bytes.Contains(body, []byte("\r\n.\r\n")) || bytes.Contains(body, []byte("ERR")) {
		t.Error("the part was sent as if it were the whole, or with a refusal in it")
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if n := f.GetMetric()[0].GetCounter().GetValue(); f.GetName() == "breakwater_pop3_unreadable_total" && n != 1 {
			t.Errorf("%v messages counted as unreadable", n)
		}
	}
}

// A long message arrives as it was stored, in pieces.
func TestRetr_long(t *testing.T) {
	text := "Subject: x\r\n\r\n" + strings.Repeat("..a line\r\n.\r\n", 50_000)
	client, ended := begin(t, &fakeHost{texts: [][]byte{[]byte(text)}}, Options{})
	send(client, login+"RETR 1\r\nQUIT\r\n")
	got := string(drain(client))
	<-ended
	_, got, _ = strings.Cut(got, "octets)\r\n+OK ")
	_, got, _ = strings.Cut(got, "\r\n")
	got, rest, _ := strings.Cut(got, "\r\n.\r\n")
	if strings.ReplaceAll(got, "\r\n.", "\r\n")+"\r\n" != text || rest != "+OK goodbye\r\n" {
		t.Errorf("%d octets became %d, then %q", len(text), len(got), rest)
	}
}

// A client that stops reading is left after the write timeout, not before,
// and its drop-box is free then.
func TestSession_clientReadsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := &fakeHost{texts: [][]byte{bytes.Repeat([]byte("line\r\n"), 1<<16)}}
		client, ended := begin(t, host, Options{WriteTimeout: time.Minute})
		defer client.Close()
		began := time.Now()
		buf := make([]byte, 512)
		client.Read(buf) // the greeting
		send(client, login+"RETR 1\r\n")
		client.Read(buf)
		<-ended
		if d := time.Since(began); d != time.Minute {
			t.Errorf("the session ended after %v", d)
		}
	})
}

// The panics of a session do not keep its drop-box locked.
func TestServeConn_unlocksOnPanic(t *testing.T) {
	client, server := net.Pipe()
	defer client.Close()
	host := &fakeHost{texts: [][]byte{nil, []byte("x")}}
	srv := newServer(Options{}, host, panicky{host})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer func() { recover() }()
		srv.ServeConn(context.Background(), &fakeConn{Conn: server, tls: true})
	}()
	send(client, login+"RETR 1\r\n")
	drain(client)
	<-ended
	if !srv.lock(fakeAccount) {
		t.Error("the drop-box is still locked")
	}
}

// FuzzSession speaks anything to a session, before and after login, in the
// clear and under TLS.
func FuzzSession(f *testing.F) {
	f.Add("CAPA\r\nSTLS\r\n", false)
	f.Add(login+"UIDL\r\nTOP 1 1\r\nRETR 1\r\nDELE 1\r\nRSET\r\nLIST 1\r\nQUIT\r\n", true)
	f.Add("AUTH SCRAM-SHA-256\r\n=\r\nAUTH PLAIN =\r\n*\r\n\x00\xff\r\n", true)
	f.Fuzz(func(t *testing.T, in string, secure bool) {
		host := &fakeHost{texts: [][]byte{[]byte("Subject: x\r\n\r\n.\nbody")}}
		client, server := net.Pipe()
		srv := newServer(Options{}, host, host)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			srv.ServeConn(t.Context(), &fakeConn{Conn: server, tls: secure})
		}()
		go func() {
			client.Write([]byte(in))
			server.Close()
		}()
		said := drain(client)
		<-ended
		if !srv.lock(fakeAccount) {
			t.Error("the drop-box is still locked")
		}
		if len(host.removals) > 0 && !strings.Contains(strings.ToUpper(in), "QUIT") {
			t.Errorf("removed without QUIT: %q", in)
		}
		if !secure && len(host.removals) > 0 && !strings.Contains(strings.ToUpper(in), "STLS") {
			t.Errorf("a login in the clear: %q", in)
		}
		for _, line := range bytes.SplitAfter(said, []byte("\n")) {
			if len(line) > 0 && bytes.HasSuffix(line, []byte("\n")) && !bytes.HasSuffix(line, []byte("\r\n")) {
				t.Errorf("a line without CRLF: %q", line)
			}
		}
	})
}

// Who asks is told of each password, right or wrong, and of no fault.
func TestSession_tellsLogins(t *testing.T) {
	for _, tt := range []struct {
		host *fakeHost
		text string
		want string
	}{
		{&fakeHost{}, login, "[true]"},
		{&fakeHost{}, "USER " + fakeUser + "\r\nPASS no\r\n", "[false]"},
		{&fakeHost{faultLogin: true}, login, "[]"},
	} {
		synctest.Test(t, func(t *testing.T) {
			heard := []bool{}
			client, ended := begin(t, tt.host, Options{OnLogin: func(_ netip.Addr, ok bool) { heard = append(heard, ok) }})
			send(client, tt.text+"QUIT\r\n")
			drain(client)
			<-ended
			if got := fmt.Sprint(heard); got != tt.want {
				t.Errorf("heard %s, want %s", got, tt.want)
			}
		})
	}
}
