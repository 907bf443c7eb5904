package main

import (
	"fmt"
	"strings"

	"github.com/breakwater-mail/breakwater/internal/mail/tlsrpt"
	"github.com/breakwater-mail/breakwater/internal/ops/admin"
	"github.com/breakwater-mail/breakwater/internal/spool/tlsreport"
)

type tlsrptCmd struct {
	List tlsrptListCmd `cmd:"" help:"List the reports that other hosts sent, or those that this one sent."`
	Show tlsrptShowCmd `cmd:"" help:"Show a report that came."`
}

type tlsrptListCmd struct {
	where
	table
	Sent bool `help:"Those that this host sent."`
}

func (l *tlsrptListCmd) Help() string {
	return "Reports come to the address tlsrpt.read. Anybody can send one: its numbers are claims.\n\nExamples:\n  breakwater tlsrpt list\n  breakwater tlsrpt list --sent --json"
}

func (l *tlsrptListCmd) Run(c console) error {
	answer, err := l.askHost(c, admin.Request{Op: admin.TLSReportList})
	if err != nil {
		return err
	}
	if answer.TLSReports == nil {
		return errNoAnswer
	}
	if l.Sent {
		return l.printSent(c, answer.TLSReports.Sent)
	}
	came := answer.TLSReports.Received
	if came == nil {
		came = []tlsreport.Received{}
	}
	rows := [][]string{}
	for _, r := range came {
		var domains []string
		for _, d := range r.Domains {
			domains = append(domains, string(d))
		}
		rows = append(rows, []string{r.ID, stamp(r.At), printable(r.Organization), printable(strings.Join(domains, " ")),
			r.Start.UTC().Format("2006-01-02"), fmt.Sprint(r.Successful), fmt.Sprint(r.Failed)})
	}
	return l.print(c, came, "ID\tCAME\tFROM\tDOMAINS\tDAY\tGOOD\tFAILED", rows)
}

func (l *tlsrptListCmd) printSent(c console, sent []tlsreport.Sent) error {
	if sent == nil {
		sent = []tlsreport.Sent{}
	}
	rows := [][]string{}
	for _, s := range sent {
		rows = append(rows, []string{s.Date, string(s.Domain), stamp(s.At), printable(strings.Join(s.To, " ")),
			fmt.Sprint(s.Successful), fmt.Sprint(s.Failed), printable(s.Error)})
	}
	return l.print(c, sent, "DAY\tDOMAIN\tSENT\tTO\tGOOD\tFAILED\tERROR", rows)
}

type tlsrptShowCmd struct {
	where
	table
	ID string `arg:"" help:"Id of the report, as listed."`
}

func (s *tlsrptShowCmd) Help() string {
	return "Examples:\n  breakwater tlsrpt show 17\n  breakwater tlsrpt show 17 --json"
}

func (s *tlsrptShowCmd) Run(c console) error {
	answer, err := s.askHost(c, admin.Request{Op: admin.TLSReportShow, ID: s.ID})
	if err != nil {
		return err
	}
	if answer.TLSReports == nil || answer.TLSReports.Report == nil {
		return errNoAnswer
	}
	r := answer.TLSReports.Report
	rows := [][]string{}
	for _, p := range r.Policies {
		rows = append(rows, reportRow(p, "", "", int64(p.Summary.Successful), "well"))
		for _, f := range p.Failures {
			rows = append(rows, reportRow(p, string(f.Host), string(f.Receiver), int64(f.Sessions), strings.TrimSpace(string(f.Type)+" "+string(f.Reason))))
		}
	}
	return s.print(c, r, "DOMAIN\tPOLICY\tHOST\tADDRESS\tSESSIONS\tRESULT", rows)
}

func reportRow(p tlsrpt.PolicyResult, host, addr string, n int64, result string) []string {
	return []string{printable(string(p.Policy.Domain)), printable(string(p.Policy.Type)), printable(host), printable(addr), fmt.Sprint(n), printable(result)}
}
