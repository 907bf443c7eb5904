package sys

import (
	"fmt"
	"testing"
)

func TestSkip(t *testing.T) {
	bufs := [][]byte{[]byte("abc"), nil, []byte("def")}
	for n, want := range []string{"[abc  def]", "[bc  def]", "[c  def]", "[def]", "[ef]", "[f]", "[]"} {
		left, _ := skip(bufs, n, nil)
		if got := fmt.Sprintf("%s", left); got != want {
			t.Errorf("skip %d: %s, want %s", n, got, want)
		}
	}
	if string(bufs[0]) != "abc" {
		t.Fatal("the caller's vector was changed")
	}
}
