package message

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func corpus(t testing.TB) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir("testdata/corpus", func(path string, d fs.DirEntry, err error) error {
		switch filepath.Ext(path) {
		case ".msg", ".raw", ".eml":
			files = append(files, path)
		}
		return err
	})
	if err != nil || len(files) < 200 {
		t.Fatalf("%d messages in the corpus: %v", len(files), err)
	}
	return files
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestCorpus(t *testing.T) {
	for _, name := range corpus(t) {
		raw := read(t, name)
		t.Run(strings.TrimPrefix(filepath.ToSlash(name), "testdata/corpus/"), func(t *testing.T) {
			m := Parse(raw)
			checkMessage(t, raw, m)
			for _, n := range []int{1, 2, 3, 61, 4096} {
				if got := parsePieces(raw, n); !reflect.DeepEqual(got, m) {
					t.Fatalf("in pieces of %d:\n%s\nwhole:\n%s", n, describe(got), describe(m))
				}
			}
			if limit := 600 + len(raw)/4; len(m.AppendBinary(nil)) > limit {
				t.Errorf("binary form of %d bytes for %d of mail", len(m.AppendBinary(nil)), len(raw))
			}
			if _, err := json.Marshal(DiagnoseMIME(raw)); err != nil {
				t.Error(err)
			}
			checkBodies(t, raw, m.Root)
		})
	}
}

// checkBodies reads every leaf both ways.
func checkBodies(t *testing.T, raw []byte, p *Part) {
	for _, c := range p.Children {
		checkBodies(t, raw, c)
	}
	for _, r := range []io.Reader{p.Decode(bytes.NewReader(raw)), p.Text(bytes.NewReader(raw))} {
		if _, err := io.Copy(io.Discard, r); err != nil {
			t.Errorf("body of %+v: %v", p, err)
		}
	}
	checkText(t, p.Filename())
}

// TestCorpusDecoded compares the decoded leaves with those that mime4j made of
// its own messages, but for the line ends of quoted-printable text, which are
// CRLF there whatever the message had.
func TestCorpusDecoded(t *testing.T) {
	differs := map[string]string{
		"frag_decoded_1_2_1_2_1_2_1_2.bin":                     "an incomplete last quantum of base64 counts here",
		"multi-frag_decoded_1_3_2.bin":                         "an incomplete last quantum of base64 counts here",
		"hdr-fakeout_decoded_1.txt":                            "text after a header without a blank line is the body here",
		"basic-plain-with-bad-header-separator_decoded_1.txt":  "text after a header without a blank line is the body here",
		"malformedHeader-noheader_decoded_1.txt":               "a message without a header is all body here",
		"malformedHeaderStartsBody-noheader_decoded_1.txt":     "a message without a header is all body here",
		"malformedHeaderStartsBody-nocrlfcrlf_decoded_1.txt":   "a malformed line between fields does not end the header here",
		"missing-inner-boundary_decoded_1_2_1.txt":             "a multipart without delimiters has all its body as its child here",
		"weird-boundary_decoded_1_1.txt":                       "a boundary cannot end with a space (RFC 2046 §5.1.1)",
		"very-long-boundary_decoded_1_1.txt":                   "a boundary cannot end with a space (RFC 2046 §5.1.1)",
		"very-very-long-boundary_decoded_1_1.txt":              "a boundary cannot end with a space (RFC 2046 §5.1.1)",
		"multi-2gifs-base64_decoded_1_1_1.txt":                 "an encoded embedded message stays unopened here",
		"multi-2gifs-base64_decoded_1_1_2.bin":                 "an encoded embedded message stays unopened here",
		"multi-2gifs-base64_decoded_1_1_3.bin":                 "an encoded embedded message stays unopened here",
		"bad-newlines-multiple-parts-base64_decoded_1_1_1.txt": "an encoded embedded message stays unopened here",
		"base64encoded-rfc822message-nested_decoded_1_1_1.txt": "an encoded embedded message stays unopened here",
		"base64encoded-rfc822message_decoded_1_1.txt":          "an encoded embedded message stays unopened here",
		"multipartemptypart_decoded_1_2.txt":                   "stale file: there is one part",
		"multipartnestedemptyparts_decoded_1_1.txt":            "stale file: it is the embedded message",
	}
	files, err := filepath.Glob("testdata/corpus/mime4j/*/*_decoded_*")
	if err != nil || len(files) < 100 {
		t.Fatalf("%d decoded files: %v", len(files), err)
	}
	for _, name := range files {
		base := filepath.Base(name)
		message, path, _ := strings.Cut(name, "_decoded_")
		raw := read(t, message+".msg")
		got, ok := leafBodies(raw, strings.TrimSuffix(path, filepath.Ext(path)))
		same := ok && sameText(got, read(t, name))
		if same != (differs[base] == "") {
			t.Errorf("%s: same as mime4j's is %v; expected: %q\n%.200q", base, same, differs[base], got)
		}
	}
}

// leafBodies decodes the leaf at the path: 1_2_1 is the first child of the
// second child of the root, an embedded message's root counting as a child.
func leafBodies(raw []byte, path string) ([]byte, bool) {
	p := Parse(raw).Root
	steps := strings.Split(path, "_")
	for _, s := range steps[1:] {
		var n int
		fmt.Sscan(s, &n)
		if n < 1 || n > len(p.Children) {
			return nil, false
		}
		p = p.Children[n-1]
	}
	if len(p.Children) > 0 {
		return nil, false
	}
	b, err := io.ReadAll(p.Decode(bytes.NewReader(raw)))
	return b, err == nil
}

func sameText(a, b []byte) bool {
	strip := func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")) }
	return bytes.Equal(strip(a), strip(b))
}

// TestCorpusGolden freezes the report of a dozen messages that were read
// closely, and of some of our own.
func TestCorpusGolden(t *testing.T) {
	for golden, name := range map[string]string{
		"nested":             "mime4j/mimetools-testmsgs/multi-nested.msg",
		"fragments":          "mime4j/mimetools-testmsgs/multi-frag.msg",
		"embedded":           "mime4j/mimetools-testmsgs/mp-msg-rfc822.msg",
		"similar_boundaries": "ruby-mail/mime_emails/email_with_similar_boundaries.eml",
		"delivery_report":    "ruby-mail/multipart_report_emails/multipart_report_multiple_status.eml",
		"utf8_headers":       "ruby-mail/rfc6532/utf8_headers.eml",
		"japanese_filename":  "ruby-mail/multi_charset/japanese_attachment_long_name.eml",
		"obsolete_addresses": "ruby-mail/rfc2822/example07.eml",
		"weird_to":           "ruby-mail/error_emails/weird_to_header.eml",
		"bad_final_boundary": "enmime/low-quality/bad-final-boundary.raw",
		"without_boundary":   "enmime/mail/multipart-wo-boundary.raw",
		"bad_8bit_filename":  "enmime/mail/mime-bad-8bit-filename.raw",
		"empty_part":         "mime4j/testmsgs/multipartemptypart.msg",
	} {
		t.Run(golden, func(t *testing.T) {
			raw := read(t, filepath.Join("testdata/corpus", filepath.FromSlash(name)))
			checkGolden(t, golden, raw)
		})
	}
}

func checkGolden(t *testing.T, name string, raw []byte) {
	t.Helper()
	got, err := json.MarshalIndent(DiagnoseMIME(raw), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	file := filepath.Join("testdata/golden", name+".json")
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(string(read(t, file)), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}
