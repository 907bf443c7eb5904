package mailauth

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"strings"
	"testing"
	"time"
)

// lines makes a message of text with LF.
func lines(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

func verify(t testing.TB, r Resolver, msg string, now time.Time) []DKIMResult {
	t.Helper()
	got, err := VerifyDKIM(t.Context(), r, strings.NewReader(msg), int64(len(msg)), now)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

const dinnerHeader = `From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>
`

const dinnerBody = `
Hi.

We lost the game. Are you hungry yet?

Joe.
`

// rfc8463 is the message of RFC 8463 appendix A.3.
const rfc8463 = `DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=test; t=1528637909; h=from : to : subject :
 date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3
 DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz
 dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=
` + dinnerHeader + dinnerBody

func rfcZone() zone {
	return zone{
		"brisbane._domainkey.football.example.com": {txt("v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=")},
		"test._domainkey.football.example.com": {txt("v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWR" +
			"iGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutAC" +
			"DfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3" +
			"Ip3G+2kryOTIKT+l/K4w3QIDAQAB")},
		"brisbane._domainkey.example.com": {txt("v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQ" +
			"DwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYt" +
			"IxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7" +
			"od+v/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfV" +
			"jH4OuKhitdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYck" +
			"cQ2QIDAQAB")},
	}
}

func TestVerifyDKIM_RFC8463(t *testing.T) {
	got := verify(t, rfcZone(), lines(rfc8463), time.Unix(1528637909, 0))
	if len(got) != 2 {
		t.Fatalf("got %d results, want 2", len(got))
	}
	for i, want := range []DKIMResult{
		{Domain: "football.example.com", Selector: "brisbane", Algorithm: "ed25519-sha256", KeyBits: 256},
		{Domain: "football.example.com", Selector: "test", Algorithm: "rsa-sha256", KeyBits: 1024},
	} {
		g := got[i]
		if g.Outcome != DKIMPass || g.Domain != want.Domain || g.Selector != want.Selector || g.Algorithm != want.Algorithm || g.KeyBits != want.KeyBits {
			t.Errorf("got %+v, want pass of %+v", g, want)
		}
	}
}

// rfc6376 is the message of RFC 6376 appendix A.2.
const rfc6376 = `DKIM-Signature: v=1; a=rsa-sha256; s=brisbane; d=example.com;
      c=simple/simple; q=dns/txt; i=joe@football.example.com;
      h=Received : From : To : Subject : Date : Message-ID;
      bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
      b=AuUoFEfDxTDkHlLXSZEpZj79LICEps6eda7W3deTVFOk4yAUoqOB
      4nujc7YopdG5dWLSdNg6xNAZpOPr+kHxt1IrE+NahM6L/LbvaHut
      KVdkLLkpVaVVQPzeRDI009SO2Il5Lu7rDNH6mZckBdrIx0orEtZV
      4bmp/YzhwvcubU4=;
Received: from client1.football.example.com  [192.0.2.1]
      by submitserver.example.com with SUBMISSION;
      Fri, 11 Jul 2003 21:01:54 -0700 (PDT)
` + dinnerHeader + dinnerBody

func TestVerifyDKIM_RFC6376(t *testing.T) {
	got := verify(t, rfcZone(), lines(rfc6376), time.Unix(1528637909, 0))
	if len(got) != 1 || got[0].Outcome != DKIMPass || got[0].Identity != "joe@football.example.com" {
		t.Fatalf("got %+v, want pass", got)
	}
}

// TestSignDKIM_RFC8463 signs with the key of appendix A.1.
func TestSignDKIM_RFC8463(t *testing.T) {
	seed, err := base64.StdEncoding.DecodeString("nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")
	if err != nil {
		t.Fatal(err)
	}
	key := DKIMKey{Domain: "football.example.com", Selector: "brisbane", Key: ed25519.NewKeyFromSeed(seed)}
	header, body := lines(dinnerHeader), lines(dinnerBody)[2:]
	h := NewBodyHash()
	h.Write([]byte(body))
	now := time.Unix(1528637909, 0)
	field, err := SignDKIM([]DKIMKey{key}, []byte(header), h, now, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains([]byte(field), []byte("bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;")) {
		t.Errorf("got %s, want the body hash of the RFC", field)
	}
	got := verify(t, rfcZone(), field+header+"\r\n"+body, now)
	if len(got) != 1 || got[0].Outcome != DKIMPass {
		t.Errorf("got %+v, want pass", got)
	}
}
