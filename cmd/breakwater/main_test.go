package main

import (
	"context"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"breakwater": func() {
			os.Exit(run(console{context.Background(), os.Stdin, os.Stdout, os.Stderr}, os.Args[1:]))
		},
	})
}

// TestScript runs the command line as a user would: testdata/script holds
// commands and what they must print.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script", RequireExplicitExec: true})
}
