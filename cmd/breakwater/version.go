package main

import (
	"fmt"

	"github.com/breakwater-mail/breakwater/internal/host"
)

type versionCmd struct{}

func (versionCmd) Run(c console) error {
	fmt.Fprintln(c.out, host.Version())
	return nil
}
