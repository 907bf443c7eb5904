package tidy

// Graph is the order of the packages, from the bottom up (see DAG for the
// notation). Each stands as low as its imports let it.
const Graph = `
	# base: knows no mail
	NONE < base/telemetry < base/sys;
	base/sys < base/sim;                    # for tests only
	base/sys < base/dns;

	# mail: bytes in, values out; no doors, no log
	NONE < mail/message < mail/smtp, mail/sasl, mail/tlsrpt;
	mail/smtp < mail/dsn;
	base/dns, mail/message < mail/mailauth; # asks a resolver that it is given

	# store: the truth, then its views
	base/sys < store/journal < store/index, store/fulltext;
	store/index, mail/sasl < store/account < store/mailbox;
	store/account, mail/smtp < store/fate;
	store/mailbox, base/sim < store/mailbox/mailboxtest;  # for tests only

	# spool: what becomes of accepted mail; edge: what strangers reach, which
	# knows of spool only what it asks for through interfaces of its own
	store/fate, mail/dsn < spool/queue;
	mail/tlsrpt, base/dns < spool/tlspolicy < spool/tlsreport;
	spool/queue, spool/tlspolicy < spool/delivery;
	store/account, mail/smtp < spool/restraint;
	store/mailbox, store/fate, mail/mailauth, mail/dsn < spool/intake;
	base/telemetry < edge/listen;
	edge/listen, base/sys, mail/smtp, mail/sasl < edge/session < edge/relay;
	base/dns < edge/dnsbl;
	base/sys < edge/ban;
	base/sys, mail/message < edge/greylist;
	edge/dnsbl, mail/smtp, mail/mailauth < edge/policy;
	edge/policy, edge/listen < edge/lobby;

	# access: what owners reach
	NONE < access/imap/wire < access/imap/command;
	access/imap/command, store/mailbox, store/fulltext < access/imap;
	store/mailbox < access/pop3;

	# ops, and the whole
	base/sys < ops/certs;
	NONE < ops/load;                        # plays the clients
	base/sys < ops/alarm;
	mail/mailauth, base/sys < ops/dkim;
	store/fate < ops/ledger;
	store/mailbox, spool/queue, spool/restraint, spool/tlsreport, ops/ledger, ops/alarm < ops/admin;
	ops/admin, ops/certs, ops/dkim, ops/alarm, spool/delivery, spool/tlsreport, spool/restraint, spool/intake, edge/relay, edge/lobby, edge/ban, edge/greylist, access/imap, access/pop3 < host;
	host, ops/load < cmd/breakwater;

	# by itself
	NONE < tidy;

	# walls
	store/mailbox, store/account, mail/message !< store/journal;
	store/mailbox !< edge/session, edge/relay, edge/lobby, edge/policy;
	edge/session !< edge/lobby, edge/policy;  # the host hands over between them
	edge/ban, edge/greylist !< edge/policy;   # it asks them through interfaces of its own
	edge/listen, edge/session, spool/intake !< access/imap, access/pop3;
	edge/listen, edge/session !< spool/intake;
	store/fate !< store/mailbox;              # which carries its facts unread
	spool/queue, spool/delivery !< spool/intake;
	spool/delivery !< spool/queue;
	access/imap, access/pop3 !< edge/session, spool/intake;
	base/sim !< host;
`

// Support are the packages that only tests import.
func Support() []string { return []string{"base/sim", "store/mailbox/mailboxtest"} }
