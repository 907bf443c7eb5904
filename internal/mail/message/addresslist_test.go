package message

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type listCase struct {
	in   string
	want []EnvelopeAddress
}

func checkLists(t *testing.T, cases []listCase) {
	t.Helper()
	for _, c := range cases {
		got := ParseAddressList(c.in)
		checkAddresses(t, got)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", c.in, diff)
		}
	}
}

func TestParseAddressList(t *testing.T) {
	type A = EnvelopeAddress
	end := A{}
	checkLists(t, []listCase{
		{"", nil},
		{" \t", nil},
		{"joe@example.com", []A{{Mailbox: "joe", Host: "example.com"}}},
		{"a@x, b@y,c@z", []A{{Mailbox: "a", Host: "x"}, {Mailbox: "b", Host: "y"}, {Mailbox: "c", Host: "z"}}},
		{",,a@x,,", []A{{Mailbox: "a", Host: "x"}}},
		{"Joe Doe <joe@example.com>", []A{{Name: "Joe Doe", Mailbox: "joe", Host: "example.com"}}},
		{"Joe  Doe<joe@example.com>", []A{{Name: "Joe Doe", Mailbox: "joe", Host: "example.com"}}},
		{`"Doe, Joe" <joe@example.com>`, []A{{Name: "Doe, Joe", Mailbox: "joe", Host: "example.com"}}},
		{`"Joe \"J\" Doe" <joe@example.com>`, []A{{Name: `Joe "J" Doe`, Mailbox: "joe", Host: "example.com"}}},
		{"Joe Q. Doe <joe@example.com>", []A{{Name: "Joe Q. Doe", Mailbox: "joe", Host: "example.com"}}},
		{"joe@example.com (Joe Doe)", []A{{Name: "Joe Doe", Mailbox: "joe", Host: "example.com"}}},
		{"<joe@example.com> (Joe (the) Doe)", []A{{Name: "Joe (the) Doe", Mailbox: "joe", Host: "example.com"}}},
		{"Joe <joe@example.com> (not me)", []A{{Name: "Joe", Mailbox: "joe", Host: "example.com"}}},
		{"joe(c)@(c)example(c).com(c)", []A{{Name: "c", Mailbox: "joe", Host: "example.com"}}},
		{"joe . doe @ example . com", []A{{Mailbox: "joe.doe", Host: "example.com"}}},
		{`"joe doe"@example.com`, []A{{Mailbox: "joe doe", Host: "example.com"}}},
		{`"joe"."doe"@example.com`, []A{{Mailbox: "joe.doe", Host: "example.com"}}},
		{"<@a,@b.example:joe@example.com>", []A{{Route: "@a,@b.example", Mailbox: "joe", Host: "example.com"}}},
		{"joe@[192.0.2.1]", []A{{Mailbox: "joe", Host: "[192.0.2.1]"}}},
		{"<joe@[IPv6: 2001:db8::1 ]>", []A{{Mailbox: "joe", Host: "[IPv6:2001:db8::1]"}}},
		{"=?utf-8?q?J=C3=BCrgen?= <j@x>", []A{{Name: "=?utf-8?q?J=C3=BCrgen?=", Mailbox: "j", Host: "x"}}},
		{"=?utf-8?q?Doe,_Joe?= <j@x>", []A{{Name: "=?utf-8?q?Doe,_Joe?=", Mailbox: "j", Host: "x"}}},
		{"Jürgen <jürgen@bücher.example>", []A{{Name: "Jürgen", Mailbox: "jürgen", Host: "bücher.example"}}},
		// groups
		{"undisclosed-recipients:;", []A{{Mailbox: "undisclosed-recipients"}, end}},
		{"A Group: a@x, Bob <b@y>;, c@z", []A{{Mailbox: "A Group"}, {Mailbox: "a", Host: "x"},
			{Name: "Bob", Mailbox: "b", Host: "y"}, end, {Mailbox: "c", Host: "z"}}},
		{"g: a@x", []A{{Mailbox: "g"}, {Mailbox: "a", Host: "x"}, end}},
		{"g: a@x; h: b@y;", []A{{Mailbox: "g"}, {Mailbox: "a", Host: "x"}, end, {Mailbox: "h"}, {Mailbox: "b", Host: "y"}, end}},
		{"g: h: a@x;", []A{{Mailbox: "g"}, {Name: "h:", Mailbox: "a", Host: "x"}, end}},
		{`"My: Group": ;`, []A{{Mailbox: "My: Group"}, end}},
		{"a@x;b@y", []A{{Mailbox: "a", Host: "x"}, {Mailbox: "b", Host: "y"}}},
	})
}

// TestParseAddressList_Malformed has what senders write.
func TestParseAddressList_Malformed(t *testing.T) {
	type A = EnvelopeAddress
	checkLists(t, []listCase{
		{"joe", []A{{Mailbox: "joe", Host: MissingHost}}},
		{"Joe Doe", []A{{Mailbox: "Joe Doe", Host: MissingHost}}},
		{"<joe>", []A{{Mailbox: "joe", Host: MissingHost}}},
		{"<>", nil},
		{"Joe <>", []A{{Name: "Joe", Mailbox: MissingMailbox, Host: MissingHost}}},
		{"@example.com", []A{{Mailbox: MissingMailbox, Host: "example.com"}}},
		{"joe@", []A{{Mailbox: "joe", Host: MissingHost}}},
		{"(just a comment)", nil},
		{"joe@example.com <joe@example.com>", []A{{Name: "joe@example.com", Mailbox: "joe", Host: "example.com"}}},
		{"a@x b@y", []A{{Mailbox: "a", Host: "x"}, {Mailbox: "b", Host: "y"}}},
		{"Joe Doe joe@example.com", []A{{Name: "Joe Doe", Mailbox: "joe", Host: "example.com"}}},
		{"<a@b@c>", []A{{Mailbox: "a@b", Host: "c"}}},
		{"a@b@c", []A{{Mailbox: "a@b", Host: "c"}}},
		{"<joe@example.com", []A{{Mailbox: "joe", Host: "example.com"}}},
		{"<joe@example.com junk>", []A{{Mailbox: "joe", Host: "example.com"}}},
		{"<joe@example.com, bob@example.com>", []A{{Mailbox: "joe", Host: "example.com"}, {Mailbox: "bob", Host: "example.com"}}},
		{"<mailto:joe@example.com>", []A{{Mailbox: "mailto:joe", Host: "example.com"}}},
		{`"Joe <joe@example.com>`, []A{{Name: "Joe", Mailbox: "joe", Host: "example.com"}}},
		{"(open comment joe@example.com", nil},
		{"Joe [x] <joe@example.com>", []A{{Name: "Joe [x]", Mailbox: "joe", Host: "example.com"}}},
		{"a..b@x", []A{{Mailbox: "a..b", Host: "x"}}},
		{".a.@x", []A{{Mailbox: ".a.", Host: "x"}}},
		{"a@x\r\n\t, b@y", []A{{Mailbox: "a", Host: "x"}, {Mailbox: "b", Host: "y"}}},
	})
}

// TestParseAddressList_Hostile gives values that would take quadratic time or
// more if a search for an end were repeated: it then runs into the time limit
// of go test instead of some hundred milliseconds.
func TestParseAddressList_Hostile(t *testing.T) {
	const n = 150_000
	for _, piece := range []string{"(", ")", `"`, `\"`, "<", ">", "@", "<@", "<@,", "[", "@[", "]", ":", ";", "a@b@", "a.", ". ",
		"=?", "=?a?q?", "a <", "a:", "( ", "a b ", `"a" `, "<a@b ", "a@b <"} {
		checkAddresses(t, ParseAddressList(strings.Repeat(piece, n/len(piece))))
	}
}
