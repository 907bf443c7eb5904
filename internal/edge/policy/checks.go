package policy

// The checks, by the names that evidence, metrics and Options.Shadow have.
const (
	CheckAllow          = "allow"
	CheckDeny           = "deny"
	CheckKnown          = "known"
	CheckEarlyTalk      = "early-talk"
	CheckPipelined      = "pipelining"
	CheckNotSMTP        = "not-smtp"
	CheckBareNewline    = "bare-newline"
	CheckBadHelo        = "helo-malformed"
	CheckLongLine       = "long-line"
	CheckManyErrors     = "many-errors"
	CheckHeloOwnName    = "helo-own-name"
	CheckHeloOwnAddress = "helo-own-address"
	CheckHeloOther      = "helo-other-address"
	CheckHeloBare       = "helo-bare-address"
	CheckHeloCharacters = "helo-characters"
	CheckHeloNotFQDN    = "helo-not-fqdn"
	CheckHelo           = "helo" // nothing is wrong with it, or there is none yet
	CheckHarvest        = "harvest"
	CheckLists          = "dnsbl"
	CheckScore          = "score"
	CheckRate           = "rate"
	CheckGreylist       = "greylist"
)

// Checks returns the names of all checks in the order in which they are made.
// A list of its own is "dnsbl:" and its zone.
func Checks() []string {
	return []string{
		CheckAllow, CheckDeny, CheckKnown,
		CheckEarlyTalk, CheckPipelined, CheckNotSMTP, CheckBareNewline, CheckBadHelo, CheckLongLine, CheckManyErrors,
		CheckHeloOwnName, CheckHeloOwnAddress, CheckHeloOther, CheckHeloBare, CheckHeloCharacters, CheckHeloNotFQDN, CheckHelo,
		CheckHarvest, CheckLists, CheckScore, CheckRate, CheckGreylist,
	}
}

// fault is what one of Faults means.
type fault struct {
	bit    Faults
	check  string
	weight func(w *Weights) int
	detail string // for evidence
	say    string // for the client: what it did, and where it is forbidden
}

func faults() [7]fault {
	return [7]fault{
		{EarlyTalk, CheckEarlyTalk, func(w *Weights) int { return w.EarlyTalk }, "talked before the banner",
			"it talked before our banner, where a mail server waits for the 220 (RFC 5321 section 3.1)"},
		{Pipelined, CheckPipelined, func(w *Weights) int { return w.Pipelined }, "did not wait for replies",
			"it sent commands without waiting for our replies where it must (RFC 2920 section 3.1)"},
		{NotSMTP, CheckNotSMTP, func(w *Weights) int { return w.NotSMTP }, "spoke another protocol",
			"it spoke another protocol than SMTP"},
		{BareNewline, CheckBareNewline, func(w *Weights) int { return w.BareNewline }, "ended lines in a bare LF",
			"its lines end in a bare LF and not in CRLF (RFC 5321 section 2.3.8)"},
		{BadHelo, CheckBadHelo, func(w *Weights) int { return w.BadHelo }, "HELO with a malformed argument",
			"its HELO has a malformed argument (RFC 5321 section 4.1.1.1)"},
		{LongLine, CheckLongLine, func(w *Weights) int { return w.LongLine }, "a line longer than any command",
			"it sent a line longer than any command (RFC 5321 section 4.5.3.1.4)"},
		{ManyErrors, CheckManyErrors, func(w *Weights) int { return w.ManyErrors }, "one refused command after the other",
			"it sent one wrong command after the other"},
	}
}

// heloCheck is what a heloFault means.
func heloCheck(f heloFault, w *Weights) (check string, weight int, detail, say string) {
	switch f {
	case heloOwnName:
		return CheckHeloOwnName, w.HeloOwnName, "a name of this server",
			"it greets with a name of this server (RFC 5321 section 4.1.1.1 wants its own)"
	case heloOwnAddress:
		return CheckHeloOwnAddress, w.HeloOwnAddress, "an address of this server",
			"it greets with an address of this server (RFC 5321 section 4.1.3 wants its own)"
	case heloOtherAddress:
		return CheckHeloOther, w.HeloOtherAddress, "an address literal that is not its address",
			"it greets with an address that is not its own (RFC 5321 section 4.1.3)"
	case heloBareAddress:
		return CheckHeloBare, w.HeloBareAddress, "an address without brackets",
			"it greets with an address without brackets (RFC 5321 section 4.1.3)"
	case heloCharacters:
		return CheckHeloCharacters, w.HeloCharacters, "not a domain name",
			"it greets with what is not a domain name (RFC 5321 section 4.1.2)"
	case heloNotFQDN:
		return CheckHeloNotFQDN, w.HeloNotFQDN, "not a fully qualified domain name",
			"it greets with a name that is not fully qualified (RFC 5321 section 2.3.5)"
	default:
		return CheckHelo, 0, "", ""
	}
}
