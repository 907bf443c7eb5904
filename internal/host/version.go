package host

import (
	"runtime"
	"runtime/debug"
)

// Version returns what this program calls itself: the module's version or
// the commit that it was built from, and the Go version.
func Version() string {
	b, ok := debug.ReadBuildInfo()
	if !ok {
		return "breakwater (unknown build), " + runtime.Version()
	}
	v, dirty := b.Main.Version, ""
	for _, s := range b.Settings {
		switch {
		case s.Key == "vcs.revision" && (v == "" || v == "(devel)"):
			v = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = " (modified)"
		}
	}
	return "breakwater " + v + dirty + ", " + runtime.Version()
}
