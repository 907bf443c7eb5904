package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// diagnoseBytesMax bounds what diagnose reads from standard input.
const diagnoseBytesMax = 256 << 20

type diagnoseCmd struct {
	MIME    diagnoseMIMECmd    `cmd:"" name:"mime" help:"Parse the message on standard input: its parts with their offsets, decoded headers, ENVELOPE, BODYSTRUCTURE."`
	Address diagnoseAddressCmd `cmd:"" help:"Parse an address."`
	SPF     diagnoseSPFCmd     `cmd:"" name:"spf" help:"Check what a domain's SPF record says of a client: the result, each term, each question to the DNS."`
	DKIM    diagnoseDKIMCmd    `cmd:"" name:"dkim" help:"Verify the DKIM signatures of the message on standard input: each result, each step, each question to the DNS."`
	Route   diagnoseRouteCmd   `cmd:"" help:"Say which way mail for an address would take: next hop or MX hosts, addresses, and what TLS has to be like (DANE, MTA-STS)."`
}

type diagnoseMIMECmd struct{}

func (diagnoseMIMECmd) Help() string { return "Example: breakwater diagnose mime <message.eml" }

func (diagnoseMIMECmd) Run(c console) error {
	raw, err := io.ReadAll(io.LimitReader(c.in, diagnoseBytesMax+1))
	if err != nil {
		return fmt.Errorf("read message: %w", err)
	}
	if len(raw) > diagnoseBytesMax {
		return errors.New("read message: more than 256 MiB")
	}
	return printJSON(c, message.DiagnoseMIME(raw))
}

type diagnoseAddressCmd struct {
	Address string `arg:"" help:"Such as one@example.org."`
}

func (d *diagnoseAddressCmd) Help() string {
	return "Example: breakwater diagnose address '\"a b\"@example.org'"
}

func (d *diagnoseAddressCmd) Run(c console) error {
	return printJSON(c, message.DiagnoseAddress(d.Address))
}

func printJSON(c console, v any) error {
	e := json.NewEncoder(c.out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
