package dkim

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/mail/mailauth"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// stringOctetsMax bounds a string of a TXT record (RFC 1035 §3.3.14); longer
// texts are several, which the reader joins (RFC 6376 §3.6.2.2).
const stringOctetsMax = 255

// lookEvery is how often Run reads the keys, and asks for those that wait.
const lookEvery = time.Minute

// Record is a TXT record to publish.
type Record struct {
	Name    string   `json:"name"`
	Strings []string `json:"strings"`
}

// String is the record as a line of a zone file.
func (r Record) String() string {
	quoted := make([]string, len(r.Strings))
	for i, s := range r.Strings {
		quoted[i] = `"` + s + `"`
	}
	return r.Name + ". IN TXT ( " + strings.Join(quoted, " ") + " )"
}

// Records returns what must be published for a domain, or for all if it is "".
// Keys that sign no more are among them until they are retired.
func (s *Store) Records(d message.Domain) ([]Record, error) {
	var out []Record
	for _, domain := range s.domains(d) {
		for _, k := range s.of(domain) {
			if k.signer == nil {
				continue
			}
			text, err := mailauth.DKIMRecord(k.signer.Public())
			if err != nil {
				return nil, fmt.Errorf("record of %s: %w", k.Selector, err)
			}
			r := Record{Name: k.Selector + "._domainkey." + string(domain)}
			for len(text) > stringOctetsMax {
				r.Strings = append(r.Strings, text[:stringOctetsMax])
				text = text[stringOctetsMax:]
			}
			r.Strings = append(r.Strings, text)
			out = append(out, r)
		}
	}
	return out, nil
}

// Finding is what the DNS says of a key.
type Finding struct {
	Key
	Published bool   `json:"published"`
	Problem   string `json:"problem,omitempty"` // why not
}

// Check asks whether the keys of a domain, or of all if it is "", are published
// as they must be. Those that are sign from now on.
func (s *Store) Check(ctx context.Context, r mailauth.Resolver, d message.Domain) ([]Finding, error) {
	return s.check(ctx, r, d, false)
}

// Look is Check that changes nothing: no key begins to sign by it.
func (s *Store) Look(ctx context.Context, r mailauth.Resolver, d message.Domain) []Finding {
	var out []Finding
	for _, domain := range s.domains(d) {
		out = append(out, s.look(ctx, r, domain, false)...)
	}
	return out
}

func (s *Store) look(ctx context.Context, r mailauth.Resolver, domain message.Domain, waitingOnly bool) []Finding {
	var out []Finding
	keys := s.of(domain)
	for i := range keys {
		k := keys.describe(domain, i, s.o.Clock.Now())
		if k.State == Retired || waitingOnly && k.State != Waiting {
			continue
		}
		f := Finding{Key: k, Problem: published(ctx, r, k.Name(), keys[i].signer.Public())}
		f.Published = f.Problem == ""
		out = append(out, f)
	}
	return out
}

func (s *Store) check(ctx context.Context, r mailauth.Resolver, d message.Domain, waitingOnly bool) ([]Finding, error) {
	var out []Finding
	var errs []error
	for _, domain := range s.domains(d) {
		found := s.look(ctx, r, domain, waitingOnly)
		if err := s.noteSeen(domain, found); err != nil {
			errs = append(errs, err)
		}
		out = append(out, found...)
	}
	return out, errors.Join(errs...)
}

// noteSeen lets the keys of a domain sign that waited and were found.
func (s *Store) noteSeen(domain message.Domain, found []Finding) error {
	var seen []string
	for _, f := range found {
		if f.Published && f.State == Waiting {
			seen = append(seen, f.Selector)
		}
	}
	if len(seen) == 0 {
		return nil
	}
	if err := s.see(domain, seen); err != nil {
		return err
	}
	for _, k := range s.named(domain, seen) {
		s.o.Log.Info("a signing key was found published and signs from now on", telemetry.Domain, k.Name())
		for i := range found {
			if found[i].Selector == k.Selector {
				found[i].Key = k
			}
		}
	}
	return nil
}

// published says what is wrong with a key's record, "" if nothing is.
func published(ctx context.Context, r mailauth.Resolver, name string, key crypto.PublicKey) string {
	a := r.Lookup(ctx, dns.Question{Name: name, Type: dns.TXT})
	switch {
	case a.Failed() && a.Err != nil:
		return "the DNS did not answer: " + a.Err.Error()
	case a.Failed():
		return "the DNS did not answer: " + a.RCode.String()
	case len(a.Texts) == 0:
		return "there is no such record"
	case len(a.Texts) > 1:
		return "there is more than one record"
	}
	if err := mailauth.CheckDKIMRecord(a.Texts[0], key); err != nil {
		return err.Error()
	}
	return ""
}

// Run reads the keys every minute, since the command line may have changed
// them, and asks the DNS for those that wait, until ctx ends. Without a
// resolver nothing is asked.
func (s *Store) Run(ctx context.Context, r mailauth.Resolver) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.o.Clock.After(lookEvery):
		}
		if err := s.Reload(); err != nil {
			s.o.Log.Error("the signing keys cannot be read; what was read before goes on signing", telemetry.Err, err)
		}
		if r == nil {
			continue
		}
		if _, err := s.check(ctx, r, "", true); err != nil {
			s.o.Log.Warn("a signing key that was found published cannot be noted down", telemetry.Err, err)
		}
	}
}
