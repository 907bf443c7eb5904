package admin

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/spool/queue"
	"github.com/breakwater-mail/breakwater/internal/spool/restraint"
	"github.com/breakwater-mail/breakwater/internal/store/account"
)

// fixed is a Sending that says always the same.
type fixed struct{ asked restraint.Sender }

func (f *fixed) Standing(s restraint.Sender) restraint.Standing {
	f.asked = s
	return restraint.Standing{Hour: 3, HourLimit: int(s.Hour), Room: 97}
}

func (f *fixed) Networks() []restraint.Network {
	return []restraint.Network{
		{Network: netip.MustParsePrefix("192.0.2.0/24"), Hour: 3, HourLimit: 10, Newcomers: []account.ID{1, 99}, Crowded: true},
		{Network: netip.MustParsePrefix("2001:db8::/48"), Day: 1},
	}
}

// TestAccountNetworks: newcomers have their names, unless they are no more.
func TestAccountNetworks(t *testing.T) {
	x, _ := newExecutor(t)
	if a := x.Do(t.Context(), Request{Op: AccountNetworks}); a.Error != ErrNoQueue.Error() {
		t.Errorf("without a host: %+v", a)
	}
	x.Sending = &fixed{}
	for _, q := range []Request{{Op: DomainAdd, Domain: "demo.test"}, {Op: AccountAdd, Address: "one@demo.test", Password: "a good password"}} {
		if a := x.Do(t.Context(), q); a.Error != "" {
			t.Fatal(a.Error)
		}
	}
	a := x.Do(t.Context(), Request{Op: AccountNetworks})
	if len(a.Networks) != 2 || !a.Networks[0].Crowded || a.Networks[0].HourLimit != 10 || len(a.Networks[0].Newcomers) != 1 || a.Networks[0].Newcomers[0] != "one@demo.test" {
		t.Errorf("%+v", a)
	}
	if a := x.Do(t.Context(), Request{Op: AccountNetworks, Limit: 1}); len(a.Networks) != 1 {
		t.Errorf("limited: %+v", a)
	}
}

// Each request about an account says in words what was wrong, and account show
// has what the others set.
func TestAccountRequests(t *testing.T) {
	x, _ := newExecutor(t)
	f := &fixed{}
	x.Sending = f
	n, tooMany := int64(50), int64(1)<<40
	const one = "one@demo.test"
	with := func(op Op, r AccountRequest, targets ...string) Request {
		return Request{Op: op, Address: one, Account: &r, Targets: targets}
	}
	for _, s := range []struct {
		q    Request
		want string // in the error; "" succeeds
	}{
		{Request{Op: DomainAdd, Domain: "demo.test"}, ""},
		{with(AccountShow, AccountRequest{}), "no account one@demo.test"},
		{Request{Op: AccountAdd, Address: one, Password: "a good password"}, ""},
		{Request{Op: AppAdd, Address: one}, "needs a name"},
		{with(AppAdd, AccountRequest{Name: "x", Scope: []string{"web"}}), `no service "web"`},
		{with(AppAdd, AccountRequest{Name: "x", Scope: []string{"IMAP"}}), ""},
		{with(AppAdd, AccountRequest{Name: "x"}), "already"},
		{with(AppRemove, AccountRequest{Name: "y"}), `no app password "y"`},
		{with(AccountGrant, AccountRequest{SendAs: "@example.org"}), ""},
		{with(AccountGrant, AccountRequest{SendAs: "@example.org"}), "already"},
		{with(AccountGrant, AccountRequest{SendAs: "@"}), "malformed domain"},
		{with(AccountRevoke, AccountRequest{SendAs: "x@example.org"}), "no grant"},
		{with(AccountContact, AccountRequest{Contact: one}), "another address"},
		{with(AccountContact, AccountRequest{Contact: "owner@example.org"}), ""},
		{with(AccountForward, AccountRequest{}, "nobody@demo.test"), "target nobody@demo.test"},
		{with(AccountForward, AccountRequest{}, "no address"), `"no address"`},
		{with(AccountForward, AccountRequest{NoCopy: true}, "x@example.org"), ""},
		{with(AccountLimits, AccountRequest{}), "no limit"},
		{with(AccountLimits, AccountRequest{SendDay: &tooMany}), "out of range"},
		{with(AccountLimits, AccountRequest{SendHour: &n}), ""},
		{with(AccountHold, AccountRequest{Reason: " "}), "needs a reason"},
		{with(AccountHold, AccountRequest{Reason: "spam"}), ""},
		{Request{Op: AccountPassword, Address: one, Password: "a good password"}, "is held (spam)"},
	} {
		a := x.Do(t.Context(), s.q)
		if (a.Error == "") != (s.want == "") || !strings.Contains(a.Error, s.want) {
			t.Errorf("%s %+v: %q, want %q", s.q.Op, s.q.Account, a.Error, s.want)
		}
	}
	d := x.Do(t.Context(), Request{Op: AccountShow, Address: one}).Details
	if d == nil || d.HoldReason != "spam" || d.Contact != "owner@example.org" || !d.NoCopy || len(d.Forward) != 1 || d.SendHour != 50 ||
		len(d.SendAs) != 1 || d.SendAs[0] != "@example.org" || len(d.AppPasswords) != 1 || d.AppPasswords[0].Scope[0] != "imap" {
		t.Errorf("details %+v", d)
	}
	if d.Sending == nil || d.Sending.Room != 97 || d.Sending.HourLimit != 50 || f.asked.Account != account.ID(1) {
		t.Errorf("sending %+v, asked %+v", d.Sending, f.asked)
	}
	if a := x.Do(t.Context(), Request{Op: AccountPassword, Address: one, Password: "another good one"}); a.Error != "" || len(a.Notes) != 2 || !strings.Contains(a.Notes[0], "is still held, since no host runs") {
		t.Errorf("a new password: %+v", a)
	}
	if d := x.Do(t.Context(), Request{Op: AccountShow, Address: one}).Details; d.HoldReason != "new password; what it sent before waits to be looked at" {
		t.Errorf("no host could keep what waits: %+v", d)
	}
	if a := x.Do(t.Context(), Request{Op: AccountRelease, Address: one}); a.Error != "" || !strings.HasPrefix(a.Notes[0], "held since") {
		t.Errorf("release: %+v", a)
	}
	if a := x.Do(t.Context(), Request{Op: AccountRelease, Address: one}); a.Error != "" || a.Notes[0] != "was not held" {
		t.Errorf("release: %+v", a)
	}
}

// TestAccountPassword_keepsQueued: what a thief has queued does not go out because
// the owner has a new password, and before the hold ends it is kept for good.
func TestAccountPassword_keepsQueued(t *testing.T) {
	x, _, id := withAccount(t)
	addr := message.Address{Local: "one", Domain: "demo.test"}
	set := func(password string) Answer {
		return x.Do(t.Context(), Request{Op: AccountPassword, Address: addr.String(), Password: password})
	}
	hold := func() {
		t.Helper()
		if err := x.Accounts.Hold(t.Context(), id, "133 recipients"); err != nil {
			t.Fatal(err)
		}
	}
	w := &waiting{acted: 3, rows: make([]queue.Row, 3)}
	x.Queue = w
	if a := set("one more password"); a.Error != "" || len(a.Notes) != 0 || w.action != 0 {
		t.Errorf("without a hold: %+v, %+v", a, w)
	}
	hold()
	a := set("a third password")
	if a.Error != "" || len(a.Notes) != 1 || !strings.Contains(a.Notes[0], "Recipients of what it sent before that go on waiting: 3; look with `breakwater queue list --account one@demo.test`") {
		t.Errorf("%+v", a)
	}
	if w.action != queue.Hold || w.sel != (queue.Selection{Account: id}) || !strings.Contains(w.args.Reason, "one@demo.test") {
		t.Errorf("%+v", w)
	}
	// What an earlier attempt has kept waits all the same, and what is being
	// tried just now cannot be kept.
	hold()
	w.acted, w.rows[1].Active = 0, true
	a = set("a third password")
	if !strings.Contains(a.Error, "this is the password it has") || !strings.Contains(a.Error, "go on waiting: 2; look") || !strings.Contains(a.Error, "Being tried just now, and not kept: 1; ") {
		t.Errorf("%+v", a)
	}
	w.rows = nil
	if a := set("a fourth password"); a.Error != "" || !strings.Contains(a.Notes[0], "has ended. Nothing waits") {
		t.Errorf("%+v", a)
	}
	hold()
	w.err = queue.ErrLoading
	if a := set("a fifth password"); a.Error != "keep what waits: the queue is still being read after the start; try again in a moment" {
		t.Errorf("a queue that does not answer: %+v", a)
	}
	if acct, err := x.Accounts.Get(t.Context(), addr); err != nil || !acct.Hold.On() {
		t.Errorf("the hold has ended all the same: %+v, %v", acct, err)
	}
}
