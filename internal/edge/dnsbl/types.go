package dnsbl

import (
	"net/netip"
	"time"
)

// List is one DNSBL or DNSWL.
type List struct {
	Zone   string
	Weight int            // negative: a white list
	Codes  []netip.Prefix // answers that count; empty: 127.0.0.0/8 without 127.255.255.0/24 and 127.0.0.1
	URL    string         // where to read about a listing; "{ip}" is replaced
	Text   string         // said where the list has no TXT record
}

// Score is what the lists say of one address.
type Score struct {
	Weight int16  // sum of the weights of the lists that list it
	Hits   uint32 // bit i: list i lists it
	Silent uint32 // bit i: list i gave no usable answer
	Asked  uint8  // questions that had to be asked
}

// Finding is what one list says of one address, for people to read.
type Finding struct {
	Zone     string        `json:"zone"`
	Question string        `json:"question"`
	Answer   string        `json:"answer"`
	Listed   bool          `json:"listed"`
	Ignored  string        `json:"ignored,omitempty"` // why the answer does not count
	Weight   int           `json:"weight"`
	Cached   bool          `json:"cached,omitempty"`
	Took     time.Duration `json:"took,omitempty"`
}
