package ledger

import (
	"time"

	"github.com/breakwater-mail/breakwater/internal/store/account"
)

// Books are the sums of a period, per recipient.
type Books struct {
	Since   time.Time `json:"since,omitzero"`
	Until   time.Time `json:"until,omitzero"`
	Account string    `json:"account,omitempty"`

	Messages    int64    `json:"messages"`
	Accepted    int64    `json:"accepted"`
	Delivered   int64    `json:"delivered"`
	Relayed     int64    `json:"relayed"`
	Bounced     int64    `json:"bounced"`
	Discarded   int64    `json:"discarded"`
	SetAside    int64    `json:"set_aside"`
	Queued      int64    `json:"queued"`
	Unaccounted []string `json:"unaccounted"` // ids of messages, or "record LSN"
	// More says that there are more of them than idsMax.
	More     bool   `json:"more,omitempty"`
	Balanced bool   `json:"balanced"`
	Sources  []Line `json:"sources,omitempty"` // the same by where mail came from
}

// Line is the sums of one source.
type Line struct {
	Source    string `json:"source"` // inbound, submitted, system
	Messages  int64  `json:"messages"`
	Accepted  int64  `json:"accepted"`
	Delivered int64  `json:"delivered"`
	Relayed   int64  `json:"relayed"`
	Bounced   int64  `json:"bounced"`
	Discarded int64  `json:"discarded"`
	SetAside  int64  `json:"set_aside"`
	Queued    int64  `json:"queued"`
}

// Query says whose life is to be told.
type Query struct {
	What  string    `json:"what"` // the id of a message, its Message-ID, or an address
	Since time.Time `json:"since,omitzero"`
	Limit int       `json:"limit,omitempty"`
}

// Life is the life of one message.
type Life struct {
	ID        string    `json:"id"`
	MessageID string    `json:"message_id,omitempty"`
	Source    string    `json:"source"`
	Account   string    `json:"account,omitempty"` // who submitted it
	Received  time.Time `json:"received"`
	Size      int64     `json:"size"`
	Session   string    `json:"session,omitempty"`
	RemoteIP  string    `json:"remote_ip,omitempty"`
	Protocol  string    `json:"protocol,omitempty"`
	TLS       string    `json:"tls,omitempty"`
	From      string    `json:"from"`             // "" is the null reverse-path
	Signed    []string  `json:"signed,omitempty"` // "selector._domainkey.example.org"
	To        []LifeTo  `json:"recipients"`
}

// LifeTo is what became of one recipient.
type LifeTo struct {
	Address  string      `json:"address"`
	Rcpt     string      `json:"rcpt,omitempty"`   // as named at RCPT TO, if it is another
	Sender   string      `json:"sender,omitempty"` // the reverse-path, if it is another
	State    string      `json:"state"`
	Due      time.Time   `json:"due,omitzero"` // of an open one: when it is tried
	Attempts int         `json:"attempts"`
	Route    string      `json:"route,omitempty"`
	Events   []LifeEvent `json:"events,omitempty"`
}

// LifeEvent is one thing that happened.
type LifeEvent struct {
	At     time.Time `json:"at"`
	State  string    `json:"state"`
	Via    string    `json:"via,omitempty"`
	TLS    string    `json:"tls,omitempty"`
	Reply  string    `json:"reply,omitempty"`
	Reason string    `json:"reason,omitempty"`
	DSN    string    `json:"dsn,omitempty"`
	By     string    `json:"by,omitempty"`
}

// Period says which messages the books are of: those accepted from Since on
// and before Until. The zero value is all.
type Period struct {
	Since, Until time.Time
	Account      account.ID // who submitted them; 0 is everybody
}

// Result is what an audit found.
type Result struct {
	At          time.Time `json:"at"` // when it ended
	Took        float64   `json:"took_s"`
	Messages    int64     `json:"messages"` // whose numbers were checked
	Open        int64     `json:"open"`     // recipients that were compared with the queue
	Bodies      int64     `json:"bodies"`   // that were opened
	Unaccounted []string  `json:"unaccounted"`
	Findings    []Finding `json:"findings"`
	Error       string    `json:"error,omitempty"` // why it could not be finished
}

// Finding is one thing that an audit found wrong.
type Finding struct {
	Check string `json:"check"`
	ID    string `json:"id,omitempty"` // of the message, or "record LSN"
	Text  string `json:"text"`
}

// Options of a Ledger. The zero value works.
type Options struct {
	Owner func(account.ID) string // an account's address; nil: its number
	Keep  time.Duration           // how long closed books are kept, for what is said
}
