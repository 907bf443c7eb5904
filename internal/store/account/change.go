package account

import (
	"errors"
	"fmt"
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// The operations of this view: field tags 0x100-0x1ff of Batch and State
// envelopes. The numbers are frozen; docs/formats/account-records.md.
const (
	opReset          = 0x100 // forget all: begins a State
	opSecret         = 0x101 // the store's secret, for invented salts
	opNextID         = 0x102 // the next ID is at least this
	opDomain         = 0x103
	opDomainRemoved  = 0x104
	opAccount        = 0x105 // a whole account
	opAccountRemoved = 0x106
	opCredentials    = 0x107 // replaces all credentials of an account
	opSettings       = 0x108 // replaces all settings of an account
	opAlias          = 0x109 // replaces an alias whole
	opAliasRemoved   = 0x10a
	opHold           = 0x10b // what the account sends is held
	opHoldEnded      = 0x10c
	opForward        = 0x10d // replaces a forward whole; no targets: none
	opGrant          = 0x10e // the account may send as an address or a domain
	opGrantRevoked   = 0x10f
	opAppPassword    = 0x110
	opAppRemoved     = 0x111 // without a name: all of the account's
	opAppUsed        = 0x112

	opFirst, opLast = 0x100, 0x1ff
)

// Fields within an operation.
const (
	fieldID         = 1 // uvarint
	fieldAddress    = 2
	fieldDomain     = 3
	fieldCreated    = 4 // uvarint, seconds since 1970; of a hold or a use: when
	fieldAdmin      = 5 // empty; present means true
	fieldDisabled   = 6 // empty; present means true
	fieldQuota      = 7 // uvarint, bytes; absent means none
	fieldHash       = 8 // PHC string
	fieldSalt       = 9 // of SCRAM; absent means no verifier
	fieldIterations = 10
	fieldStoredKey  = 11
	fieldServerKey  = 12
	fieldTarget     = 13 // an address; repeated
	fieldSecret     = 14
	fieldSendHour   = 15 // uvarint, recipients; absent means the default
	fieldSendDay    = 16
	fieldContact    = 17 // an address; absent means none
	fieldReason     = 18
	fieldNoCopy     = 19 // empty; present means true
	fieldName       = 20 // of an app password
	fieldScope      = 21 // uvarint, bits
	fieldAppSalt    = 22
	fieldAppHash    = 23
	fieldRenewed    = 24 // empty; present means that the password is still the same
)

// change is one operation. Which fields count depends on op.
type change struct {
	op       uint64
	id       ID
	address  message.Address // of an account or alias
	domain   message.Domain  // of a domain or catch-all
	created  int64
	settings Settings
	creds    credentials
	targets  []message.Address
	secret   []byte
	reason   string // of a hold
	noCopy   bool   // of a forward
	label    string // the name of an app password
	app      appKey
	renewed  bool // credentials: the password is still the same
}

// credentials are what a password leaves behind.
type credentials struct {
	hash  string // PHC
	scram scramKeys
}

// scramKeys are a SCRAM-SHA-256 verifier; no salt means none.
type scramKeys struct {
	salt       []byte
	iterations int
	stored     []byte
	server     []byte
}

// appKey is what is kept of an app password.
type appKey struct {
	scope Scope
	salt  []byte
	hash  []byte // docs/formats/account-records.md
}

// name returns what an operation on an alias or a grant is about: an address,
// or a domain as an address without local part.
func (c change) name() message.Address {
	if c.address.IsZero() {
		return message.Address{Domain: c.domain}
	}
	return c.address
}

// setName is the reverse of name.
func (c *change) setName(a message.Address) {
	if a.Local == "" {
		c.domain = a.Domain
	} else {
		c.address = a
	}
}

// appendChange appends c as one field to an envelope.
func appendChange(dst []byte, c change) []byte {
	var b []byte
	if c.id != 0 {
		b = journal.AppendUint(b, fieldID, uint64(c.id))
	}
	if !c.address.IsZero() {
		b = journal.AppendString(b, fieldAddress, c.address.String())
	}
	if c.domain != "" {
		b = journal.AppendString(b, fieldDomain, string(c.domain))
	}
	if c.created != 0 {
		b = journal.AppendUint(b, fieldCreated, uint64(c.created))
	}
	b = appendSettings(b, c.settings)
	b = appendCredentials(b, c.creds)
	for _, t := range c.targets {
		b = journal.AppendString(b, fieldTarget, t.String())
	}
	if c.secret != nil {
		b = journal.AppendField(b, fieldSecret, c.secret)
	}
	if c.reason != "" {
		b = journal.AppendString(b, fieldReason, c.reason)
	}
	if c.noCopy {
		b = journal.AppendField(b, fieldNoCopy, nil)
	}
	b = appendApp(b, c)
	if c.renewed {
		b = journal.AppendField(b, fieldRenewed, nil)
	}
	return journal.AppendField(dst, c.op, b)
}

func appendApp(b []byte, c change) []byte {
	if c.label != "" {
		b = journal.AppendString(b, fieldName, c.label)
	}
	if c.app.scope != 0 {
		b = journal.AppendUint(b, fieldScope, uint64(c.app.scope))
	}
	if c.app.salt != nil {
		b = journal.AppendField(b, fieldAppSalt, c.app.salt)
		b = journal.AppendField(b, fieldAppHash, c.app.hash)
	}
	return b
}

func appendSettings(b []byte, s Settings) []byte {
	if s.Admin {
		b = journal.AppendField(b, fieldAdmin, nil)
	}
	if s.Disabled {
		b = journal.AppendField(b, fieldDisabled, nil)
	}
	if s.QuotaBytes > 0 {
		b = journal.AppendUint(b, fieldQuota, uint64(s.QuotaBytes))
	}
	if s.SendHour > 0 {
		b = journal.AppendUint(b, fieldSendHour, uint64(s.SendHour))
	}
	if s.SendDay > 0 {
		b = journal.AppendUint(b, fieldSendDay, uint64(s.SendDay))
	}
	if !s.Contact.IsZero() {
		b = journal.AppendString(b, fieldContact, s.Contact.String())
	}
	return b
}

func appendCredentials(b []byte, c credentials) []byte {
	if c.hash != "" {
		b = journal.AppendString(b, fieldHash, c.hash)
	}
	if c.scram.salt != nil {
		b = journal.AppendField(b, fieldSalt, c.scram.salt)
		b = journal.AppendUint(b, fieldIterations, uint64(c.scram.iterations))
		b = journal.AppendField(b, fieldStoredKey, c.scram.stored)
		b = journal.AppendField(b, fieldServerKey, c.scram.server)
	}
	return b
}

// decodeChanges reads the operations of this view from an envelope and
// leaves out the others'. An operation of this range that it does not know
// is an error: a newer program wrote it, and skipping it would let somebody
// in, or lose somebody, in silence.
func decodeChanges(envelope []byte) ([]change, error) {
	var out []change
	err := journal.ParseFields(envelope, func(tag uint64, value []byte) error {
		if tag < opFirst || tag > opLast {
			return nil
		}
		c, err := decodeChange(tag, value)
		if err != nil {
			return fmt.Errorf("operation %#x: %w", tag, err)
		}
		out = append(out, c)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("decode account operations: %w", err)
	}
	return out, nil
}

func decodeChange(op uint64, value []byte) (change, error) {
	c := change{op: op}
	err := journal.ParseFields(value, func(tag uint64, v []byte) error {
		if err := c.decodeField(tag, v); err != nil {
			return fmt.Errorf("field %d: %w", tag, err)
		}
		return nil
	})
	if err != nil {
		return change{}, err
	}
	return c, c.check()
}

func (c *change) decodeField(tag uint64, v []byte) error {
	switch {
	case tag <= fieldQuota, tag >= fieldSendHour && tag <= fieldContact:
		return c.decodeSetting(tag, v)
	case tag <= fieldServerKey:
		return c.decodeCredential(tag, v)
	case tag == fieldTarget:
		t, err := message.ParseAddress(string(v))
		c.targets = append(c.targets, t)
		return err
	default:
		return c.decodeRest(tag, v)
	}
}

// decodeSetting reads a field of what an operation is about, or of settings.
func (c *change) decodeSetting(tag uint64, v []byte) (err error) {
	var n uint64
	switch tag {
	case fieldID:
		n, err = decodeUint(v)
		c.id = ID(n)
	case fieldAddress:
		c.address, err = message.ParseAddress(string(v))
	case fieldDomain:
		c.domain, err = message.ParseDomain(string(v))
	case fieldCreated:
		n, err = decodeUint(v)
		c.created = int64(n)
	case fieldAdmin:
		c.settings.Admin = true
	case fieldDisabled:
		c.settings.Disabled = true
	case fieldQuota:
		n, err = decodeUint(v)
		c.settings.QuotaBytes = int64(n)
	case fieldSendHour:
		n, err = decodeUint(v)
		c.settings.SendHour = int64(n)
	case fieldSendDay:
		n, err = decodeUint(v)
		c.settings.SendDay = int64(n)
	case fieldContact:
		c.settings.Contact, err = message.ParseAddress(string(v))
	}
	return err
}

func (c *change) decodeCredential(tag uint64, v []byte) (err error) {
	var n uint64
	switch tag {
	case fieldHash:
		c.creds.hash = string(v)
	case fieldSalt:
		c.creds.scram.salt = append([]byte{}, v...)
	case fieldIterations:
		n, err = decodeUint(v)
		c.creds.scram.iterations = int(n)
	case fieldStoredKey:
		c.creds.scram.stored = append([]byte{}, v...)
	case fieldServerKey:
		c.creds.scram.server = append([]byte{}, v...)
	}
	return err
}

func (c *change) decodeRest(tag uint64, v []byte) (err error) {
	switch tag {
	case fieldSecret:
		c.secret = append([]byte{}, v...)
	case fieldReason:
		c.reason = string(v)
	case fieldNoCopy:
		c.noCopy = true
	case fieldName:
		c.label = string(v)
	case fieldScope:
		var n uint64
		n, err = decodeUint(v)
		c.app.scope = Scope(n & uint64(AllScopes)) // a service that is not known here lets nobody in
	case fieldAppSalt:
		c.app.salt = append([]byte{}, v...)
	case fieldAppHash:
		c.app.hash = append([]byte{}, v...)
	case fieldRenewed:
		c.renewed = true
	}
	return err
}

// check says whether c has what its operation needs.
func (c change) check() error {
	ok := true
	switch c.op {
	case opReset:
	case opSecret:
		ok = len(c.secret) > 0
	case opNextID, opAccountRemoved, opCredentials, opSettings, opHoldEnded, opForward, opAppRemoved:
		ok = c.id != 0
	case opHold:
		ok = c.id != 0 && c.created != 0
	case opGrant, opGrantRevoked:
		ok = c.id != 0 && !c.name().IsZero()
	case opAppPassword:
		ok = c.id != 0 && c.label != "" && len(c.app.salt) > 0 && len(c.app.hash) > 0
	case opAppUsed:
		ok = c.id != 0 && c.label != "" && c.created != 0
	case opDomain, opDomainRemoved:
		ok = c.domain != ""
	case opAccount:
		ok = c.id != 0 && !c.address.IsZero()
	case opAlias:
		ok = !c.name().IsZero() && len(c.targets) > 0
	case opAliasRemoved:
		ok = !c.name().IsZero()
	default:
		return errors.New("unknown operation")
	}
	if !ok {
		return errors.New("operation lacks a field")
	}
	return nil
}

// decodeUint reads a number that fits an int64.
func decodeUint(v []byte) (uint64, error) {
	n, ok := journal.Uint(v)
	if !ok || n > 1<<63-1 {
		return 0, errors.New("bad number")
	}
	return n, nil
}

// account returns the account that an opAccount describes.
func (c change) account() Account {
	a := Account{ID: c.id, Address: c.address, Created: c.at()}
	a.set(c.settings)
	return a
}

// at is the change's time.
func (c change) at() time.Time { return time.Unix(c.created, 0).UTC() }

// appPassword returns what an opAppPassword describes.
func (c change) appPassword() AppPassword {
	return AppPassword{Name: c.label, Scope: c.app.scope, Created: c.at()}
}
