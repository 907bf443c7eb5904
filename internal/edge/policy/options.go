package policy

import (
	"log/slog"
	"net/netip"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// Options of a Policy. A field that is zero has the value of Defaults; where a
// field is a struct, that goes for the whole struct, and in one that is not
// wholly zero a zero switches off what it stands for.
type Options struct {
	Hostname string // of this server; is in replies
	// Names and Addresses are this server's own: its host names and the
	// domains that it takes mail for. A stranger who greets with one of them
	// lies. Hostname is always among the names.
	Names     []string
	Addresses []netip.Addr
	// URL of a page that explains refusals; "{ip}" is replaced.
	URL string

	Allow []netip.Prefix // own networks: admitted at once, never refused, never banned
	Deny  []netip.Prefix // refused at the first recipient

	Wait    time.Duration // of a stranger for the banner
	Scores  Scores
	Weights Weights
	Caps    Caps
	Rates   Rates
	// KnownFactor is how many times the rates known senders have.
	KnownFactor int

	// Trusted are domains whose servers, as their SPF records name them, are
	// known senders. Correspond adds to them at run time, up to Learned.
	Trusted []message.Domain
	Learned int

	// Shadow names checks that only watch: their evidence is kept, their
	// weight is not added, they decide nothing. Checks has the names; a single
	// list is "dnsbl:" and its zone.
	Shadow []string

	Load    Loads
	Bans    BanRules
	History HistoryOptions
	// Sources is how many networks each table of Top watches.
	Sources int

	Clock   sys.Clock
	Log     *slog.Logger
	Metrics *Metrics
}

// Scores are thresholds.
type Scores struct {
	Refuse  int // from here on: refused
	Suspect int // from here on: greylisted
	Welcome int // weight of the lists, below 0, at which the wait may end early
}

// Weights are what each fault adds to the score; 0 switches a check off.
type Weights struct {
	EarlyTalk, Pipelined, NotSMTP, BareNewline, BadHelo, LongLine, ManyErrors int

	HeloOwnName, HeloOwnAddress, HeloOtherAddress, HeloBareAddress, HeloCharacters, HeloNotFQDN int

	Harvest int // asked for too many unknown recipients of late
}

// Caps are how many strangers may be in the lobby at once; 0 is no limit.
type Caps struct {
	Address, Network             int
	AddressStormy, NetworkStormy int
}

// Load is a set of thresholds; any one of them reached is enough.
type Load struct {
	Guests   float64 // share of the places in the lobby that are taken, 0 to 1
	Budget   float64 // share of the lobby's memory that is used, 0 to 1
	Arrivals float64 // connections a second
}

// Loads are the thresholds of the levels.
type Loads struct {
	Busy, Stormy Load
	// Calm is how long it must have been well below a level's thresholds
	// before that level ends.
	Calm time.Duration
}

// BanRules say who is banned.
type BanRules struct {
	Refusals     int           // sessions with a refusal …
	RefusalsIn   time.Duration // … within this time
	Guesses      int           // failed logins …
	GuessesIn    time.Duration // … within this time
	Loiterers    bool          // who was refused and stayed to the time limit
	AfterLoginOK time.Duration // no ban so long after a login that succeeded
}

// HistoryOptions say where verdicts are kept.
type HistoryOptions struct {
	FS    sys.FS
	Dir   string // "" keeps no history
	Files int
	Size  int64 // of a file, in octets
}

const (
	// learnedMax is how many domains that users write to are trusted: those of
	// a company's daily business, each costing some DNS questions every six hours.
	learnedMax = 1000
	// sourcesMax is how many networks each table of Top watches: a source
	// with a share of one in a hundred is hardly ever missed.
	sourcesMax = 512
	// historyFilesMax and historyFileSizeMax keep some 100,000 verdicts.
	historyFilesMax    = 4
	historyFileSizeMax = 16 << 20
)

// Defaults are the options of a server of which nothing is known.
func Defaults() Options {
	return Options{
		Hostname:    "localhost",
		Allow:       []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("::1/128")},
		Wait:        4 * time.Second,
		Scores:      Scores{Refuse: 3, Suspect: 1, Welcome: -2},
		Weights:     defaultWeights(),
		Caps:        Caps{Address: 20, Network: 60, AddressStormy: 8, NetworkStormy: 24},
		Rates:       defaultRates(),
		KnownFactor: 10,
		Learned:     learnedMax,
		Load: Loads{
			Busy:   Load{Guests: 0.5, Budget: 0.5, Arrivals: 50},
			Stormy: Load{Guests: 0.97, Budget: 0.9, Arrivals: 300},
			Calm:   30 * time.Second,
		},
		Bans: BanRules{
			Refusals: 2, RefusalsIn: 30 * time.Minute, Guesses: 5, GuessesIn: 10 * time.Minute,
			Loiterers: true, AfterLoginOK: 24 * time.Hour,
		},
		History: HistoryOptions{Files: historyFilesMax, Size: historyFileSizeMax},
		Sources: sourcesMax,
	}
}

// defaultWeights: what only a spam program does is enough to be refused; what
// a badly kept mail server may do too is enough for the greylist, and in
// company of a list or of a second fault for a refusal. RFC 5321 §4.1.4
// forbids to refuse for a HELO name that does not lead to the client; that is
// not asked here.
func defaultWeights() Weights {
	return Weights{
		EarlyTalk: 3, Pipelined: 2, NotSMTP: 3, BareNewline: 2, BadHelo: 1, LongLine: 1, ManyErrors: 1,
		HeloOwnName: 3, HeloOwnAddress: 3, HeloOtherAddress: 1, HeloBareAddress: 1, HeloCharacters: 1, HeloNotFQDN: 1,
		Harvest: 2,
	}
}

func defaultRates() Rates {
	return Rates{
		Connections: Limits{Address: Rate{Minute: 120}, Network: Rate{Minute: 600}},
		Recipients:  Limits{Address: Rate{Minute: 600}, Network: Rate{Minute: 1800}, Helo: Rate{Minute: 1800}},
		Unknown:     Limits{Address: Rate{Minute: 10, Hour: 60}, Network: Rate{Minute: 30, Hour: 180}, Helo: Rate{Hour: 360}},
		Messages:    Limits{Address: Rate{Minute: 300}, Network: Rate{Minute: 900}, Helo: Rate{Minute: 900}},
	}
}

// fill gives zero fields their defaults.
func (o *Options) fill() {
	d := Defaults()
	or(&o.Hostname, d.Hostname)
	if o.Allow == nil {
		o.Allow = d.Allow
	}
	or(&o.Wait, d.Wait)
	or(&o.Scores, d.Scores)
	or(&o.Weights, d.Weights)
	or(&o.Caps, d.Caps)
	or(&o.Rates, d.Rates)
	or(&o.KnownFactor, d.KnownFactor)
	or(&o.Learned, d.Learned)
	or(&o.Load, d.Load)
	or(&o.Bans, d.Bans)
	or(&o.History.Files, d.History.Files)
	or(&o.History.Size, d.History.Size)
	or(&o.Sources, d.Sources)
	if o.Clock == nil {
		o.Clock = sys.RealClock()
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
}

func or[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
