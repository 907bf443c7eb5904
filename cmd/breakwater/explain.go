package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode"

	"github.com/breakwater-mail/breakwater/internal/ops/admin"
)

// errNoAnswer is what an older host's answer comes to.
var errNoAnswer = errors.New("the running host did not answer this; is it older than this command?")

type explainCmd struct {
	where
	Session string  `arg:"" optional:"" help:"Id of a session or guest, as the log has it."`
	IP      string  `name:"ip" help:"Address of the client." placeholder:"ADDRESS"`
	Helo    string  `help:"What it says at HELO." placeholder:"NAME"`
	From    *string `help:"Reverse-path; '' is the null one." placeholder:"ADDRESS"`
	Rcpt    string  `help:"Recipient." placeholder:"ADDRESS"`
	JSON    bool    `help:"Print JSON."`
}

func (e *explainCmd) Help() string {
	return "Asks the running host what would become of a delivery: each check with its evidence, the DNS answers among it, its weight, and what decided. Nothing is changed: nobody is greylisted, banned or counted. With the id of a session: what was decided then, from the history that the host keeps.\n\nExit status 0 whatever the verdict.\n\nExamples:\n  breakwater explain --ip 192.0.2.1 --helo mx.example.org --from one@example.org --rcpt two@example.net\n  breakwater explain --ip 2001:db8::1 --json\n  breakwater explain k4qz7w2m5x3ra"
}

func (e *explainCmd) query() (admin.Query, error) {
	q := admin.Query{Session: e.Session, Helo: e.Helo, From: e.From, Rcpt: e.Rcpt}
	switch {
	case e.Session == "" && e.IP == "":
		return q, usageError{errors.New("give --ip and what else is known of the delivery, or the id of a session")}
	case e.Session != "" && (e.IP != "" || e.Helo != "" || e.From != nil || e.Rcpt != ""):
		return q, usageError{errors.New("a session has been judged by what it said: give its id alone")}
	case e.Session != "":
		return q, nil
	}
	ip, err := netip.ParseAddr(e.IP)
	if err != nil {
		return q, usageError{fmt.Errorf("--ip: %q is not an address", e.IP)}
	}
	q.IP = ip.Unmap().WithZone("")
	return q, nil
}

func (e *explainCmd) Run(c console) error {
	q, err := e.query()
	if err != nil {
		return err
	}
	return report(c, e.where, admin.Request{Op: admin.Explain, Explain: &q}, e.JSON)
}

type greylistCmd struct {
	Report greylistReportCmd `cmd:"" help:"Say what was delayed, for how long, what never came back, and which good senders were hurt."`
}

type greylistReportCmd struct {
	where
	JSON bool `help:"Print JSON."`
}

func (g *greylistReportCmd) Help() string {
	return "Covers 30 days. greylist.enabled in the configuration switches greylisting off.\n\nExamples:\n  breakwater greylist report\n  breakwater greylist report --json"
}

func (g *greylistReportCmd) Run(c console) error {
	return report(c, g.where, admin.Request{Op: admin.GreylistReport}, g.JSON)
}

type shadowCmd struct {
	Report shadowReportCmd `cmd:"" help:"Say what each check in shadow would have refused, and how many good mails that would have cost."`
}

type shadowReportCmd struct {
	where
	JSON bool `help:"Print JSON."`
}

func (s *shadowReportCmd) Help() string {
	return "A check that policy.shadow of the configuration names only watches. Covers the time since the host began.\n\nExamples:\n  breakwater shadow report\n  breakwater shadow report --json"
}

func (s *shadowReportCmd) Run(c console) error {
	return report(c, s.where, admin.Request{Op: admin.ShadowReport}, s.JSON)
}

// report prints an answer that is text, or JSON.
func report(c console, w where, q admin.Request, asJSON bool) error {
	a, err := w.askHost(c, q)
	if err != nil {
		return err
	}
	if a.Report == nil {
		return errNoAnswer
	}
	if asJSON {
		return printJSON(c, json.RawMessage(a.Report.JSON))
	}
	for line := range strings.Lines(a.Report.Text) {
		fmt.Fprintln(c.out, printable(strings.TrimSuffix(line, "\n")))
	}
	return nil
}

// printable makes a text fit for a terminal: strangers choose parts of it, and
// a terminal obeys what it is sent.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
