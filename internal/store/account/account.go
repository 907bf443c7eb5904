package account

import (
	"errors"
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/sasl"
)

// What callers branch on. Any other error of this package is a fault: the
// question could not be answered now.
var (
	// ErrNotLocal: the address's domain is not one of ours.
	ErrNotLocal = errors.New("domain is not local")
	// ErrNoSuchUser: the domain is ours, the local part is nobody's.
	ErrNoSuchUser = errors.New("no such user")
	// ErrDisabled: the account is there, and switched off. Login wraps it
	// together with ErrCredentials.
	ErrDisabled = errors.New("account is disabled")
	// ErrAliasLoop: the aliases lead back to themselves.
	ErrAliasLoop = errors.New("alias loop")
	// ErrTooManyTargets: the aliases' chain is too long or fans out too far.
	ErrTooManyTargets = errors.New("alias expands to too many targets")
	// ErrCredentials: no such user, or not this password.
	ErrCredentials = sasl.ErrCredentials
	// ErrExists: the address or domain is taken.
	ErrExists = errors.New("already exists")
	// ErrNoSuchDomain: the domain is not one of ours (management calls;
	// Resolve says ErrNotLocal).
	ErrNoSuchDomain = errors.New("no such domain")
	// ErrNoSuchAlias: there is no such alias.
	ErrNoSuchAlias = errors.New("no such alias")
	// ErrDomainInUse: the domain still has accounts or aliases, or is the
	// target of some.
	ErrDomainInUse = errors.New("domain is in use")
	// ErrAddress: the address or domain cannot be a local one.
	ErrAddress = errors.New("address cannot be used here")
	// ErrPassword: the password is empty, too long or not UTF-8.
	ErrPassword = errors.New("password is not acceptable")
	// ErrSamePassword: the new password of a held account is its old one,
	// which is what the hold is about.
	ErrSamePassword = errors.New("the new password is the old one")
	// ErrNoSuchGrant: the account has no such grant.
	ErrNoSuchGrant = errors.New("no such grant")
	// ErrNoSuchAppPassword: the account has no app password of this name.
	ErrNoSuchAppPassword = errors.New("no such app password")
	// ErrTooMany: the account has as many of these as it may.
	ErrTooMany = errors.New("too many")
	// ErrBusy: too many logins wait for their turn. A fault, not a verdict.
	ErrBusy = errors.New("too many logins at once")
)

// ID names an account for ever: an ID is never given out twice.
type ID uint64

// Account is what is known of an account, save for its credentials.
type Account struct {
	ID       ID
	Address  message.Address
	Admin    bool
	Disabled bool
	// QuotaBytes limits what the account may keep; 0 means no limit.
	QuotaBytes int64
	// SendHour and SendDay limit the recipients that the account may send to
	// in an hour and in a day; 0 means the host's default.
	SendHour, SendDay int64
	// Contact is an address of the owner elsewhere, for what must reach them
	// when this account is in the wrong hands; zero if there is none.
	Contact message.Address
	Hold    Hold // of what the account sends
	Created time.Time
}

// Hold says since when and why nothing that the account sends goes out; the
// zero value is no hold.
type Hold struct {
	Since  time.Time
	Reason string
}

// On tells whether there is a hold.
func (h Hold) On() bool { return !h.Since.IsZero() }

// Settings are what AddAccount may set besides the address.
type Settings struct {
	Admin      bool
	Disabled   bool
	QuotaBytes int64
	SendHour   int64
	SendDay    int64
	Contact    message.Address
}

func (a *Account) settings() Settings {
	return Settings{
		Admin: a.Admin, Disabled: a.Disabled, QuotaBytes: a.QuotaBytes,
		SendHour: a.SendHour, SendDay: a.SendDay, Contact: a.Contact,
	}
}

func (a *Account) set(s Settings) {
	a.Admin, a.Disabled, a.QuotaBytes = s.Admin, s.Disabled, s.QuotaBytes
	a.SendHour, a.SendDay, a.Contact = s.SendHour, s.SendDay, s.Contact
}

// Domain is one of the domains that are ours.
type Domain struct {
	Name    message.Domain
	Created time.Time
}

// Alias is an address that stands for others. A catch-all has an empty local
// part: it takes what nothing else in its domain does.
type Alias struct {
	Address message.Address
	Targets []message.Address
}

// CatchAll tells whether a takes all unknown local parts of its domain.
func (a Alias) CatchAll() bool { return a.Address.Local == "" }

// Recipient is what a recipient address leads to: an account, or an address
// at another host.
type Recipient struct {
	Account ID              // 0: at another host
	Address message.Address // the account's own, or the one at the other host
	Detail  string          // of an account: what followed "+" in the address: one+detail@
	// Via is the address of ours that led here last, an alias or an account
	// that forwards, and what a forwarded message comes from as far as the
	// other host can see (SRS). It is zero for the recipient itself.
	Via message.Address
	// Forwarder is the account that forwards, where Via is one's.
	Forwarder ID
}

// Remote tells whether the recipient is at another host.
func (r Recipient) Remote() bool { return r.Account == 0 }

// Forward is where an account's mail goes besides, or instead of, its own
// mailboxes. The zero value is nowhere.
type Forward struct {
	Targets []message.Address
	NoCopy  bool // nothing is kept, as long as any target takes it
}

// Scope is a set of services. The numbers are frozen: they are in the journal.
type Scope uint8

// The services that a password may be for.
const (
	SMTP Scope = 1 << iota
	IMAP
	POP3

	AllScopes = SMTP | IMAP | POP3
)

// AppPassword is what is known of an app password. The password itself is
// shown once, when it is made, and not kept.
type AppPassword struct {
	Name    string
	Scope   Scope
	Created time.Time
	Used    time.Time // when it last logged in, to the minute; zero: never
}
