package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/breakwater-mail/breakwater/internal/host"
)

const (
	demoDir   = "breakwater-demo"
	systemDir = "/var/lib/breakwater"
)

// where finds a host: by its directory or its configuration file, else the
// demo's in the current folder, else the system's.
type where struct {
	Dir    string `help:"Directory of the host (default: ./breakwater-demo if it is there, else /var/lib/breakwater)." type:"path" placeholder:"DIR"`
	Config string `help:"Configuration file (default: breakwater.toml in the directory)." type:"path" placeholder:"FILE"`
}

// load reads the configuration of the host that is meant.
func (w where) load() (host.Config, error) {
	path := w.Config
	if path == "" {
		path = filepath.Join(w.dir(), "breakwater.toml")
	}
	c, err := host.Load(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, fmt.Errorf("no host here: %s does not exist; name one with --dir or --config, or make one with `breakwater demo` or `breakwater init`", path)
	}
	return c, err
}

func (w where) dir() string {
	if w.Dir != "" {
		return w.Dir
	}
	if _, err := os.Stat(filepath.Join(demoDir, "breakwater.toml")); err == nil {
		return demoDir
	}
	return systemDir
}
