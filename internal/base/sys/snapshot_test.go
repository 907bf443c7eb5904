package sys

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSnapshot_keepsTheLast(t *testing.T) {
	s := Snapshot{OSFS(), filepath.Join(t.TempDir(), "memory"), 20}
	if found, err := s.Load(nil); found || err != nil {
		t.Fatalf("Load of nothing = %v, %v", found, err)
	}
	for _, want := range []string{"first, and longer", "second", ""} {
		if err := s.Replace([]byte(want)); err != nil {
			t.Fatal(err)
		}
		got := "unread"
		found, err := s.Load(func(b []byte) error { got = string(b); return nil })
		if !found || err != nil || got != want {
			t.Errorf("Load = %v, %v with %q; want %q", found, err, got, want)
		}
	}
	if left, _ := filepath.Glob(s.Path + ".*"); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestSnapshot_setsAsideWhatIsRefused(t *testing.T) {
	for name, text := range map[string]string{"refused": "damaged", "too large": strings.Repeat("x", 21)} {
		s := Snapshot{OSFS(), filepath.Join(t.TempDir(), "memory"), 20}
		if err := os.WriteFile(s.Path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		found, err := s.Load(func([]byte) error { return errors.New("no sense") })
		if found || err == nil || !strings.Contains(err.Error(), "memory.aside") {
			t.Errorf("%s: Load = %v, %v", name, found, err)
		}
		kept, err := os.ReadFile(s.Path + ".aside")
		if err != nil || string(kept) != text {
			t.Errorf("%s: aside: %q, %v", name, kept, err)
		}
		if found, err := s.Load(nil); found || err != nil {
			t.Errorf("%s: loaded again: %v, %v", name, found, err)
		}
	}
}

func TestSnapshot_replaceTellsWhatFailed(t *testing.T) {
	s := Snapshot{OSFS(), filepath.Join(t.TempDir(), "missing", "memory"), 20}
	if err := s.Replace(nil); err == nil || !strings.HasPrefix(err.Error(), "write memory: ") {
		t.Errorf("Replace = %v", err)
	}
}
