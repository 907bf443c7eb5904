package telemetry

// Attribute keys of log lines. The list is closed: add here first.
const (
	Part     = "part"      // which part speaks: journal, session, imap …
	Conn     = "conn"      // connection id
	Sess     = "sess"      // session id
	Env      = "env"       // envelope id of a message
	Rcpt     = "rcpt"      // forward-path
	From     = "from"      // reverse-path
	RemoteIP = "remote_ip" // address of the other side
	Helo     = "helo"      // what the client called itself
	TLS      = "tls"       // protocol version and cipher suite
	User     = "user"      // login name
	Mailbox  = "mailbox"   // mailbox name or id
	Cmd      = "cmd"       // protocol command, never with its secrets
	Check    = "check"     // name of a policy check
	Verdict  = "verdict"   // what the check decided
	Reply    = "reply"     // reply given to the client
	Dur      = "dur"       // duration
	Size     = "size"      // bytes
	Err      = "err"       // an error
	LSN      = "lsn"       // log sequence number
	Segment  = "segment"   // journal segment id
	Count    = "count"     // how many
	Path     = "path"      // file or folder
	Addr     = "addr"      // network address of a listener
	State    = "state"     // state of a machine
	Version  = "version"   // version of a format or program
	Reason   = "reason"    // why
	Account  = "account"   // account id
	Domain   = "domain"    // domain name
	Msg      = "msg"       // message id inside the store
	Score    = "score"     // sum of weights that a verdict rests on
	Faults   = "faults"    // what a client did that none should
)
