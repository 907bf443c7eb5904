package imap

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/store/account"
)

// Limits of a session. What an operator may want to change is in [Options].
const (
	// lineMax bounds the text of a command without its literals. RFC 9051
	// §8 asks servers to take 8 KB and warns of long sets: a set of 10,000
	// scattered UIDs needs 60 KB.
	lineMax = 64 << 10
	// literalMax bounds a literal that is no message: names, passwords and
	// search strings have some dozen octets.
	literalMax = 64 << 10
	// literalsMax bounds all such literals of one command.
	literalsMax = 256 << 10
	// strangerLineMax and strangerLiteralMax hold before the login. A SASL
	// response may have 12,288 octets (RFC 4954 §4); a user name or password
	// is shorter than the limit of LITERAL- (RFC 7888 §5).
	strangerLineMax    = 16 << 10
	strangerLiteralMax = 4 << 10
	// skipMax is how much of a line that was too long, and of literals of a
	// command that was refused, is read and thrown away to find what comes
	// next. Beyond it the connection is closed.
	skipMax = 1 << 20
	// badMax is how many BADs in a row end a session: a client that speaks
	// IMAP sends none, one that speaks something else sends only such.
	badMax = 20
	// strangerCommandsMax bounds the commands before the login: CAPABILITY,
	// STARTTLS, ID, and a few tries need a dozen.
	strangerCommandsMax = 50
	// loginFailuresMax ends a session; the delay before the last answer is
	// then failureDelay << 4.
	loginFailuresMax = 5
	failureDelay     = time.Second
	// appendMessagesMax and appendTotalFactor times the limit of one message
	// bound a MULTIAPPEND, whose messages all stay unfiled until the last has
	// come.
	appendMessagesMax = 100
	appendTotalFactor = 4
	// batchMax is how many messages one record removes; an EXPUNGE of more
	// takes several.
	batchMax = 400_000
	// mailboxNameMax bounds a name in octets of UTF-8; the store has a limit
	// of its own.
	mailboxNameMax = 1024
	// patternMax bounds a LIST pattern, patternsMax their number: matching
	// costs pattern × name.
	patternMax  = 1024
	patternsMax = 50

	// commandWait bounds what the store may take for one change, and for one
	// batch of rows.
	commandWait = time.Minute
	// authWait bounds the check of credentials: the hashing of passwords is
	// queued under load.
	authWait = 45 * time.Second
	// loginWait is the time from the greeting to the end of a login.
	loginWait = time.Minute
	// idleWait: RFC 9051 §5.4 wants at least 30 minutes. The minute beyond is
	// for clients that wake up exactly then.
	idleWait = 31 * time.Minute
	// writeWait: a client that takes nothing of 64 KB for so long is gone.
	writeWait = 2 * time.Minute

	// sessionsDefault: a mail program has a handful of connections, a person
	// a handful of programs.
	sessionsDefault = 50
	// appendLimitDefault is what large providers take in one message.
	appendLimitDefault = 50 << 20
)

// Options of a [Server]. The zero value of each field has a default.
type Options struct {
	Hostname        string        // in the greeting; "localhost" if empty
	Version         string        // in the answer to ID; left out if empty
	AppendLimit     int64         // octets of one message of an APPEND (RFC 7889); 50 MiB if 0
	SessionsPerUser int           // 50 if 0
	LoginTimeout    time.Duration // from the greeting to the login; a minute if 0
	IdleTimeout     time.Duration // of a session that has logged in; 31 minutes if 0, RFC 9051 §5.4 wants 30
	WriteTimeout    time.Duration // for the client to take some of what is sent; 2 minutes if 0
	Clock           sys.Clock     // sys.RealClock if nil
	// Quota tells how many octets an account may have, 0 for any number; nil:
	// no account has a quota.
	Quota func(context.Context, account.ID) (int64, error)
	// Text makes SEARCH TEXT and BODY read few messages; nil: they read all
	// that the other keys leave open.
	Text Narrower
	// OnLogin hears of each login: with ok false of each wrong password, but
	// not of faults. It must not block. nil: nobody wants to know.
	OnLogin func(ip netip.Addr, ok bool)
	Log     *slog.Logger // discarded if nil
	Metrics *Metrics     // counted nowhere if nil
}

func (o Options) withDefaults() Options {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&o.LoginTimeout, loginWait)
	def(&o.IdleTimeout, idleWait)
	def(&o.WriteTimeout, writeWait)
	if o.Hostname == "" {
		o.Hostname = "localhost"
	}
	if o.AppendLimit == 0 {
		o.AppendLimit = appendLimitDefault
	}
	if o.SessionsPerUser == 0 {
		o.SessionsPerUser = sessionsDefault
	}
	if o.Clock == nil {
		o.Clock = sys.RealClock()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	return o
}
