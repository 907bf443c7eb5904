package account

import (
	"strings"

	"golang.org/x/text/unicode/norm"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// directory is all that recipient checks need, in memory: about 250 bytes an
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
	key string
	// version names the state of the credentials within this process: it is
	// new with each change, and what was checked under another one counts
	// no more.
	version uint64
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
		}
	case opSettings:
		if e := d.accounts[c.id]; e != nil {
			e.Admin, e.Disabled, e.QuotaBytes = c.settings.Admin, c.settings.Disabled, c.settings.QuotaBytes
			d.noteAdmin(e)
		}
	case opAlias:
		d.aliases[keyOf(c.name())] = &Alias{Address: c.name(), Targets: c.targets}
	case opAliasRemoved:
		delete(d.aliases, keyOf(c.name()))
	}
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

// inUse tells whether any account, alias or alias target needs the domain.
func (d *directory) inUse(domain message.Domain) bool {
	for _, e := range d.accounts {
		if e.Address.Domain == domain {
			return true
		}
	}
	for _, a := range d.aliases {
		if a.Address.Domain == domain {
			return true
		}
		for _, t := range a.Targets {
			if t.Domain == domain {
				return true
			}
		}
	}
	return false
}
