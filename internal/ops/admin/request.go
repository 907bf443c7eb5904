package admin

import (
	"time"

	"github.com/breakwater-mail/breakwater/internal/ops/ledger"
)

// Op is what a request asks for.
type Op string

// The requests.
const (
	DomainAdd       Op = "domain add"
	DomainRemove    Op = "domain remove"
	DomainList      Op = "domain list"
	AccountAdd      Op = "account add"
	AccountRemove   Op = "account remove"
	AccountList     Op = "account list"
	AccountPassword Op = "account password"
	AccountLimits   Op = "account limits"
	AccountDisable  Op = "account disable"
	AccountEnable   Op = "account enable"
	AliasAdd        Op = "alias add"
	AliasRemove     Op = "alias remove"
	AliasList       Op = "alias list"
)

// Request is one request. Fields that its Op does not use are empty.
type Request struct {
	Op       Op       `json:"op"`
	Domain   string   `json:"domain,omitempty"`
	Address  string   `json:"address,omitempty"` // of an account or alias; "@example.org" is the domain's catch-all
	Targets  []string `json:"targets,omitempty"` // of an alias
	Password string   `json:"password,omitempty"`
	Admin    bool     `json:"admin,omitempty"`
	Quota    *int64   `json:"quota,omitempty"` // bytes; 0 is none

	Limit   int         `json:"limit,omitempty"` // rows of a table at most; 0 is all
	Ban     *BanRequest `json:"ban,omitempty"`
	Explain *Query      `json:"explain,omitempty"`

	Account *AccountRequest `json:"account,omitempty"`

	Queue  *QueueRequest  `json:"queue,omitempty"`
	Ledger *LedgerRequest `json:"ledger,omitempty"`
	Trace  *ledger.Query  `json:"trace,omitempty"`
	ID     string         `json:"id,omitempty"` // of a report
}

// Answer is what a request came to. Error is empty when it succeeded.
type Answer struct {
	Error    string    `json:"error,omitempty"`
	Domains  []Domain  `json:"domains,omitempty"`
	Accounts []Account `json:"accounts,omitempty"`
	Aliases  []Alias   `json:"aliases,omitempty"`

	Details      *AccountDetails `json:"details,omitempty"`
	AppPasswords []AppPassword   `json:"app_passwords,omitempty"`
	Password     string          `json:"password,omitempty"` // an app password that was made up
	Notes        []string        `json:"notes,omitempty"`    // what else the operator should know

	Networks []SendingNetwork `json:"networks,omitempty"`

	Bans   *Bans      `json:"bans,omitempty"`
	Ban    *BanAnswer `json:"ban,omitempty"`
	Top    *Top       `json:"top,omitempty"`
	Report *Report    `json:"report,omitempty"`

	Queue   *QueueAnswer  `json:"queue,omitempty"`
	Backlog *Backlog      `json:"backlog,omitempty"`
	Ledger  *LedgerAnswer `json:"ledger,omitempty"`
	Lives   *ledger.Lives `json:"lives,omitempty"`
	Alarm   *AlarmAnswer  `json:"alarm,omitempty"`

	TLSReports *TLSReportAnswer `json:"tls_reports,omitempty"`
}

// Domain is a row of "domain list".
type Domain struct {
	Name     string `json:"name"`
	Accounts int    `json:"accounts"`
	CatchAll string `json:"catch_all,omitempty"`
}

// Account is a row of "account list".
type Account struct {
	Address  string    `json:"address"`
	Admin    bool      `json:"admin"`
	Disabled bool      `json:"disabled"`
	Messages int64     `json:"messages"`
	Bytes    int64     `json:"bytes"`
	Quota    int64     `json:"quota"` // bytes; 0 is none
	Created  time.Time `json:"created"`
	// SendHour and SendDay limit the recipients; 0 is the host's default.
	SendHour int64 `json:"send_hour,omitempty"`
	SendDay  int64 `json:"send_day,omitempty"`
	// Held is since when nothing that it sends goes out, and HoldReason why.
	Held       time.Time `json:"held,omitzero"`
	HoldReason string    `json:"hold_reason,omitempty"`
}

// Alias is a row of "alias list".
type Alias struct {
	Address string   `json:"address"`
	Targets []string `json:"targets"`
}
