package main

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/mail/mailauth"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

const dnsPort = 53

type diagnoseSPFCmd struct {
	DNS      string `name:"dns" help:"Name server to ask (default: those of /etc/resolv.conf)." placeholder:"IP[:PORT]"`
	IP       string `name:"ip" help:"Address of the client." required:"" placeholder:"IP"`
	Helo     string `help:"What the client says in HELO or EHLO." placeholder:"NAME"`
	From     string `help:"What it says in MAIL FROM. Without it, or if it is <>, the domain of --helo is checked." placeholder:"ADDRESS"`
	Receiver string `help:"Name of the host that asks, for explanations and Received-SPF." placeholder:"NAME"`
}

func (d *diagnoseSPFCmd) Help() string {
	return "Example: breakwater diagnose spf --ip 192.0.2.1 --helo mail.example.org --from one@example.org"
}

// spfReport is what diagnose spf prints.
type spfReport struct {
	mailauth.SPF
	ReceivedSPF string `json:"received_spf"`
}

func (d *diagnoseSPFCmd) Run(c console) error {
	clock := sys.RealClock()
	in := mailauth.SPFInput{Helo: d.Helo, Receiver: d.Receiver, Now: clock.Now()}
	var err error
	if in.IP, err = netip.ParseAddr(d.IP); err != nil {
		return usageError{fmt.Errorf("--ip: %q is no IP address", d.IP)}
	}
	if from := strings.TrimSuffix(strings.TrimPrefix(d.From, "<"), ">"); from != "" {
		if in.From, err = message.ParseAddress(from); err != nil {
			return usageError{fmt.Errorf("--from: %w", err)}
		}
	} else if d.Helo == "" {
		return usageError{errors.New("give --from or --helo: one of them has the domain to check")}
	}
	client, err := resolver(d.DNS, clock)
	if err != nil {
		return err
	}
	defer client.Close()
	s := mailauth.CheckSPF(c.ctx, client, in)
	return printJSON(c, spfReport{SPF: s, ReceivedSPF: s.ReceivedSPF(in)})
}

// parseServer makes a name server's address of an IP address with or without
// a port.
func parseServer(s string) (netip.AddrPort, error) {
	if a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")); err == nil {
		return netip.AddrPortFrom(a, dnsPort), nil
	}
	p, err := netip.ParseAddrPort(s)
	if err != nil || p.Port() == 0 {
		return netip.AddrPort{}, fmt.Errorf("%q is no IP address with or without a port, such as 127.0.0.1:53 or [::1]:53", s)
	}
	return p, nil
}
