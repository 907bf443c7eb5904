package tidy

// LibraryTable says where each direct dependency may be imported. Why we have
// it at all stands in docs/decisions.
func LibraryTable() []Library {
	tests := []string{"tests"}
	return []Library{
		{"github.com/alecthomas/kong", []string{"cmd/breakwater"}},
		{"github.com/pelletier/go-toml/v2", []string{"host"}},
		{"github.com/prometheus/client_golang", []string{"*"}},
		{"github.com/klauspost/compress", []string{"access/imap"}},
		{"github.com/xdg-go/scram", tests},
		{"golang.org/x/crypto", []string{"store/account"}},
		{"github.com/google/nftables", []string{"edge/ban"}},
		{"github.com/HdrHistogram/hdrhistogram-go", []string{"ops/load"}},
		{"github.com/miekg/dns", tests},
		{"golang.org/x/net", []string{"mail/message", "base/dns"}},
		{"golang.org/x/sync", []string{"*"}},
		{"golang.org/x/sys", []string{"base/sys", "edge/lobby", "edge/ban", "ops/load", "host"}},
		{"golang.org/x/term", []string{"cmd/breakwater"}},
		{"golang.org/x/text", []string{"mail/message", "mail/sasl", "mail/smtp", "store/account", "store/mailbox"}},
		{"zombiezen.com/go/sqlite", []string{"store/index", "store/fulltext", "store/account", "store/mailbox", "store/fate"}},
		{"github.com/emersion/go-imap/v2", tests},
		{"github.com/emersion/go-smtp", tests},
		{"github.com/google/go-cmp", tests},
		{"github.com/rogpeppe/go-internal", tests},
		{"golang.org/x/tools", tests},
		{"pgregory.net/rapid", tests},
	}
}
