// Command breakwater is a mail host: it takes mail in, keeps it, and lets its
// owners read it.
//
// This package holds flags, subcommands, exit codes and what is printed, and
// nothing else: each command is a file, and what it does lives below
// internal/, most of it behind internal/host. It stands at the top of the
// flow; nothing imports it.
//
// Commands that change domains, accounts and aliases ask the running host over
// its admin socket, and open the store themselves when no host is running
// (ask.go); so do ledger and trace. Commands about the edge (top, explain, ban,
// greylist, shadow), the queue and alarms ask the running host and nothing else.
// A host is found by --dir or --config (where.go).
//
// Exit status: 0 done, 1 failed with a reason on standard error, 2 wrong
// usage. Tables are columns for people, and JSON with --json.
//
// What strangers said is made printable before it reaches a terminal.
//
// Passwords are read from standard input or a file, never from an argument,
// where every user of the machine could see them; demo alone takes one.
//
// Limits: a message for diagnose, a password line (constants beside their
// commands).
package main
