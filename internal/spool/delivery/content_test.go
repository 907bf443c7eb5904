package delivery

import (
	"strings"
	"testing"
)

// stored is a body.
type stored struct{ *strings.Reader }

func (stored) Close() error { return nil }

// A message that was read at once is looked through like one that was not.
func TestContent_scan(t *testing.T) {
	for _, c := range []struct {
		text        string
		eight, head bool
	}{
		{"Subject: x\r\n\r\nbody\r\n", false, false},
		{"Subject: x\r\n\r\nbody \xe9\r\n", true, false},
		{"Subject: \xe9\r\n\r\nbody\r\n", true, true},
		{"Subject: \xe9\r\n", true, true},
		{"", false, false},
		{"Subject: x\r\n" + strings.Repeat("X: y\r\n", scanBlock/6-2) + "\r\n\xe9", true, false},
	} {
		for _, small := range []bool{true, false} {
			m := &content{body: stored{strings.NewReader(c.text)}, size: int64(len(c.text))}
			if small {
				m.small = []byte(c.text)
			}
			if err := m.scan(); err != nil || m.eight != c.eight || m.eightIn != c.head {
				t.Errorf("%.40q, small %v: 8-bit %v, in the header %v, %v", c.text, small, m.eight, m.eightIn, err)
			}
		}
	}
}
