package main

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
)

const (
	smallBytes = 4 << 10  // of a small message, header included
	largeMax   = 10 << 20 // of the largest mail-like one

	// Mail-like sizes are lognormal: median 8 KB, mean 60 KB before the cut, so
	// sigma = sqrt(2 ln(60/8)).
	sizeMedian = 8 << 10
	sizeSigma  = 2.007
	sizeDraws  = 512 // strata: every run sends the same mix

	lineBytes = 78 // 76 characters and CRLF, as MIME bodies have (RFC 2045 §6.8)
	wordCount = 2000
	rareEvery = 1000 // one message in so many holds the rare words
	rareText  = "kittiwake"
	rareTitle = "guillemot"
)

// content makes messages. It is immutable after newContent.
type content struct {
	words []string
	block []byte // largeMax of base64-like lines, all whole
	sizes []int
}

func newContent() *content {
	r := rand.New(rand.NewPCG(1, 2))
	c := &content{}
	for range wordCount {
		w := make([]byte, 3+r.IntN(7))
		for i := range w {
			w[i] = byte('a' + r.IntN(26))
		}
		c.words = append(c.words, string(w))
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	c.block = make([]byte, largeMax/lineBytes*lineBytes)
	for i := range c.block {
		c.block[i] = alphabet[r.IntN(64)]
		if i%lineBytes == lineBytes-2 {
			c.block[i] = '\r'
		} else if i%lineBytes == lineBytes-1 {
			c.block[i] = '\n'
		}
	}
	for i := range sizeDraws {
		p := (float64(i) + 0.5) / sizeDraws
		size := sizeMedian * math.Exp(sizeSigma*math.Sqrt2*math.Erfinv(2*p-1))
		c.sizes = append(c.sizes, min(int(size), largeMax))
	}
	r.Shuffle(len(c.sizes), func(i, j int) { c.sizes[i], c.sizes[j] = c.sizes[j], c.sizes[i] })
	return c
}

// bulk gives a body of about n bytes that costs nothing to make. start varies
// its text.
func (c *content) bulk(n, start int) []byte {
	n = max(1, n/lineBytes) * lineBytes
	from := start % 1000 * lineBytes
	if from+n > len(c.block) {
		from = 0
	}
	return c.block[from:min(from+n, len(c.block))]
}

// header gives the header of the i-th message of a connection, as a mail program
// makes it.
func header(buf *bytes.Buffer, run string, conn, i int) []byte {
	buf.Reset()
	fmt.Fprintf(buf, "Message-ID: <%s.%d.%d@bench.example>\r\n", run, conn, i)
	fmt.Fprintf(buf, "Date: Thu, 05 Nov 2026 10:%02d:%02d +0000\r\n", i/60%60, i%60)
	buf.WriteString("From: Sender <sender@bench.example>\r\nTo: <reader@bench.test>\r\n" +
		"Subject: A message of the benchmark\r\nMIME-Version: 1.0\r\n" +
		"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n")
	return buf.Bytes()
}

// text gives the i-th message of a mailbox that is to be read and searched:
// words, a subject of its own, and the rare words now and then.
func (c *content) text(i int) []byte {
	r := rand.New(rand.NewPCG(3, uint64(i)))
	var b bytes.Buffer
	b.Grow(smallBytes + 100)
	word := func() string { return c.words[r.IntN(len(c.words))] }
	title := fmt.Sprintf("%s %s %s %d", word(), word(), word(), i)
	if i%rareEvery == 0 {
		title += " " + rareTitle
	}
	fmt.Fprintf(&b, "Received: from %s.example (%s.example [192.0.2.%d])\r\n\tby mail.bench.test with ESMTP id %08x;\r\n\tThu, 05 Nov 2026 10:%02d:%02d +0000\r\n",
		word(), word(), 1+i%250, i, i/60%60, i%60)
	fmt.Fprintf(&b, "Message-ID: <%08x.%s@bench.example>\r\nDate: Thu, 05 Nov 2026 10:%02d:%02d +0000\r\n", i, word(), i/60%60, i%60)
	fmt.Fprintf(&b, "From: %s %s <%s@%s.example>\r\nTo: Reader <reader@bench.test>, <%s@bench.test>\r\n", word(), word(), word(), word(), word())
	fmt.Fprintf(&b, "Subject: %s\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n", title)
	col := 0
	for b.Len() < smallBytes-12 {
		w := word()
		if i%rareEvery == rareEvery/2 && b.Len() > smallBytes/2 && b.Len() < smallBytes/2+40 {
			w = rareText
		}
		if col+len(w) > 72 {
			b.WriteString("\r\n")
			col = 0
		}
		b.WriteString(w)
		b.WriteByte(' ')
		col += len(w) + 1
	}
	b.WriteString("\r\n")
	return b.Bytes()
}

// rareIn counts the messages among the first n that rareEvery picks at offset.
func rareIn(n, offset int) int {
	if n <= offset {
		return 0
	}
	return (n - offset + rareEvery - 1) / rareEvery
}
