package admin

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/index"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

// newExecutor is an Executor over a store in a temporary folder.
func newExecutor(t *testing.T) (*Executor, string) {
	t.Helper()
	dir := t.TempDir()
	j, err := journal.Open(journal.Options{Dir: filepath.Join(dir, "journal")})
	if err != nil {
		t.Fatal(err)
	}
	x := &Executor{Accounts: account.New(account.Options{}), Mailboxes: mailbox.New(mailbox.Options{}, j), DefaultQuota: 1 << 20}
	ix, err := index.Open(t.Context(), index.Options{Path: filepath.Join(dir, "index.db")}, j, x.Accounts, x.Mailboxes)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(ix.Close(), j.Close()); err != nil {
			t.Error(err)
		}
	})
	if err := errors.Join(x.Accounts.Attach(ix), x.Mailboxes.Attach(ix)); err != nil {
		t.Fatal(err)
	}
	return x, dir
}

// serve answers on the directory's socket until the test ends.
func serve(t *testing.T, x *Executor, dir string) {
	t.Helper()
	l, err := Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, l, x) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// Each request says in words what was wrong; a request through the socket
// answers as the executor does.
func TestRequests(t *testing.T) {
	x, dir := newExecutor(t)
	serve(t, x, dir)
	c := Client{Dir: dir}
	big := int64(5 << 30)
	steps := []struct {
		q    Request
		want string // in the error; "" succeeds
	}{
		{Request{Op: AccountAdd, Address: "one@demo.test", Password: "a good password"}, "breakwater domain add"},
		{Request{Op: DomainAdd, Domain: "demo.test"}, ""},
		{Request{Op: DomainAdd, Domain: "demo.test"}, "there already"},
		{Request{Op: DomainAdd, Domain: "no domain"}, `"no domain"`},
		{Request{Op: AccountAdd, Address: "one@demo.test"}, "password"},
		{Request{Op: AccountAdd, Address: "one@demo.test", Password: "a good password"}, ""},
		{Request{Op: AccountAdd, Address: "one@demo.test", Password: "a good password"}, "there already"},
		{Request{Op: AccountLimits, Address: "one@demo.test"}, "no limit"},
		{Request{Op: AccountLimits, Address: "one@demo.test", Quota: &big}, ""},
		{Request{Op: AccountPassword, Address: "two@demo.test", Password: "a good password"}, "no account two@demo.test"},
		{Request{Op: AccountDisable, Address: "one@demo.test"}, ""},
		{Request{Op: AccountEnable, Address: "one@demo.test"}, ""},
		{Request{Op: AliasAdd, Address: "@demo.test", Targets: []string{"one@demo.test"}}, ""},
		{Request{Op: AliasRemove, Address: "sales@demo.test"}, "no alias sales@demo.test"},
		{Request{Op: AliasAdd, Address: "sales@demo.test", Targets: []string{"a@x.example,b@y.example"}}, "targets are separated by spaces"},
		{Request{Op: DomainRemove, Domain: "demo.test"}, "still has accounts"},
		{Request{Op: "frobnicate"}, "unknown request"},
	}
	for _, s := range steps {
		a, err := c.Do(t.Context(), s.q)
		if err != nil {
			t.Fatalf("%s: %v", s.q.Op, err)
		}
		if (a.Error == "") != (s.want == "") || !strings.Contains(a.Error, s.want) {
			t.Errorf("%s %s%s: %q, want %q", s.q.Op, s.q.Domain, s.q.Address, a.Error, s.want)
		}
	}
	list, err := c.Do(t.Context(), Request{Op: AccountList})
	if err != nil || len(list.Accounts) != 1 || list.Accounts[0].Quota != big || list.Accounts[0].Disabled {
		t.Errorf("account list = %+v, %v", list, err)
	}
	domains, err := c.Do(t.Context(), Request{Op: DomainList})
	if err != nil || len(domains.Domains) != 1 || domains.Domains[0] != (Domain{"demo.test", 1, "one@demo.test"}) {
		t.Errorf("domain list = %+v, %v", domains, err)
	}
}

func TestAccountRemove_takesMailboxes(t *testing.T) {
	x, _ := newExecutor(t)
	ctx := t.Context()
	for _, q := range []Request{
		{Op: DomainAdd, Domain: "demo.test"},
		{Op: AccountAdd, Address: "one@demo.test", Password: "a good password"},
	} {
		if a := x.Do(ctx, q); a.Error != "" {
			t.Fatal(a.Error)
		}
	}
	acct := x.Do(ctx, Request{Op: AccountList}).Accounts[0]
	if acct.Quota != 1<<20 {
		t.Errorf("quota of a new account = %d, want the default", acct.Quota)
	}
	all, err := x.Accounts.Accounts(ctx)
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	id := all[0].ID
	if boxes, err := x.Mailboxes.List(ctx, id); err != nil || len(boxes) == 0 {
		t.Fatalf("mailboxes of a new account: %v, %v", boxes, err)
	}
	if a := x.Do(ctx, Request{Op: AccountRemove, Address: "one@demo.test"}); a.Error != "" {
		t.Fatal(a.Error)
	}
	if boxes, err := x.Mailboxes.List(ctx, id); err != nil || len(boxes) != 0 {
		t.Errorf("mailboxes of a removed account: %v, %v", boxes, err)
	}
}

func TestSocket_hostileAndAbsent(t *testing.T) {
	x, dir := newExecutor(t)
	if _, err := (Client{Dir: dir}).Do(t.Context(), Request{Op: DomainList}); !errors.Is(err, ErrNotRunning) {
		t.Errorf("without a host: %v, want ErrNotRunning", err)
	}
	serve(t, x, dir)
	info, err := os.Stat(SocketPath(dir))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v, %v; want mode 0600", info.Mode(), err)
	}
	h := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", SocketPath(dir))
	}}}
	t.Cleanup(h.CloseIdleConnections)
	for name, body := range map[string]string{
		"no JSON":     "{",
		"unknown key": `{"op":"domain list","colour":"red"}`,
		"too large":   `{"op":"` + strings.Repeat("x", requestBytesMax+1) + `"}`,
	} {
		resp, err := h.Post("http://admin/", "application/json", bytes.NewReader([]byte(body)))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s, want 400", name, resp.Status)
		}
		if err := resp.Body.Close(); err != nil {
			t.Error(err)
		}
	}
}
