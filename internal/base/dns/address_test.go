package dns

import (
	"net/netip"
	"testing"
)

func TestGlobal(t *testing.T) {
	for _, s := range []string{"1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "172.15.0.1", "172.32.0.1",
		"223.255.255.255", "2600::1", "2a00:1450::1", "::ffff:8.8.8.8", "64:ff9b::808:808"} {
		if !Global(netip.MustParseAddr(s)) {
			t.Errorf("%s: not global, want global", s)
		}
	}
	for _, s := range []string{"0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.0.1", "169.254.169.254", "172.16.0.1",
		"172.31.255.255", "192.0.0.1", "192.0.2.1", "192.168.0.1", "198.18.0.1", "198.19.255.255", "203.0.113.9", "224.0.0.1", "240.0.0.1",
		"255.255.255.255", "::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "ff02::1",
		"2001::1", "2001:db8::1", "2002:7f00:1::", "3fff::1", "64:ff9b::7f00:1", "64:ff9b:1::1", "::127.0.0.1", "4000::1", "2600::1%eth0"} {
		if Global(netip.MustParseAddr(s)) {
			t.Errorf("%s: global, want not", s)
		}
	}
	if Global(netip.Addr{}) {
		t.Error("the zero address is global, want not")
	}
}

// TestReachable: what is dressed as another address is the same one.
func TestReachable(t *testing.T) {
	named := []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00::/8")}
	for s, want := range map[string]bool{
		"8.8.8.8": true, "10.1.2.3": true, "10.2.0.1": false, "fd00::1": true, "fc00::1": false,
		"::ffff:10.1.0.1": true, "::ffff:10.2.0.1": false, "64:ff9b::a01:1": true, "64:ff9b::a02:1": false,
		"2002:a01:1::1": true, "2002:a02:1::1": false, "2002:808:808::1": false,
	} {
		if got := Reachable(netip.MustParseAddr(s), named); got != want {
			t.Errorf("%s: %v", s, got)
		}
	}
	if Reachable(netip.Addr{}, named) {
		t.Error("the zero address is reachable")
	}
	for s, want := range map[string]string{
		"1.2.3.4": "1.2.3.4", "::ffff:1.2.3.4": "1.2.3.4", "64:ff9b::102:304": "1.2.3.4", "2002:102:304::1": "1.2.3.4", "2600::1": "2600::1",
	} {
		if got := Inner(netip.MustParseAddr(s)); got.String() != want {
			t.Errorf("%s: %s", s, got)
		}
	}
}
