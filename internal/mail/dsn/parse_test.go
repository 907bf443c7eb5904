package dsn

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

func parse(t testing.TB, raw []byte) (Report, error) {
	t.Helper()
	return Parse(bytes.NewReader(raw), int64(len(raw)))
}

// TestParse_Corpus reads the reports of other programs.
func TestParse_Corpus(t *testing.T) {
	type rc struct {
		to     string
		action Action
		status smtp.EnhancedCode
	}
	var five []rc
	for _, local := range []string{
		"bbbbvhvbbvkjbhfbvbvjhb", "bscdbcjhasbcjhbdscbhbsdhcbj", "egyfefsdvsfvvhjsd", "kfhejkfbsjkjsbhds", "qfvhgsvhgsduiohncdhcvhsdfvsfygusd",
	} {
		five = append(five, rc{local + "@gmail.com", Failed, "5.1.1"})
	}
	for file, want := range map[string][]rc{
		"enmime-dsn/simple_dsn.raw":           {{"louisl@larry.slip.umd.edu", Failed, "4.0.0"}},
		"enmime-dsn/simple_dsn_with_html.raw": {{"louisl@larry.slip.umd.edu", Failed, "4.0.0"}},
		"enmime-dsn/multi_recipient_dsn.raw": {
			{"arathib@vnet.ibm.com", Failed, "5.0.0"}, {"johnh@hpnjld.njd.hp.com", Delayed, "4.0.0"}, {"wsnell@sdcc13.ucsd.edu", Failed, "5.0.0"},
		},
		"enmime-dsn/delayed_dsn.raw":                                             {{"thomas@de-montfort.ac.uk", Delayed, "4.0.0"}},
		"enmime-dsn/dsn_with_multipart_alternative.raw":                          {{"non-existing@example.com", Failed, "5.1.10"}},
		"ruby-mail/multipart_report_emails/report_422.eml":                       {{"fraser@oooooooo.com.au", Delayed, "4.2.2"}},
		"ruby-mail/multipart_report_emails/report_530.eml":                       {{"edwin@zzzzzzz.com", Failed, "5.3.0"}},
		"ruby-mail/multipart_report_emails/multi_address_bounce1.eml":            five,
		"ruby-mail/multipart_report_emails/multi_address_bounce2.eml":            five,
		"ruby-mail/multipart_report_emails/multipart_report_multiple_status.eml": {{"u@ci.com", Failed, "5.3.0"}},
	} {
		raw, err := os.ReadFile(filepath.Join("../message/testdata/corpus", file))
		if err != nil {
			t.Fatal(err)
		}
		r, err := parse(t, raw)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		var got []rc
		for _, r := range r.Recipients {
			got = append(got, rc{r.Final.String(), r.Action, r.Status})
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(rc{})); diff != "" {
			t.Errorf("%s: want -, got +\n%s", file, diff)
		}
	}
}

func TestParse_Refuses(t *testing.T) {
	status := "\r\n\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; a.test\r\n\r\nFinal-Recipient: rfc822; a@b.test\r\nAction: failed\r\nStatus: 5.0.0\r\n--b--\r\n"
	for name, raw := range map[string]string{
		"empty":         "",
		"ordinary":      sent,
		"disposition":   "Content-Type: multipart/report; report-type=disposition-notification; boundary=b\r\n\r\n--b\r\n\r\nread\r\n--b\r\nContent-Type: message/disposition-notification\r\n\r\nDisposition: x\r\n--b--\r\n",
		"no recipients": strings.Split("Content-Type: multipart/report; boundary=b"+status, "Final")[0],
		"forwarded":     "Content-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\nContent-Type: message/rfc822\r\n\r\nContent-Type: multipart/report; boundary=b" + status + "\r\n--c--\r\n",
	} {
		if r, err := parse(t, []byte(raw)); !errors.Is(err, ErrNoReport) {
			t.Errorf("%s: got %+v, %v", name, r, err)
		}
	}
	if _, err := parse(t, []byte("Content-Type: multipart/report; boundary=b"+status)); err != nil {
		t.Errorf("plain: %v", err)
	}
	if _, err := Parse(strings.NewReader("short"), 100); errors.Is(err, ErrNoReport) == false {
		t.Errorf("shorter than said: got %v", err)
	}
}

// TestBuild_Model: what is built parses, and is what was told.
func TestBuild_Model(t *testing.T) {
	local := rapid.StringMatching(`[a-zA-Z0-9+=\\"{} ü日]{1,20}`)
	when := rapid.Custom(func(t *rapid.T) time.Time {
		return now.Add(time.Duration(rapid.IntRange(-1e6, 1e6).Draw(t, "s")) * time.Second)
	})
	words := rapid.StringMatching(`[a-z<>;:=()é]{1,9}( [a-z<>;:=()é]{1,9}){0,30}`)
	rapid.Check(t, func(rt *rapid.T) {
		addr := func(name string) message.Address {
			return message.Address{Local: local.Draw(rt, name), Domain: "example.org"}
		}
		r := Report{
			ID: "id." + rapid.StringMatching(`[a-z0-9]{1,20}`).Draw(rt, "id"), Now: when.Draw(rt, "now"), Hostname: "mx.demo.test",
			To: addr("to"), EnvID: string(smtp.AppendXtext(nil, rapid.StringMatching(`[!-~]{0,30}`).Draw(rt, "envid"))),
			Ret: smtp.Ret(rapid.IntRange(0, 2).Draw(rt, "ret")), Arrival: when.Draw(rt, "arrival"), Original: strings.NewReader(sent),
		}
		for range rapid.IntRange(1, 5).Draw(rt, "recipients") {
			rc := Recipient{
				Final: addr("final"), Action: rapid.SampledFrom([]Action{Failed, Delayed, Delivered, Relayed, Expanded}).Draw(rt, "action"),
				RemoteMTA: "mx.example.org", Reply: "550 " + words.Draw(rt, "reply"), LastTry: when.Draw(rt, "last"),
			}
			if rapid.Bool().Draw(rt, "original") {
				rc.Original = "rfc822;" + string(smtp.AppendXtext(nil, rapid.StringMatching(`[!-~]{1,30}`).Draw(rt, "orcpt")))
			}
			if rc.Action == Delayed {
				rc.RetryUntil = when.Draw(rt, "until")
			}
			rc.Status = rc.status()
			r.Recipients = append(r.Recipients, rc)
		}
		raw, err := Build(r)
		if err != nil {
			rt.Fatal(err)
		}
		checkMIME(t, r, raw)
		got, err := Parse(bytes.NewReader(raw), int64(len(raw)))
		if err != nil {
			rt.Fatal(err)
		}
		if string(got.OriginalHeader) != sent[:headerEnd([]byte(sent))] && !bytes.HasPrefix([]byte(sent), got.OriginalHeader) {
			rt.Fatalf("got original %q", got.OriginalHeader)
		}
		want := r
		want.ID, want.Ret, want.Original, got.OriginalHeader = "<"+r.ID+"@mx.demo.test>", 0, nil, nil
		wide := !r.To.ASCII() && r.international()
		for i := range want.Recipients {
			rc := &want.Recipients[i]
			rc.Reply = printable(rc.Reply, wide)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			rt.Fatalf("want -, got +\n%s\n%s", diff, raw)
		}
	})
}

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.eml")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, name := range files {
		raw, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := parse(t, raw)
		if err != nil {
			if !errors.Is(err, ErrNoReport) {
				t.Fatal(err)
			}
			return
		}
		if len(r.Recipients) == 0 || len(r.Recipients) > recipientsMax || len(r.OriginalHeader) > OriginalMax {
			t.Fatalf("got %d recipients, header of %d octets", len(r.Recipients), len(r.OriginalHeader))
		}
		// It can be told again, whatever it says.
		r.ID, r.Hostname, r.To = "again", "mx.demo.test", message.Address{Local: "one", Domain: "demo.test"}
		r.Original = bytes.NewReader(r.OriginalHeader)
		kept := r.Recipients[:0]
		for _, rc := range r.Recipients {
			if !rc.Action.known() {
				t.Fatalf("got action %q", rc.Action)
			}
			if !rc.Final.IsZero() {
				kept = append(kept, rc)
			}
		}
		if r.Recipients = kept; len(kept) == 0 {
			return
		}
		again := build(t, r)
		checkMIME(t, r, again)
		second, err := parse(t, again)
		if err != nil || len(second.Recipients) != len(kept) {
			t.Fatalf("got %d recipients, %v; want %d\n%s", len(second.Recipients), err, len(kept), again)
		}
		for i, rc := range second.Recipients {
			if rc.Final != kept[i].Final && len(kept[i].Final.Local) < 100 || rc.Action != kept[i].Action {
				t.Fatalf("got %+v, want %+v", rc, kept[i])
			}
		}
	})
}

func FuzzBuild(f *testing.F) {
	f.Add("two", "550 5.1.1 no", "reason", "rfc822;a", "Subject: x\r\n\r\nbody", "ü", true)
	f.Fuzz(func(t *testing.T, local, reply, reason, orcpt, text, to string, full bool) {
		final, err1 := message.ParseAddress(local + "@example.org")
		sender, err2 := message.ParseAddress(to + "@demo.test")
		if err1 != nil || err2 != nil {
			return
		}
		r := Report{ID: "id", Now: now, Hostname: "mx.demo.test", To: sender, Original: strings.NewReader(text),
			Recipients: []Recipient{{Final: final, Action: Failed, Reply: reply, Reason: reason, Original: orcpt, RemoteMTA: reason}}}
		if full {
			r.Ret = smtp.RetFull
		}
		raw := build(t, r)
		checkMIME(t, r, raw)
		got, err := parse(t, raw)
		if err != nil || len(got.Recipients) != 1 || len(local) < 100 && got.Recipients[0].Final != final {
			t.Fatalf("got %+v, %v\n%s", got, err, raw)
		}
	})
}
