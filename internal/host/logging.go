package host

import (
	"fmt"
	"io"
	"log/slog"
	"net/netip"
)

// level returns the slog level that the configuration names.
func (c LogConfig) level() (slog.Level, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(c.Level)); err != nil {
		return 0, fmt.Errorf("log.level: %q is none of debug, info, warn, error", c.Level)
	}
	return l, nil
}

// Logger is a logger whose level can change while it is in use.
type Logger struct {
	*slog.Logger
	level *slog.LevelVar
}

// NewLogger returns the logger that the configuration asks for.
func NewLogger(c LogConfig, w io.Writer) (Logger, error) {
	l := Logger{level: new(slog.LevelVar)}
	if err := l.setLevel(c); err != nil {
		return l, err
	}
	o := &slog.HandlerOptions{Level: l.level}
	if c.Format == "json" {
		l.Logger = slog.New(slog.NewJSONHandler(w, o))
	} else {
		l.Logger = slog.New(slog.NewTextHandler(w, o))
	}
	return l, nil
}

// setLevel takes over the level of a configuration.
func (l Logger) setLevel(c LogConfig) error {
	level, err := c.level()
	if err == nil {
		l.level.Set(level)
	}
	return err
}

// proxyFrom parses listen.proxy_from.
func (c *Config) proxyFrom() ([]netip.Prefix, error) {
	var ps []netip.Prefix
	for _, s := range c.Listen.ProxyFrom {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("%q is no network; write \"10.0.0.0/8\"", s)
		}
		ps = append(ps, p.Masked())
	}
	return ps, nil
}
