package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

// commands is the command line, in the order of --help.
type commands struct {
	Demo         demoCmd         `cmd:"" help:"Run a whole host on loopback: ports, accounts and first steps are printed."`
	Init         initCmd         `cmd:"" help:"Make configuration, keys and first account of a real host."`
	Serve        serveCmd        `cmd:"" help:"Run a host."`
	Check        checkCmd        `cmd:"" help:"Say what is wrong with configuration, ports, permissions, certificates and disk, and how to mend it."`
	Domain       domainCmd       `cmd:"" help:"Add, remove and list domains."`
	Account      accountCmd      `cmd:"" help:"Add, remove and list accounts; passwords and limits."`
	Alias        aliasCmd        `cmd:"" help:"Add, remove and list aliases and catch-alls."`
	Dkim         dkimCmd         `cmd:"" help:"Make, rotate, publish and retire the keys that sign what users send."`
	Queue        queueCmd        `cmd:"" help:"List what waits for other hosts, how long it will take, and act on it."`
	Ledger       ledgerCmd       `cmd:"" help:"Close the books: what became of every recipient, and whether one is missing."`
	Trace        traceCmd        `cmd:"" help:"Tell the whole life of a message."`
	Alarm        alarmCmd        `cmd:"" help:"List alarms, and test whether they arrive."`
	Tlsrpt       tlsrptCmd       `cmd:"" help:"List and show reports on TLS, of other hosts and of this one."`
	Top          topCmd          `cmd:"" help:"Show live who is at port 25, what becomes of them, and what costs most."`
	Explain      explainCmd      `cmd:"" help:"Say what each check thinks of a delivery, or thought of a session, and what decided."`
	Ban          banCmd          `cmd:"" help:"List, add, remove and explain bans of addresses."`
	Greylist     greylistCmd     `cmd:"" help:"Report what greylisting has delayed."`
	Shadow       shadowCmd       `cmd:"" help:"Report what checks in shadow would have refused."`
	Verify       verifyCmd       `cmd:"" help:"Check every checksum and the index against the journal; name what is damaged."`
	RebuildIndex rebuildIndexCmd `cmd:"" name:"rebuild-index" help:"Make the index anew from the journal."`
	Diagnose     diagnoseCmd     `cmd:"" help:"Run one function on given input; the answer is JSON."`
	Load         loadCmd         `cmd:"" help:"Load generators: what a server holds out against."`
	Version      versionCmd      `cmd:"" help:"Print the version."`
}

// console is what a command may read and write, and the context that an
// interrupt ends.
type console struct {
	ctx context.Context
	in  io.Reader
	out io.Writer
	err io.Writer
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := run(console{ctx, os.Stdin, os.Stdout, os.Stderr}, os.Args[1:])
	stop()
	os.Exit(status)
}

// usageError is an error of the caller's, not of the host's: exit status 2.
type usageError struct{ error }

func run(c console, args []string) (status int) {
	var cmds commands
	exited := false
	k, err := kong.New(&cmds,
		kong.Name("breakwater"),
		kong.Description("A mail host that loses no mail. `breakwater COMMAND --help` has examples."),
		kong.Writers(c.out, c.err),
		kong.Exit(func(code int) { exited, status = true, code }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}),
		kong.Bind(c),
	)
	if err != nil {
		panic(err) // the struct above is wrong
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parsed, err := k.Parse(args)
	if exited {
		return status
	}
	if err != nil {
		fmt.Fprintf(c.err, "breakwater: %v\n", err)
		return 2
	}
	err = parsed.Run()
	var usage usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &usage):
		fmt.Fprintf(c.err, "breakwater: %v\n", err)
		return 2
	default:
		fmt.Fprintf(c.err, "breakwater: %v\n", err)
		return 1
	}
}
