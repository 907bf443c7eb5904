package smtp

// Extensions is what a server has offered in its answer to EHLO.
type Extensions struct {
	Pipelining   bool
	Size         bool
	SizeMax      int64 // 0 is unstated
	EightBitMIME bool
	SMTPUTF8     bool
	Chunking     bool
	DSN          bool
	StartTLS     bool
	Auth         []string // mechanisms, nil without AUTH
	RecipientMax int      // LIMITS RCPTMAX, 0 is unstated
}
