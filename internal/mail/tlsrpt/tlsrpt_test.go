package tlsrpt

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

func day() Range {
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	return Range{Time{start}, Time{start.Add(24*time.Hour - time.Second)}}
}

func sample() *Report {
	return &Report{
		Organization: "demo.test", Range: day(), Contact: "postmaster@demo.test", ID: "2026-03-01.example.org",
		Policies: Policies{
			{Policy{"sts", Lines{"version: STSv1", "mode: testing"}, "example.org", Lines{"*.example.org"}}, Summary{5326, 303},
				Failures{{"certificate-expired", "2001:db8::1", "mx1.example.org", "mx1", "203.0.113.5", 100, "", "x509: expired"}}},
			{Policy{Type: "no-policy-found", Domain: "example.org"}, Summary{1, 0}, nil},
		},
	}
}

func address(t testing.TB, s string) message.Address {
	t.Helper()
	a, err := message.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestReport_roundTrip(t *testing.T) {
	want := sample()
	m := Mail{
		ID: "20260301.abc", Now: time.Date(2026, 3, 2, 1, 2, 3, 0, time.UTC), From: address(t, "postmaster@demo.test"), To: address(t, "tlsrpt@example.org"),
		Domain: "example.org", Submitter: "mx.demo.test", Report: want,
	}
	raw, err := m.Build()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseMessage(raw)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("got (+), want (-):\n%s", d)
	}
	for line := range strings.Lines(string(raw)) {
		if len(line) > 78 && !strings.Contains(line, "filename") || !strings.HasSuffix(line, "\r\n") {
			t.Errorf("line %q", line)
		}
	}
	for _, want := range []string{"TLS-Report-Domain: example.org\r\n", "TLS-Report-Submitter: mx.demo.test\r\n", "report-type=\"tlsrpt\"",
		"Content-Type: application/tlsrpt+gzip\r\n", "filename=\"mx.demo.test!example.org!1772323200!1772409599.json.gz\"", "TLS-Required: No\r\n",
		"Sessions that failed:    303\r\n", "Report-ID: <20260301.abc@mx.demo.test>"} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("no %q in the message", want)
		}
	}
	root := message.Parse(raw)
	if len(root.Defects) != 0 || root.Root.Subtype != "report" || len(root.Root.Children) != 2 {
		t.Errorf("got %v, want two parts without defects", root.Defects)
	}
	for _, bad := range []Mail{{}, {ID: "a\r\nb"}, {ID: "a"}} {
		bad.Report = want
		if _, err := bad.Build(); err == nil {
			t.Errorf("%+v was made", bad)
		}
	}
}

func TestDecodeReport_asOthersWriteIt(t *testing.T) {
	text := "\xef\xbb\xbf" + `{"organization-name":"O\u0000\nX","date-range":{"start-datetime":"2026-03-01T00:00:00","end-datetime":"x"},
	"report-id":"r","contact-info":null,"policies":[{"policy":{"policy-type":"tlsa","policy-string":"3 1 1 ff","policy-domain":"example.org","mx-host":["a",7]},
	"summary":{"total-successful-session-count":"12","total-failure-session-count":-3},"failure-details":null}],"more":[[]]}`
	r, err := DecodeReport([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := &Report{Organization: "O  X", ID: "r", Range: Range{Start: day().Start}, Policies: Policies{
		{Policy: Policy{"tlsa", Lines{"3 1 1 ff"}, "example.org", Lines{"a", ""}}, Summary: Summary{12, 0}}}}
	if d := cmp.Diff(want, r); d != "" {
		t.Errorf("got (+), want (-):\n%s", d)
	}
}

func pack(t testing.TB, text []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestDecodeReport_hostile(t *testing.T) {
	bomb := pack(t, bytes.Repeat([]byte(" "), 100<<20))
	for name, b := range map[string][]byte{
		"nothing": nil, "no JSON": []byte("hello"), "a list": []byte("[]"), "no policies": []byte("{}"), "empty policies": []byte(`{"policies":[]}`),
		"bomb": bomb, "broken gzip": bomb[:len(bomb)/2], "large": bytes.Repeat([]byte(" "), PackedMax+1), "deep": bytes.Repeat([]byte("["), 1<<20),
		"only the magic": {0x1f, 0x8b},
	} {
		if r, err := DecodeReport(b); !errors.Is(err, ErrReport) {
			t.Errorf("%s: got %v %v, want %v", name, r, err, ErrReport)
		}
	}
	failures := strings.Repeat("{},", failuresMax*10) + "{}"
	one := `{"policy":{"policy-string":[` + strings.Repeat(`"x",`, 1000) + `"x"]},"failure-details":[` + failures + `]}`
	many := `{"policies":[` + strings.Repeat(one+",", policiesMax+10) + one + `]}`
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r, err := DecodeReport(pack(t, []byte(many)))
	runtime.ReadMemStats(&after)
	if err != nil || len(r.Policies) != policiesMax || len(r.Policies[0].Failures) != failuresMax || len(r.Policies[0].Policy.Text) != linesMax {
		t.Fatalf("got %v, want lists that are cut off", err)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 256<<20 {
		t.Errorf("%d MB were used for %d MB", used>>20, len(many)>>20)
	}
}

func TestParseMessage_asOthersSendIt(t *testing.T) {
	packed := pack(t, []byte(`{"policies":[{}]}`))
	head := "From: a@example.org\r\nMIME-Version: 1.0\r\n"
	for name, c := range map[string]struct {
		raw string
		ok  bool
	}{
		"alone":               {head + "Content-Type: application/tlsrpt+json\r\n\r\n{\"policies\":[{}]}", true},
		"binary":              {head + "Content-Type: application/tlsrpt+gzip\r\nContent-Transfer-Encoding: binary\r\n\r\n" + string(packed), true},
		"by its name":         {head + "Content-Type: application/gzip; name=\"a!b!1!2.json.gz\"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + string(packed), true},
		"by no name":          {head + "Content-Type: application/gzip\r\n\r\n" + string(packed), false},
		"text":                {head + "Content-Type: text/plain\r\n\r\nhello", false},
		"in another's mail":   {head + "Content-Type: message/rfc822\r\n\r\nContent-Type: application/tlsrpt+json\r\n\r\n{\"policies\":[{}]}", false},
		"nothing":             {"", false},
		"too large a message": {strings.Repeat("x", MessageMax+1), false},
	} {
		if r, err := ParseMessage([]byte(c.raw)); (err == nil) != c.ok || !c.ok && !errors.Is(err, ErrReport) {
			t.Errorf("%s: got %v %v", name, r, err)
		}
	}
}

func TestParseRecord(t *testing.T) {
	for in, want := range map[string]string{
		"v=TLSRPTv1; rua=mailto:reports@example.org":                        "[mailto:reports@example.org]",
		"v=TLSRPTv1;rua=https://r.example.org/v1/tlsrpt#x":                  "[https://r.example.org/v1/tlsrpt]",
		"v=TLSRPTv1; rua=mailto:a@example.org, https://b.example:8443/;x=y": "[mailto:a@example.org https://b.example:8443/]",
		"v = TLSRPTv1 ; rua = mailto:a%2Bb@example.org?subject=x ;":         "[mailto:a+b@example.org]",
		"v=TLSRPTv1; rua=http://a.example,ftp:x,mailto:a@b.example":         "[mailto:a@b.example]",
		"v=TLSRPTv1; rua=mailto:a@b.example; rua=mailto:c@d.example":        "[mailto:a@b.example]",
		"v=TLSRPTv1; rua=" + strings.Repeat("mailto:a@b.example,", 9):       "[mailto:a@b.example mailto:a@b.example mailto:a@b.example mailto:a@b.example]",
		"v=TLSRPTv1": "[]", "v=TLSRPTv1; rua=": "[]", "v=TLSRPTv2; rua=mailto:a@b.example": "[]", "rua=mailto:a@b.example; v=TLSRPTv1": "[]", "": "[]",
		"v=TLSRPTv1; rua=https://user:secret@a.example/": "[]", "v=TLSRPTv1; rua=https:///x": "[]", "v=TLSRPTv1; rua=mailto:a%0D%0Ab@c.example": "[]",
		"v=TLSRPTv1; rua=mailto:" + strings.Repeat("a", recordOctetsMax): "[]",
	} {
		got, err := ParseRecord(in)
		if fmt.Sprint(got) != want || (err == nil) != (want != "[]") || err != nil && !errors.Is(err, ErrRecord) {
			t.Errorf("%.80q: got %v %v, want %s", in, got, err, want)
		}
	}
}

func FuzzDecodeReport(f *testing.F) {
	packed, err := sample().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(packed)
	f.Add([]byte(`{"organization-name":"a","date-range":{"start-datetime":"2026-03-01T00:00:00Z"},"policies":[{"policy":{"policy-string":"x","mx-host":["y"]},"summary":{"total-failure-session-count":"3"},"failure-details":[{"result-type":"x"}]}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := DecodeReport(b)
		if err != nil {
			return
		}
		again, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		second, err := DecodeReport(again)
		if err != nil {
			t.Fatal(err)
		}
		third, err := second.Encode()
		if err != nil || !bytes.Equal(again, third) {
			t.Fatalf("%+v becomes %+v: %v", r, second, err)
		}
	})
}

func FuzzParseMessage(f *testing.F) {
	f.Add([]byte("Content-Type: application/tlsrpt+json\r\n\r\n{\"policies\":[{}]}"))
	f.Add([]byte("Content-Type: multipart/report; boundary=x\r\n\r\n--x\r\nContent-Type: application/tlsrpt+gzip\r\nContent-Transfer-Encoding: base64\r\n\r\nH4sI\r\n--x--\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := ParseMessage(b); err == nil && len(r.Policies) == 0 {
			t.Fatal("a report without policies")
		}
	})
}

func FuzzParseRecord(f *testing.F) {
	f.Add("v=TLSRPTv1; rua=mailto:a%2Bb@example.org,https://r.example.org/v1")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ParseRecord(text)
		if err != nil {
			return
		}
		if len(got) == 0 || len(got) > destinationsMax {
			t.Fatalf("%d destinations", len(got))
		}
		for _, d := range got {
			if d.Mail.IsZero() == (d.URL == "") || strings.ContainsAny(d.String(), "\r\n\x00") || d.URL != "" && !strings.HasPrefix(d.URL, "https://") {
				t.Fatalf("destination %q", d)
			}
		}
	})
}
