package mailbox

import (
	"fmt"

	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// decodeMessage reads the envelope of a Message record.
func decodeMessage(b []byte) (messageFacts, error) {
	var m messageFacts
	err := journal.ParseFields(b, func(tag uint64, v []byte) error {
		var err error
		switch tag {
		case tagEnvelopeID:
			m.id = string(v)
		case tagFrom:
			m.from = string(v)
		case tagReceived:
			m.received, err = number[int64](v)
		case tagPrefix:
			m.prefix, err = number[int64](v)
		case tagFiling:
			var f fields
			if f, err = decodeFields(v, false); err == nil {
				m.filings = append(m.filings, filingFact{
					account: f.account, mailbox: f.mailbox, uid: f.uid, modSeq: f.modSeq,
					flags: f.flags, rcpt: f.rcpt, keywords: f.keywords})
			}
		}
		return err
	})
	if err != nil {
		return m, fmt.Errorf("decode message facts: %w", err)
	}
	return m, nil
}

// What an envelope holds besides operations that were decoded.
const (
	restOthers  = 1 << iota // operations of other views
	restUnknown             // operations of this package from a newer version
)

// decodeOps reads the operations of a Batch or State envelope that are this
// package's; rest says what else there is.
func decodeOps(b []byte) (ops []any, rest int, err error) {
	err = journal.ParseFields(b, func(tag uint64, v []byte) error {
		if tag < tagFirst || tag > tagLast {
			rest |= restOthers
			return nil
		}
		f, err := decodeFields(v, tag == tagStateEntries)
		if err != nil {
			return fmt.Errorf("operation %#x: %w", tag, err)
		}
		if op := f.op(tag); op != nil {
			ops = append(ops, op)
		} else {
			rest |= restUnknown
		}
		return nil
	})
	if err != nil {
		return nil, rest, fmt.Errorf("decode operations: %w", err)
	}
	return ops, rest, nil
}

// fields is the union of what operations hold.
type fields struct {
	account     account.ID
	mailbox     ID
	uid         UID
	modSeq      ModSeq
	flags       Flags
	rcpt        string
	keywords    []keyword
	name, use   string
	uidValidity uint32
	uids        uidSet
	clear, set  Flags
	at          int64
	entries     []Entry
	uidNext     UID
	state       uint8
	nextID      ID
}

// op makes an operation of its fields; nil if this version does not know it.
func (f *fields) op(tag uint64) any {
	switch tag {
	case tagCreate:
		return &createOp{account: f.account, mailbox: f.mailbox, name: f.name, use: f.use, uidValidity: f.uidValidity}
	case tagRename:
		return &renameOp{mailbox: f.mailbox, name: f.name}
	case tagDelete:
		return &deleteOp{mailbox: f.mailbox, at: f.at}
	case tagSubscribe, tagStateSubscribed:
		return &subscribeOp{account: f.account, name: f.name, on: f.set != 0}
	case tagFlags:
		return &flagsOp{mailbox: f.mailbox, modSeq: f.modSeq, uids: f.uids, clear: f.clear, set: f.set, keywords: f.keywords}
	case tagExpunge:
		return &expungeOp{mailbox: f.mailbox, modSeq: f.modSeq, uids: f.uids, at: f.at}
	case tagFile:
		for i := range f.entries {
			f.entries[i].ModSeq = f.modSeq
		}
		return &fileOp{account: f.account, mailbox: f.mailbox, modSeq: f.modSeq, keywords: f.keywords, entries: f.entries}
	case tagStateMailbox:
		if f.state == 2 {
			return &mailboxState{account: f.account, mailbox: f.mailbox, gone: true, at: f.at}
		}
		return &mailboxState{account: f.account, mailbox: f.mailbox, name: f.name, use: f.use,
			uidValidity: f.uidValidity, uidNext: f.uidNext, modSeq: f.modSeq, keywords: f.keywords}
	case tagStateEntries:
		return &entriesState{account: f.account, mailbox: f.mailbox, gone: f.uids, at: f.at, entries: f.entries}
	case tagStateFloors:
		return &floorsState{nextID: f.nextID, uidValidity: f.uidValidity}
	}
	return nil
}

// decodeFields reads the fields of one operation; unknown ones are passed over.
func decodeFields(b []byte, modSeqs bool) (f fields, err error) {
	err = journal.ParseFields(b, func(field uint64, v []byte) (err error) {
		switch field {
		case fieldAccount:
			f.account, err = number[account.ID](v)
		case fieldMailbox:
			f.mailbox, err = number[ID](v)
		case fieldUID:
			f.uid, err = number[UID](v)
		case fieldModSeq:
			f.modSeq, err = number[ModSeq](v)
		case fieldFlags:
			f.flags, err = number[Flags](v)
		case fieldRcpt:
			f.rcpt = string(v)
		case fieldKeyword:
			if len(v) < 2 || v[0] < firstKeyword || v[0] > lastKeyword {
				return errPacked
			}
			f.keywords = append(f.keywords, keyword{v[0], string(v[1:])})
		case fieldName:
			f.name = string(v)
		case fieldUse:
			f.use = string(v)
		case fieldUIDs:
			f.uids, err = unpackUIDs(v)
		case fieldEntries:
			f.entries, err = unpackEntries(v, modSeqs)
		default:
			err = f.numbers(field, v)
		}
		return err
	})
	return f, err
}

// numbers reads the rarer numeric fields.
func (f *fields) numbers(field uint64, v []byte) (err error) {
	switch field {
	case fieldUIDValidity:
		f.uidValidity, err = number[uint32](v)
	case fieldClear:
		f.clear, err = number[Flags](v)
	case fieldSet:
		f.set, err = number[Flags](v)
	case fieldAt:
		f.at, err = number[int64](v)
	case fieldUIDNext:
		f.uidNext, err = number[UID](v)
	case fieldState:
		f.state, err = number[uint8](v)
	case fieldNextID:
		f.nextID, err = number[ID](v)
	}
	return err
}

// number reads a number and refuses one that does not fit.
func number[T ~uint8 | ~uint32 | ~uint64 | ~int64](v []byte) (T, error) {
	n, ok := journal.Uint(v)
	if !ok || uint64(T(n)) != n {
		return 0, errPacked
	}
	return T(n), nil
}
