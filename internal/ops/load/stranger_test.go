package load

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

func TestStranger_HearEndsReplies(t *testing.T) {
	for _, tt := range []struct {
		text string
		want []uint16
	}{
		{"220 ready\r\n", []uint16{220}},
		{"220\r\n", []uint16{220}},
		{"220\n", []uint16{220}},
		{"220-one\r\n220-two\r\n220 three\r\n", []uint16{220}},
		{"250-\r\n250 \r\n550 5.7.1 no\r\n", []uint16{250, 550}},
		{"421 4.3.2 220-no\r\n", []uint16{421}},
		{"hello\r\n", []uint16{malformed}},
		{"\r\n", []uint16{malformed}},
		{"25\r\n", []uint16{malformed}},
		{"2500 x\r\n", []uint16{malformed}},
		{"999 x\r\n", []uint16{malformed}},
		{"100 x\r\n", []uint16{malformed}},
		{"25x x\r\n250 y\r\n", []uint16{malformed, 250}},
		{"250 unfinished", nil},
		{strings.Repeat("9", 100_000) + "\r\n250 x\r\n", []uint16{malformed, 250}},
	} {
		var s stranger
		var got []uint16
		for _, b := range []byte(tt.text) {
			if code := s.hear(b); code != 0 {
				got = append(got, code)
			}
		}
		if len(got) != len(tt.want) {
			t.Errorf("%.40q: got %v, want %v", tt.text, got, tt.want)
			continue
		}
		for i := range got {
			if got[i] != tt.want[i] {
				t.Errorf("%.40q: got %v, want %v", tt.text, got, tt.want)
			}
		}
	}
}

func TestStranger_AnswerDecidesItsFate(t *testing.T) {
	for _, tt := range []struct {
		name   string
		codes  []uint16
		quits  bool
		fate   fate
		stage  stage
		closes bool
	}{
		{"refused", []uint16{220, 250, 250, 550}, false, refused, holding, false},
		{"refused, leaves", []uint16{220, 250, 250, 550, 221}, true, refused, leaving, true},
		{"refused, told later", []uint16{220, 250, 250, 554, 421}, false, refused, holding, false},
		{"accepted", []uint16{220, 250, 250, 250}, false, accepted, holding, false},
		{"deferred", []uint16{220, 250, 250, 451}, false, turnedAway, holding, false},
		{"banner 421", []uint16{421}, false, turnedAway, atBanner, true},
		{"banner 554", []uint16{554}, false, turnedAway, atBanner, true},
		{"no SMTP", []uint16{malformed}, false, turnedAway, atBanner, true},
		{"MAIL refused", []uint16{220, 250, 550}, false, turnedAway, atMAIL, true},
		{"no SMTP at RCPT", []uint16{220, 250, 250, malformed}, false, turnedAway, atRCPT, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := stranger{stage: atBanner, quits: tt.quits}
			got, decided, closed := undecided, 0, false
			for _, code := range tt.codes {
				m := s.answer(code)
				if m.fate != undecided {
					got = m.fate
					decided++
				}
				closed = m.close
			}
			if got != tt.fate || decided != 1 || s.stage != tt.stage || closed != tt.closes {
				t.Errorf("got fate %d (%d times), stage %s, close %v; want %d (once), %s, %v", got, decided, s.stage, closed, tt.fate, tt.stage, tt.closes)
			}
		})
	}
}

func TestStranger_CostsLittle(t *testing.T) {
	if size := reflect.TypeFor[stranger]().Size(); size > 64 {
		t.Errorf("got %d bytes a stranger, want at most 64", size)
	}
}

func TestStrangerAddr_EachFromItsOwnNetwork(t *testing.T) {
	low, high := netip.MustParseAddr("127.16.0.0"), netip.MustParseAddr("127.254.255.255")
	networks := map[netip.Prefix]bool{}
	addrs := map[netip.Addr]bool{}
	for n := range uint32(3 * strangerNets) {
		a := netip.AddrFrom4(strangerAddr(n))
		if a.Less(low) || high.Less(a) {
			t.Fatalf("stranger %d comes from %s", n, a)
		}
		if addrs[a] {
			t.Fatalf("%s comes twice", a)
		}
		addrs[a] = true
		network, _ := a.Prefix(24)
		if n < strangerNets && networks[network] {
			t.Fatalf("two strangers from %s", network)
		}
		networks[network] = true
	}
}

func TestQuits_IsTheShareAskedFor(t *testing.T) {
	for _, share := range []float64{0, 0.1, 0.5, 1} {
		n := 0
		for i := range uint32(1000) {
			if quits(i, share) {
				n++
			}
		}
		if want := int(share * 1000); n < want-1 || n > want+1 {
			t.Errorf("share %g: got %d of 1000", share, n)
		}
	}
}
