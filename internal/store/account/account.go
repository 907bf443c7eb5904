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
	Created    time.Time
}

// Settings are what AddAccount may set besides the address.
type Settings struct {
	Admin      bool
	Disabled   bool
	QuotaBytes int64
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

// Recipient is an account that a recipient address leads to.
type Recipient struct {
	Account ID
	Address message.Address // the account's own
	Detail  string          // what followed "+" in the address: one+detail@
}
