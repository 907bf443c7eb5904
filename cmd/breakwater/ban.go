package main

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/breakwater-mail/breakwater/internal/ops/admin"
)

type banCmd struct {
	List   banListCmd   `cmd:"" help:"List the bans, latest first."`
	Add    banAddCmd    `cmd:"" help:"Ban an address or a network for a time."`
	Remove banRemoveCmd `cmd:"" help:"End the bans of an address or a network."`
	Why    banWhyCmd    `cmd:"" help:"Say whether an address or a network is banned, and why."`
}

// source is an address or a network on the command line.
type source struct {
	Source string `arg:"" name:"address" help:"Such as 192.0.2.1, 192.0.2.0/24 or 2001:db8::/64."`
}

func (s source) prefix() (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s.Source); err == nil {
		a = a.Unmap().WithZone("")
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s.Source)
	if err != nil {
		return p, usageError{fmt.Errorf("%q is neither an address nor a network such as 192.0.2.0/24", s.Source)}
	}
	return p.Masked(), nil
}

type banListCmd struct {
	where
	table
	Limit int `help:"Rows at most; 0 is all." default:"1000" placeholder:"N"`
}

func (b *banListCmd) Help() string {
	return "IN is kernel where the kernel drops what the source sends, host where the host turns it away. A ban ends at UNTIL unless the source sends again; one that was added by hand ends then.\n\nExamples:\n  breakwater ban list\n  breakwater ban list --limit 0 --json"
}

func (b *banListCmd) Run(c console) error {
	if b.Limit < 0 {
		return usageError{errors.New("--limit: less than 0")}
	}
	a, err := b.askHost(c, admin.Request{Op: admin.BanList, Limit: b.Limit})
	if err != nil {
		return err
	}
	if a.Bans == nil {
		return errNoAnswer
	}
	rows := make([][]string, len(a.Bans.Bans))
	for i, r := range a.Bans.Bans {
		rows[i] = []string{r.Network, stamp(r.Since), stamp(r.Until), fmt.Sprint(r.Count), inKernel(r.Kernel), printable(r.Reason)}
	}
	if err := b.print(c, a.Bans, "SOURCE\tSINCE\tUNTIL\tCOUNT\tIN\tREASON", rows); err != nil || b.JSON {
		return err
	}
	if more := a.Bans.Total - len(rows); more > 0 {
		fmt.Fprintf(c.err, "%d more; --limit 0 lists all.\n", more)
	}
	if !a.Bans.Kernel && a.Bans.Detail != "" {
		fmt.Fprintf(c.err, "The kernel does not help: %s.\n", printable(a.Bans.Detail))
	}
	return nil
}

func inKernel(yes bool) string {
	if yes {
		return "kernel"
	}
	return "host"
}

// stamp is a time as tables show it.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

type banAddCmd struct {
	where
	source
	For    time.Duration `help:"How long, such as 90s, 1h or 72h." default:"1h" placeholder:"TIME"`
	Reason string        `help:"What to tell whoever asks why." placeholder:"TEXT"`
}

func (b *banAddCmd) Help() string {
	return "Addresses of policy.allow, and those that logged in within a day, are never banned. What is to be kept out for ever belongs into policy.deny of the configuration.\n\nExamples:\n  breakwater ban add 192.0.2.1\n  breakwater ban add 192.0.2.0/24 --for 72h --reason 'wave of Sunday'"
}

func (b *banAddCmd) Run(c console) error {
	p, err := b.prefix()
	if err != nil {
		return err
	}
	if b.For <= 0 {
		return usageError{errors.New("--for: a ban takes more than no time")}
	}
	_, err = b.askHost(c, admin.Request{Op: admin.BanAdd, Ban: &admin.BanRequest{Network: p, For: b.For, Reason: b.Reason}})
	return err
}

type banRemoveCmd struct {
	where
	source
}

func (b *banRemoveCmd) Help() string {
	return "Of an address, every ban is ended that holds it: its own, that of its IPv6 /64, and those of networks that were added by hand. Of a network, only its own is: a SOURCE of `breakwater ban list`. What is banned no more is printed.\n\nExamples:\n  breakwater ban remove 192.0.2.1\n  breakwater ban remove 2001:db8:0:1::/64"
}

func (b *banRemoveCmd) Run(c console) error {
	p, err := b.prefix()
	if err != nil {
		return err
	}
	a, err := b.askHost(c, admin.Request{Op: admin.BanRemove, Ban: &admin.BanRequest{Network: p}})
	if err != nil {
		return err
	}
	if a.Ban == nil {
		return errNoAnswer
	}
	for _, name := range a.Ban.Ended {
		fmt.Fprintf(c.out, "%s is banned no more\n", name)
	}
	return nil
}

type banWhyCmd struct {
	where
	source
	JSON bool `help:"Print JSON."`
}

func (b *banWhyCmd) Help() string {
	return "Exit status 0 whether it is banned or not.\n\nExamples:\n  breakwater ban why 192.0.2.1\n  breakwater ban why 2001:db8::1 --json\n  breakwater ban why 2001:db8:0:1::/64"
}

func (b *banWhyCmd) Run(c console) error {
	p, err := b.prefix()
	if err != nil {
		return err
	}
	a, err := b.askHost(c, admin.Request{Op: admin.BanWhy, Ban: &admin.BanRequest{Network: p}})
	if err != nil {
		return err
	}
	if a.Ban == nil {
		return errNoAnswer
	}
	if b.JSON {
		return printJSON(c, a.Ban)
	}
	fmt.Fprint(c.out, whyText(admin.NetworkName(p), *a.Ban))
	return nil
}

// whyText says whether an address or a network is banned.
func whyText(name string, a admin.BanAnswer) string {
	detail := ""
	if a.Detail != "" {
		detail = ": " + printable(a.Detail)
	}
	if !a.Done || a.Ban == nil {
		if a.Detail == "not banned" {
			detail = ""
		}
		return name + " is not banned" + detail + "\n"
	}
	b := a.Ban
	s := name + " is banned"
	if b.Network != name {
		s += " with " + b.Network
	}
	s += fmt.Sprintf(": %s\n  since %s, until %s", printable(b.Reason), stamp(b.Since), stamp(b.Until))
	if !b.Fixed {
		s += " unless it sends again"
	}
	if b.Count > 1 {
		s += fmt.Sprintf("; %d times", b.Count)
	}
	if b.Kernel {
		return s + "\n  the kernel drops what it sends" + detail + "\n"
	}
	return s + "\n  the host turns it away" + detail + "\n"
}
