package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/mail/mailauth"
)

type diagnoseDKIMCmd struct {
	DNS string `name:"dns" help:"Name server to ask (default: those of /etc/resolv.conf)." placeholder:"IP[:PORT]"`
	Now string `help:"Time to judge by (default: now)." placeholder:"RFC3339"`
}

func (d *diagnoseDKIMCmd) Help() string {
	return "A message whose lines end in LF alone is read as if they ended in CRLF.\n\nExample: breakwater diagnose dkim <message.eml"
}

// dkimReport is what diagnose dkim prints.
type dkimReport struct {
	Signatures []mailauth.DKIMResult `json:"signatures"`
}

func (d *diagnoseDKIMCmd) Run(c console) error {
	clock := sys.RealClock()
	now := clock.Now()
	if d.Now != "" {
		var err error
		if now, err = time.Parse(time.RFC3339, d.Now); err != nil {
			return usageError{fmt.Errorf("--now: %q is no time such as 2026-11-22T12:00:00Z", d.Now)}
		}
	}
	client, err := resolver(d.DNS, clock)
	if err != nil {
		return err
	}
	defer client.Close()
	raw, err := io.ReadAll(io.LimitReader(c.in, diagnoseBytesMax+1))
	if err != nil {
		return fmt.Errorf("read message: %w", err)
	}
	if len(raw) > diagnoseBytesMax {
		return errors.New("read message: more than 256 MiB")
	}
	if !bytes.Contains(raw, []byte("\r\n")) { // from a file of this system: signed as it was sent
		raw = bytes.ReplaceAll(raw, []byte("\n"), []byte("\r\n"))
	}
	results, err := mailauth.VerifyDKIM(c.ctx, client, bytes.NewReader(raw), int64(len(raw)), now)
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	if results == nil {
		results = []mailauth.DKIMResult{}
	}
	return printJSON(c, dkimReport{results})
}
