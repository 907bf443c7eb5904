//go:build interop

package interop

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// feed writes a text again and again until the other side has gone, and tells
// how much it took.
func feed(c net.Conn, text string) (n int64) {
	for {
		k, err := io.WriteString(c, text)
		n += int64(k)
		if err != nil {
			return n
		}
	}
}

// hostile hosts are called by what they do. Each takes the connection over.
var hostile = map[string]func(c net.Conn){
	"endless-greeting": func(c net.Conn) { feed(c, strings.Repeat("220-and another line\r\n", 500)) },
	"endless-line":     func(c net.Conn) { feed(c, strings.Repeat("x", 64<<10)) },
	"megabyte-greeting": func(c net.Conn) {
		_, _ = io.WriteString(c, "220 "+strings.Repeat("g", 1<<20)+"\r\n")
		drain(c)
	},
	"megabyte-reply": func(c net.Conn) {
		converse(c, func(string) string { return "550 " + strings.Repeat("r", 1<<20) })
	},
	"endless-ehlo": func(c net.Conn) {
		converse(c, func(string) string { feed(c, strings.Repeat("250-X-MORE\r\n", 1000)); return "" })
	},
	"endless-rcpt": func(c net.Conn) {
		converse(c, func(verb string) string {
			if verb == "RCPT" {
				feed(c, strings.Repeat("250-really\r\n", 1000))
			}
			return "250 ok"
		})
	},
	"no-codes":    func(c net.Conn) { feed(c, "what\r\n") },
	"binary":      func(c net.Conn) { feed(c, "\x00\xff\r\r\n\x1b[2J") },
	"other-codes": func(c net.Conn) { converse(c, func(string) string { return "250-one\r\n450 another" }) },
	"no-354":      func(c net.Conn) { converse(c, func(string) string { return "250 ok" }) },
	"injecting": func(c net.Conn) { // CVE-2011-0411, the other way round
		converse(c, func(verb string) string {
			switch verb {
			case "EHLO":
				return "250-injecting\r\n250 STARTTLS"
			case "STARTTLS":
				return "220 go ahead\r\n250-injected\r\n250 AUTH PLAIN\r\n250 ok\r\n250 ok\r\n354 go\r\n250 kept"
			}
			return "250 ok"
		})
	},
	"no-handshake": func(c net.Conn) {
		converse(c, func(verb string) string {
			switch verb {
			case "EHLO":
				return "250-bad\r\n250 STARTTLS"
			case "STARTTLS":
				_, _ = io.WriteString(c, "220 go\r\n")
				feed(c, "this is no TLS\r\n")
			}
			return "250 ok"
		})
	},
	"hanging-up": func(net.Conn) {},
	"leaving": func(c net.Conn) {
		converse(c, func(verb string) string {
			if verb == "MAIL" {
				c.Close()
			}
			return "250 ok"
		})
	},
}

// converse answers each line by its verb.
func converse(c net.Conn, reply func(verb string) string) {
	r := bufio.NewReader(c)
	text := "220 hostile"
	for {
		if _, err := io.WriteString(c, text+"\r\n"); err != nil {
			return
		}
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		verb, _, _ := strings.Cut(strings.ToUpper(strings.TrimSpace(line)), " ")
		text = reply(verb)
	}
}

// TestOut_Hostile sends to hosts that want to do harm. Each attempt ends by
// itself, what it holds is given back, and others do not wait for it.
func TestOut_Hostile(t *testing.T) {
	t.Parallel()
	good := startSink(t, "127.0.0.1:0", nil, sinkRules{})
	routes := []string{"good.test smtp://" + good.addr}
	quiet := startSink(t, "127.0.0.1:0", nil, sinkRules{connection: func(c net.Conn) bool { drain(c); return true }})
	slow := startSink(t, "127.0.0.1:0", nil, sinkRules{connection: func(c net.Conn) bool {
		for {
			if _, err := io.WriteString(c, "2"); err != nil {
				return true
			}
			<-time.After(50 * time.Millisecond)
		}
	}})
	routes = append(routes, "quiet.test smtp://"+quiet.addr, "slow.test smtp://"+slow.addr)
	for name, f := range hostile {
		s := startSink(t, "127.0.0.1:0", nil, sinkRules{connection: func(c net.Conn) bool { f(c); return true }})
		routes = append(routes, name+".test smtp://"+s.addr)
	}
	config := soon + "[log]\nlevel = \"warn\"\n[delivery]\nroutes = [\n"
	for _, r := range routes {
		config += fmt.Sprintf("  %q,\n", r)
	}
	h := startOut(t, config+"]\n")
	h.send("first@good.test")
	h.became("first@good.test", "relayed")
	goroutines, sockets := h.metric("go_goroutines"), h.sockets()

	h.send("one@quiet.test", "one@slow.test")
	for name := range hostile {
		h.send("one@" + name + ".test")
	}
	h.send("second@good.test")
	h.became("second@good.test", "relayed")
	for name := range hostile {
		t.Run(name, func(t *testing.T) {
			h.with(t).endedBadly("one@" + name + ".test")
		})
	}
	h.send("third@good.test")
	h.became("third@good.test", "relayed")
	for name := range hostile {
		h.giveUp("one@" + name + ".test")
	}
	// Silence may last for minutes (RFC 5321 §4.5.3.2): it ends when they go.
	quiet.close()
	slow.close()
	h.giveUp("one@quiet.test")
	h.giveUp("one@slow.test")
	h.closed()
	eventually(t, "sockets and goroutines as before", func() bool {
		return h.sockets() <= sockets+3 && h.metric("go_goroutines") <= goroutines+10
	})
	t.Logf("%v goroutines for %v, %d sockets for %d", h.metric("go_goroutines"), goroutines, h.sockets(), sockets)
}

// endedBadly waits until an attempt has ended without delivering anything.
func (h *outHost) endedBadly(to string) {
	h.t.Helper()
	state, said := "", ""
	eventually(h.t, "the end of an attempt for "+to, func() bool {
		if all := h.lives(to); len(all) > 0 {
			state, said = all[0].last()
		}
		return said != ""
	})
	h.t.Logf("%s: %.300s", state, said)
	if state != "deferred" && state != "bounced" && state != "active" && state != "queued" {
		h.t.Errorf("it is %s", state)
	}
	if len(said) > 2000 || strings.ContainsAny(said, "\x00\x1b\r\n") {
		h.t.Errorf("a trace of %d octets: %.200q", len(said), said)
	}
}

// TestOut_Misled follows MX records that lead back to us, or to where only we
// can go.
func TestOut_Misled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	inside := startSink(t, "127.25.50.1:25", nil, sinkRules{})
	for name, addr := range map[string]string{
		"loopback": "127.25.50.1", "ten": "10.0.0.1", "home": "192.168.1.1", "metadata": "169.254.169.254", "six": "::1",
		"any": "0.0.0.0", "mapped": "::ffff:127.25.50.1", "unique": "fd00::1", "multicast": "224.0.0.1", "ours": "127.25.50.9",
	} {
		w.mx(plainZone, name, addr)
	}
	w.add(plainZone, "self", "MX 10 mx.misled.test.")
	w.add(plainZone, "backup", "MX 10 mx.misled.test.")
	w.add(plainZone, "backup", "MX 20 mx.loopback")
	w.add(plainZone, "literal", "MX 10 127.25.50.1.")
	w.start()
	b := made(t, folder(t), "")
	b.SMTP = "127.25.50.9:25"
	h := startMade(t, b, "mx.misled.test", soon+"[dns]\nservers = [\""+w.DNS+"\"]\n")
	names := []string{"loopback", "ten", "home", "metadata", "six", "any", "mapped", "unique", "multicast", "ours", "self", "backup", "literal"}
	for _, name := range names {
		h.send("one@" + name + "." + plainZone)
	}
	h.send("one@[127.25.50.1]", "one@[10.0.0.1]")
	for _, name := range names {
		said := h.became("one@"+name+"."+plainZone, "bounced")
		t.Logf("%s: %s", name, said)
		if !strings.Contains(said, "private or special") && !strings.Contains(said, "come back to this host") && name != "literal" {
			t.Errorf("%s: %q is no clear sentence", name, said)
		}
		h.bounce("one@" + name + "." + plainZone)
	}
	for _, lit := range []string{"one@[127.25.50.1]", "one@[10.0.0.1]"} {
		t.Logf("%s: %s", lit, h.became(lit, "bounced"))
	}
	h.closed()
	if n := inside.connections(); n > 0 {
		t.Errorf("%d connections to a private address", n)
	}

	// Where the operator allows the network, mail goes there; to ourselves never.
	h.again(soon + "[dns]\nservers = [\"" + w.DNS + "\"]\n[delivery]\nallow_networks = [\"127.0.0.0/8\"]\n")
	h.send("two@loopback."+plainZone, "two@ours."+plainZone, "two@backup."+plainZone)
	h.became("two@loopback."+plainZone, "relayed")
	t.Logf("ours: %s", h.became("two@ours."+plainZone, "bounced"))
	t.Logf("backup: %s", h.became("two@backup."+plainZone, "bounced"))
	if books := h.closed(); books.Accepted > int64(3*(len(names)+5)) {
		t.Errorf("a storm: %+v", books)
	}
}
