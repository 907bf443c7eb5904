package account

import (
	"slices"
	"strings"

	"golang.org/x/text/unicode/norm"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// directory is all that recipient checks need, in memory: about 350 bytes an
// account. Credentials are not in it. Whoever holds it holds Store.mu.
type directory struct {
	domains  map[message.Domain]int64 // created, in seconds
	accounts map[ID]*entry
	names    map[string]*entry // by key
	aliases  map[string]*Alias // by key; a catch-all's is "@domain"
	admins   map[ID]*entry
	secret   []byte
	next     ID
	versions uint64 // the last version given to an entry; never falls
}

// entry is an account in the directory.
type entry struct {
	Account
	key     string
	forward Forward
	grants  []message.Address // sorted; without local part: the whole domain. Never changed in place
	apps    []AppPassword     // by name. Never changed in place
	// version names the state of the credentials within this process: it is
	// new with each change, and what was checked under another one counts
	// no more.
	version uint64
	// epoch is new when a password ceases to let in: whoever logged in under
	// another one has to do so again.
	epoch uint64
}

func newDirectory() *directory {
	return &directory{
		domains:  map[message.Domain]int64{},
		accounts: map[ID]*entry{},
		names:    map[string]*entry{},
		aliases:  map[string]*Alias{},
		admins:   map[ID]*entry{},
		next:     1,
	}
}

// keyOf is the form in which addresses are compared and indexed.
func keyOf(a message.Address) string {
	return string(appendKey(nil, a.Local, a.Domain))
}

// appendKey appends the key of local@domain to dst; for ASCII it allocates
// nothing else.
func appendKey(dst []byte, local string, domain message.Domain) []byte {
	at := len(dst)
	for i := 0; i < len(local); i++ {
		c := local[i]
		if c >= 0x80 {
			dst = append(dst[:at], fold(local)...)
			break
		}
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	dst = append(dst, '@')
	return append(dst, domain...)
}

// fold is NFC and lower case, until neither changes anything.
func fold(s string) string {
	return norm.NFC.String(strings.ToLower(norm.NFC.String(s)))
}

// apply brings a change into the directory. It mirrors applyChange, which
// does the same to the tables.
func (d *directory) apply(c change) {
	switch c.op {
	case opReset:
		next, versions := d.next, d.versions
		*d = *newDirectory()
		d.next, d.versions = next, versions
	case opSecret:
		d.secret = c.secret
	case opNextID:
		d.next = max(d.next, c.id)
	case opDomain:
		d.domains[c.domain] = c.created
	case opDomainRemoved:
		delete(d.domains, c.domain)
	case opAccount:
		d.putAccount(c.account())
	case opAccountRemoved:
		d.removeAccount(c.id)
	case opCredentials:
		if e := d.accounts[c.id]; e != nil {
			e.version = d.newVersion()
			if !c.renewed {
				e.epoch = e.version
			}
		}
	case opSettings:
		if e := d.accounts[c.id]; e != nil {
			e.set(c.settings)
			d.noteAdmin(e)
		}
	case opAlias:
		d.aliases[keyOf(c.name())] = &Alias{Address: c.name(), Targets: c.targets}
	case opAliasRemoved:
		delete(d.aliases, keyOf(c.name()))
	default:
		if e := d.accounts[c.id]; e != nil {
			d.applyExtra(e, c)
		}
	}
}

// applyExtra brings in what an account may have besides its row.
func (d *directory) applyExtra(e *entry, c change) {
	switch c.op {
	case opHold:
		e.Hold = Hold{Since: c.at(), Reason: c.reason}
	case opHoldEnded:
		e.Hold = Hold{}
	case opForward:
		e.forward = Forward{Targets: c.targets, NoCopy: c.noCopy}
	case opGrant:
		e.grants = without(e.grants, func(g message.Address) bool { return keyOf(g) == keyOf(c.name()) })
		e.grants = append(e.grants, c.name())
		slices.SortFunc(e.grants, compareAddresses)
	case opGrantRevoked:
		e.grants = without(e.grants, func(g message.Address) bool { return keyOf(g) == keyOf(c.name()) })
	case opAppPassword:
		e.apps = without(e.apps, func(a AppPassword) bool { return a.Name == c.label })
		e.apps = append(e.apps, c.appPassword())
		slices.SortFunc(e.apps, func(a, b AppPassword) int { return strings.Compare(a.Name, b.Name) })
		e.version = d.newVersion()
	case opAppRemoved:
		e.apps = without(e.apps, func(a AppPassword) bool { return c.label == "" || a.Name == c.label })
		e.version = d.newVersion()
		e.epoch = e.version
	case opAppUsed:
		e.apps = slices.Clone(e.apps)
		for i := range e.apps {
			if e.apps[i].Name == c.label {
				e.apps[i].Used = c.at()
			}
		}
	}
}

// without returns a copy of list that lacks some.
func without[T any](list []T, gone func(T) bool) []T {
	return slices.DeleteFunc(slices.Clone(list), gone)
}

func (d *directory) putAccount(a Account) {
	d.removeAccount(a.ID)
	key := keyOf(a.Address)
	if old := d.names[key]; old != nil { // its removal was lost with a damaged record
		d.removeAccount(old.ID)
	}
	if _, ok := d.domains[a.Address.Domain]; !ok { // so was the domain's addition
		d.domains[a.Address.Domain] = a.Created.Unix()
	}
	e := &entry{Account: a, key: key, version: d.newVersion()}
	e.epoch = e.version
	d.accounts[a.ID], d.names[key] = e, e
	d.noteAdmin(e)
	d.next = max(d.next, a.ID+1)
}

func (d *directory) newVersion() uint64 {
	d.versions++
	return d.versions
}

func (d *directory) removeAccount(id ID) {
	e := d.accounts[id]
	if e == nil {
		return
	}
	delete(d.accounts, id)
	delete(d.admins, id)
	if d.names[e.key] == e {
		delete(d.names, e.key)
	}
}

func (d *directory) noteAdmin(e *entry) {
	if e.Admin {
		d.admins[e.ID] = e
	} else {
		delete(d.admins, e.ID)
	}
}

// inUse tells whether any account, alias, or target of an alias or a forward
// needs the domain.
func (d *directory) inUse(domain message.Domain) bool {
	for _, e := range d.accounts {
		if e.Address.Domain == domain || leadsTo(e.forward.Targets, domain) {
			return true
		}
	}
	for _, a := range d.aliases {
		if a.Address.Domain == domain || leadsTo(a.Targets, domain) {
			return true
		}
	}
	return false
}

func leadsTo(targets []message.Address, domain message.Domain) bool {
	return slices.ContainsFunc(targets, func(t message.Address) bool { return t.Domain == domain })
}
