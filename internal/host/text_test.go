package host

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
)

// metric reads one metric that has no labels, "" if it is not there.
func (h *testHost) metric(name string) string {
	h.t.Helper()
	resp, err := http.Get("http://" + h.bound.Addr("metrics") + "/metrics")
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindSubmatch(page)
	if m == nil {
		return ""
	}
	return string(m[1])
}

// searchText gives the messages of INBOX with a text.
func (h *testHost) searchText(text string) []uint32 {
	h.t.Helper()
	c := h.read("one@demo.test")
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		h.t.Fatal(err)
	}
	found, err := c.Search(&imap.SearchCriteria{Text: []string{text}}, nil).Wait()
	if err != nil {
		h.t.Fatal(err)
	}
	return found.AllSeqNums()
}

// A search of text fills the text index, the next one asks it, and without it
// the answer is the same.
func TestHost_searchesText(t *testing.T) {
	h := newTestHost(t)
	for _, text := range []string{"Subject: a\r\n\r\nfirst text\r\n", "Subject: b\r\n\r\nsecond text\r\n"} {
		if err := h.send("two@demo.test", "one@demo.test", text); err != nil {
			t.Fatal(err)
		}
	}
	search := func() {
		t.Helper()
		if got := h.searchText("SECOND"); !slices.Equal(got, []uint32{2}) {
			t.Errorf("found %v, want 2", got)
		}
	}
	search()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for h.metric("breakwater_fulltext_indexed_total") != "2" {
		<-tick.C
	}
	for h.metric("breakwater_fulltext_candidates_total") != "1" { // what is counted is committed a little later
		search()
		if t.Failed() {
			return
		}
		if got := h.metric("breakwater_fulltext_asked_total"); got != "0" && got != "2" {
			t.Fatalf("%s messages were asked about, want 2", got)
		}
	}
	h.stop()
	file := filepath.Join(h.dir, textName)
	if err := os.RemoveAll(file); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(file, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	h.start()
	search()
}
