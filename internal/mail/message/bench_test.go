package message

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
)

const mailHeader = `Return-Path: <alice@example.com>
Received: from mail.example.com (mail.example.com [192.0.2.1]) by mx.demo.test
	(Breakwater) with ESMTPS id 0123456789abcdef for <one@demo.test>;
	Mon, 2 Jan 2006 15:04:05 +0000
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.com; s=2024;
	h=from:to:subject:date:message-id; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=;
	b=dzdVyOfAKCdLXdJOc9G2q8LoXSlEniSbav+yuU4zGeeruD00lszZVoG4ZHRNiYzR
Date: Mon, 2 Jan 2006 15:04:05 +0000
From: Alice Liddell <alice@example.com>
To: Number One <one@demo.test>
Cc: Number Two <two@demo.test>
Subject: A subject of ordinary length about the meeting on Thursday
Message-ID: <20060102150405.0123456789@mail.example.com>
In-Reply-To: <20060101150405.0123456789@mail.example.com>
User-Agent: Example/1.0
MIME-Version: 1.0
`

func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

// plainMail is a mail of one part and about size bytes.
func plainMail(size int) []byte {
	head := crlf(mailHeader + "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n")
	line := strings.Repeat("some words ", 7)[:74] + "\r\n"
	return []byte(head + strings.Repeat(line, max(1, (size-len(head))/len(line))))
}

// mixedMail is a mail of text, HTML and an attachment of about size bytes.
func mixedMail(size int) []byte {
	var b bytes.Buffer
	b.WriteString(crlf(mailHeader + "Content-Type: multipart/mixed; boundary=\"=_outer\"\n\n" +
		"--=_outer\nContent-Type: multipart/alternative; boundary=\"=_inner\"\n\n" +
		"--=_inner\nContent-Type: text/plain; charset=utf-8\n\nhello\n" +
		"--=_inner\nContent-Type: text/html; charset=utf-8\n\n<p>hello\n--=_inner--\n" +
		"--=_outer\nContent-Type: application/pdf; name=\"report.pdf\"\n" +
		"Content-Disposition: attachment; filename=\"report.pdf\"\nContent-Transfer-Encoding: base64\n\n"))
	line := strings.Repeat("QUJDREVG", 9) + "QUJD\r\n"
	b.WriteString(strings.Repeat(line, max(1, (size-b.Len())/len(line))))
	b.WriteString("--=_outer--\r\n")
	return b.Bytes()
}

func BenchmarkParse(b *testing.B) {
	for _, c := range []struct {
		name string
		raw  []byte
	}{
		{"plain4K", plainMail(4 << 10)}, {"mixed60K", mixedMail(60 << 10)}, {"mixed10M", mixedMail(10 << 20)},
		{"plain10M", plainMail(10 << 20)}, {"nested3K", nestedMultiparts(3000)}, {"nested1M", nestedMultiparts(1 << 20)},
		{"dashes1M", append(nestedMultiparts(3000), bytes.Repeat([]byte("--\n"), 350_000)...)},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(c.raw)))
			b.ReportAllocs()
			for b.Loop() {
				p := NewParser(Limits{})
				for rest := c.raw; len(rest) > 0; {
					n := min(len(rest), 32<<10)
					p.Write(rest[:n])
					rest = rest[n:]
				}
				p.Close()
			}
		})
	}
}

func BenchmarkAppendBinary(b *testing.B) {
	for name, raw := range map[string][]byte{"plain": plainMail(4096), "mixed": mixedMail(4096)} {
		m := Parse(raw)
		b.Run(name, func(b *testing.B) {
			var buf []byte
			b.ReportAllocs()
			for b.Loop() {
				buf = m.AppendBinary(buf[:0])
			}
			b.ReportMetric(float64(len(buf)), "bytes")
		})
	}
}

func BenchmarkDecodeMessage(b *testing.B) {
	for name, raw := range map[string][]byte{"plain": plainMail(4096), "mixed": mixedMail(4096)} {
		enc := Parse(raw).AppendBinary(nil)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := DecodeMessage(enc); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppendIMAP(b *testing.B) {
	m := Parse(mixedMail(4096))
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = m.Envelope.AppendIMAP(buf[:0], false)
		buf = m.Root.AppendIMAP(buf, true, false)
	}
}

func BenchmarkPart_Decode(b *testing.B) {
	for _, enc := range []string{"base64", "quoted-printable"} {
		head := fmt.Sprintf("Content-Transfer-Encoding: %s\r\n\r\n", enc)
		body := strings.Repeat("QUJDREVG", 9) + "\r\n"
		if enc == "quoted-printable" {
			body = strings.Repeat("some words =C3=BC ", 4) + "=\r\n"
		}
		raw := []byte(head + strings.Repeat(body, 10_000))
		p := Parse(raw).Root
		b.Run(enc, func(b *testing.B) {
			b.SetBytes(int64(len(raw)))
			for b.Loop() {
				io.Copy(io.Discard, p.Decode(bytes.NewReader(raw)))
			}
		})
	}
}

func BenchmarkDecodeHeader(b *testing.B) {
	for b.Loop() {
		DecodeHeader("=?utf-8?B?SsO8cmdlbiBzY2hyZWlidCBlaW5lbiBCcmllZg==?= =?utf-8?q?_an_J=C3=BCrgen?=")
	}
}
