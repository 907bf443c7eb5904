package telemetry

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

func TestLogger_namesThePart(t *testing.T) {
	var out bytes.Buffer
	Logger(slog.New(slog.NewTextHandler(&out, nil)), "journal").Info("opened", LSN, 7)
	if !strings.Contains(out.String(), "part=journal") || !strings.Contains(out.String(), "lsn=7") {
		t.Fatalf("line lacks its attributes: %s", out.String())
	}
}

func TestLogger_nilDiscards(t *testing.T) {
	l := Logger(nil, "journal")
	if l == nil || l.Enabled(t.Context(), slog.LevelError) {
		t.Fatal("a nil logger must become one that discards")
	}
}
