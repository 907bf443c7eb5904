package tidy

// Grants are the powers over the world, and why each is held.
func Grants() []Grant {
	return []Grant{
		{"base/sys", "os", "it is the door to the file system"},
		{"base/sys", "syscall", "fdatasync, pwritev, flock, statfs and O_DIRECT are calls of the system"},
		{"base/sys", "unsafe", "buffers of O_DIRECT and of pwritev are given by address"},
		{"base/sys", "now", "it is the door to the clock"},
		{"base/sys", "rand", "it is the door to randomness"},
		{"mail/sasl", "rand", "the server's half of a SCRAM nonce must not be guessed"},
		{"mail/smtp", "tls", "its client starts TLS on a connection that it was given"},
		{"store/index", "sql", "it is the database"},
		{"store/fulltext", "sql", "it is a database of its own"},
		{"store/account", "sql", "a view of the index has tables there"},
		{"store/mailbox", "sql", "a view of the index has tables there"},
		{"edge/listen", "net", "it opens the listening sockets"},
		{"edge/listen", "tls", "it holds the keys and does the handshakes"},
		{"edge/listen", "now", "deadlines of sockets are on the real clock, and accept pauses on it"},
		{"edge/listen", "rand", "ids of connections must not be guessed from each other"},
		{"edge/listen", "syscall", "a silent connection is waited for on its descriptor, without a buffer"},
		{"ops/certs", "os", "reads and writes certificates and keys, which are no mail"},
		{"ops/certs", "tls", "makes and loads key pairs"},
		{"ops/certs", "rand", "keys and serial numbers"},
		{"ops/admin", "net", "the admin socket, a file of the data directory"},
		{"ops/admin", "http", "requests and answers over the admin socket"},
		{"ops/admin", "os", "the admin socket's mode, and the rest of a dead host's"},
		{"host", "net", "checks ports, and listens for metrics and health"},
		{"host", "http", "metrics and health"},
		{"host", "os", "reads the configuration and makes the data directory"},
		{"host", "now", "waits between checks of health; certificates of init begin now"},
		{"host", "signal", "reloads at SIGHUP"},
		{"host", "syscall", "gives up the privileges of root"},
		{"cmd/breakwater", "os", "arguments, standard streams and the exit status"},
		{"cmd/breakwater", "signal", "ends at SIGINT and SIGTERM"},
		{"cmd/breakwater", "rand", "passwords that are made up for the operator"},
	}
}
