package tlspolicy

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

func FuzzParseRecord(f *testing.F) {
	f.Add("v=STSv1; id=20160831085700Z;")
	f.Add("v=STSv1;id=1;x=y")
	f.Fuzz(func(t *testing.T, text string) {
		id, err := ParseRecord(text)
		if err != nil {
			return
		}
		if again, err := ParseRecord("v=STSv1; id=" + id + ";"); err != nil || again != id {
			t.Fatalf("%q becomes %q %v", id, again, err)
		}
	})
}

func FuzzParsePolicy(f *testing.F) {
	f.Add([]byte(enforced))
	f.Add([]byte("version: STSv1\r\nmode: none\r\nmax_age: 0"))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := ParsePolicy(text)
		if err != nil {
			return
		}
		again, err := ParsePolicy([]byte(strings.Join(p.Lines(), "\n")))
		if err != nil || again.Mode != p.Mode || again.MaxAge != p.MaxAge || !slices.Equal(again.MX, p.MX) {
			t.Fatalf("%v becomes %v %v", p, again, err)
		}
		for _, mx := range p.MX {
			if strings.ContainsAny(mx, " \r\n\x00") || !p.Matches(strings.Replace(mx, "*", "x", 1)) {
				t.Fatalf("pattern %q", mx)
			}
		}
	})
}

func FuzzFile(f *testing.F) {
	f.Add([]byte(`{"version":1,"policies":[{"domain":"a.example","id":"1","fetched":"2026-03-01T00:00:00Z","policy":["version: STSv1","mode: none","max_age: 600000"]}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, err := decodeFile(b, start())
		if err != nil {
			return
		}
		text, err := encodeFile(entries)
		if err != nil {
			t.Fatal(err)
		}
		again, err := decodeFile(text, start())
		if err != nil || len(again) != len(entries) {
			t.Fatalf("%d policies become %d: %v", len(entries), len(again), err)
		}
		if second, err := encodeFile(again); err != nil || !bytes.Equal(text, second) {
			t.Fatalf("%s becomes %s: %v", text, second, err)
		}
	})
}
