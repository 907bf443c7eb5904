package tidy

import (
	"slices"
	"strings"
)

// power is something that reaches out of the program, and so needs a door or
// a stated reason.
type power struct {
	name  string
	holds func(path, name string) bool // whether a use of path.name is this power
	mend  string
}

// powers lists them. Names that only describe (types of addresses, errors,
// flags of open) are no powers.
func powers() []power {
	return []power{
		{"net", func(p, n string) bool {
			return p == "net" && n != "Listener" && (hasPrefix(n, "Dial", "Listen", "Lookup", "File") || oneOf(n, "Dialer", "Resolver", "DefaultResolver", "Interfaces", "InterfaceAddrs"))
		}, "take a net.Conn, a net.Listener or a resolver from the host"},
		{"http", func(p, n string) bool { return p == "net/http" || hasPrefix(p, "net/http/") },
			"serve it from a package that has this power"},
		{"os", func(p, n string) bool {
			return p == "os" && !hasPrefix(n, "O_", "Err", "Mode") && !oneOf(n, "FileMode", "PathError", "SyscallError", "NewSyscallError")
		}, "use base/sys.FS, or have the host read it"},
		{"exec", func(p, n string) bool { return p == "os/exec" }, "do it in the process"},
		{"unsafe", func(p, n string) bool { return p == "unsafe" }, "do without"},
		{"syscall", func(p, n string) bool {
			return p == "golang.org/x/sys/unix" || p == "syscall" && !hasPrefix(n, "E", "SIG") && !oneOf(n, "Conn", "RawConn")
		}, "use base/sys"},
		{"signal", func(p, n string) bool { return p == "os/signal" }, "take a context"},
		{"sql", func(p, n string) bool { return p == "database/sql" || hasPrefix(p, "zombiezen.com/go/sqlite") },
			"ask store/mailbox or store/account"},
		{"tls", func(p, n string) bool {
			return p == "crypto/tls" && oneOf(n, "Config", "Certificate", "Server", "Client", "Listen", "NewListener", "Dial", "DialWithDialer", "Dialer", "LoadX509KeyPair", "X509KeyPair")
		}, "call StartTLS of the connection: keys stay with the listener"},
		{"now", func(p, n string) bool {
			return p == "time" && oneOf(n, "Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker")
		}, "use sys.Clock, or take the time as an argument"},
		{"rand", func(p, n string) bool { return oneOf(p, "crypto/rand", "math/rand", "math/rand/v2") },
			"take an io.Reader from the host (sys.Rand)"},
	}
}

// Grant gives a package a power, for a reason.
type Grant struct{ Package, Power, Reason string }

// Powers checks what packages use of the world against the grants. A grant
// that is not used is a finding. Tests, test support and tools may do anything.
func Powers(t *Tree, grants []Grant, support []string) []Finding {
	var out []Finding
	used := make([]bool, len(grants))
	for _, p := range t.Packages {
		told := map[string]bool{}
		if !p.product() || slices.Contains(support, p.short()) {
			continue
		}
		for _, f := range p.Files {
			if f.Test {
				continue
			}
			for _, s := range f.selections() {
				for _, w := range powers() {
					if !w.holds(s.Path, s.Name) {
						continue
					}
					i := slices.IndexFunc(grants, func(g Grant) bool { return g.Package == p.short() && g.Power == w.name })
					if i >= 0 {
						used[i] = true
						continue
					}
					if told[w.name] {
						continue
					}
					told[w.name] = true // the first place is enough
					out = append(out, t.at(s.Pos, p.short()+" has no power "+w.name+": "+s.Path+"."+s.Name,
						w.mend+"; or add a grant with its reason to internal/tidy/powers_table.go"))
				}
			}
		}
	}
	for i, g := range grants {
		if !used[i] {
			out = append(out, Finding{Path: "internal/tidy/powers_table.go", What: g.Package + " does not use its power " + g.Power,
				Mend: "take the grant away"})
		}
		if len(strings.Fields(g.Reason)) < 2 {
			out = append(out, Finding{Path: "internal/tidy/powers_table.go", What: g.Package + " has no reason for its power " + g.Power,
				Mend: "say what for"})
		}
	}
	return out
}

func hasPrefix(s string, prefixes ...string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(s, p) })
}

func oneOf(s string, all ...string) bool { return slices.Contains(all, s) }
