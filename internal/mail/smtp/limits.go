package smtp

// Limits of the protocol that no operator needs to change. What an operator
// may change is in [Options].
const (
	// CommandLineMax is the longest command line with its CRLF: RFC 5321
	// §4.5.3.1.4 has 512 octets, and the extensions offered here add at most
	// SIZE 26, BODY 17, SMTPUTF8 10, AUTH 500, RET 9 and ENVID 107 to MAIL,
	// NOTIFY 28 and ORCPT 507 to RCPT. The rest is for long local parts.
	CommandLineMax = 2048
	// AuthLineMax is the longest AUTH command or line of its exchange with
	// the CRLF, RFC 4954 §4.
	AuthLineMax = 12288
	// ReplyLineMax is the longest reply line that is written, with its CRLF
	// (RFC 5321 §4.5.3.1.5); longer texts are broken into several lines.
	ReplyLineMax = 512
	// HeloMax is the longest HELO or EHLO argument: a domain name has 255
	// octets (RFC 5321 §4.5.3.1.2).
	HeloMax = 255
	// EnvIDMax and OrcptMax are RFC 3461 §4.4 and §4.2 in encoded octets.
	EnvIDMax = 100
	OrcptMax = 500
	// MailAuthMax is the longest value of AUTH= on MAIL, RFC 4954 §3.
	MailAuthMax = 500

	// RecipientsMin is the least recipient limit that RFC 5321 §4.5.3.1.8
	// allows.
	RecipientsMin = 100

	// errorsMax is how many commands of a session may be wrong before it is
	// ended: a mail server sends none, a program that guesses sends many.
	errorsMax = 20
	// refusedMax is how many recipients of a session may be refused before it
	// is ended: lists with dead members have some, harvesters have only such.
	refusedMax = 100
	// surplusMax is how many recipients of a session may come above the limit of
	// a transaction before it is ended. Who pipelines a long list sends all of it
	// before the first 452, and comes back for the rest (RFC 5321 §4.5.3.1.10).
	surplusMax = 10_000
	// idleCommandsMax is how many commands that move no transaction forward
	// (NOOP, RSET, VRFY, HELP, EHLO) may come between two messages.
	idleCommandsMax = 100
	// authFailuresMax is how many logins of a session may fail.
	authFailuresMax = 3
	// chunkDiscardFactor bounds what is read of a BDAT chunk that is refused
	// for its size: a chunk of more than this many times the message limit
	// ends the session, since reading it in vain would cost more than a new
	// connection.
	chunkDiscardFactor = 4

	// replyLinesMax and replyLineReadMax bound what [ParseReply] takes from a
	// server: EHLO answers have a dozen lines, explanations a few.
	replyLinesMax    = 256
	replyLineReadMax = 4096
)
