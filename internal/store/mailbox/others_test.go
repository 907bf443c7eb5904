package mailbox_test

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sim"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/index"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

// Accounts share the journal. A compaction either has them say their state, or
// keeps their records: in both cases they are the same afterwards.
func TestCompact_keepsAccounts(t *testing.T) {
	for _, answering := range []bool{true, false} {
		disk, path := sim.NewDisk(1), filepath.Join(t.TempDir(), "index.db")
		clock := sim.NewClock(time.Unix(1.7e9, 0))
		var w world
		var accounts *account.Store
		open := func() {
			t.Helper()
			var err error
			w.j, err = journal.Open(journal.Options{Dir: "/journal", FS: disk, Clock: clock, ReserveBytes: -1})
			must(t, err)
			accounts = account.New(account.Options{Clock: clock})
			o := mailbox.Options{Clock: clock, Retention: -1}
			if answering {
				o.Others = []mailbox.Other{accounts}
			}
			w.s = mailbox.New(o, w.j)
			w.x, err = index.Open(background, index.Options{Path: path}, w.j, accounts, w.s)
			must(t, err)
			must(t, errors.Join(accounts.Attach(w.x), w.s.Attach(w.x)))
		}
		open()
		must(t, accounts.AddDomain(background, "demo.test"))
		a, err := accounts.AddAccount(background, message.Address{Local: "one", Domain: "demo.test"}, "secret", account.Settings{Admin: true, QuotaBytes: 77})
		must(t, err)
		must(t, w.s.Provision(background, a.ID))
		must(t, w.close())
		for range 3 { // the second time it is about its own State records
			open()
			n, err := w.s.CompactFully(background)
			must(t, err)
			if n == 0 {
				t.Fatal("nothing was compacted")
			}
			must(t, w.close())
			must(t, index.Remove(path))
			open()
			got, err := accounts.Get(background, a.Address)
			if err != nil || got != a {
				t.Errorf("answering %v: account is %+v, %v; it was %+v", answering, got, err, a)
			}
			if _, err := accounts.Login(background, "one@demo.test", "secret"); err != nil {
				t.Errorf("answering %v: login: %v", answering, err)
			}
			if all := w.findings(t); len(all) > 0 {
				t.Errorf("answering %v: verify found %v", answering, all)
			}
			must(t, w.close())
		}
	}
}
