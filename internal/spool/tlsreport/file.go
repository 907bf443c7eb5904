package tlsreport

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

const (
	fileVersion = 1
	// fileOctetsMax of what is read; the bounds of what is counted make some
	// 20 MB of ordinary domains.
	fileOctetsMax = 256 << 20
)

var errFile = errors.New("not a file of TLS reports")

// fileOfTally is the file of what was counted, one JSON object.
type fileOfTally struct {
	Version int             `json:"version"`
	Pending []fileOfAccount `json:"pending"`
	Sent    []Sent          `json:"sent"`
}

type fileOfAccount struct {
	Date   string         `json:"date"`
	Domain message.Domain `json:"domain"`
	account
}

// load reads the file, or sets it aside.
func (rs *Reports) load() {
	if rs.o.Path == "" {
		return
	}
	_, err := snapshot(rs.o.FS, rs.o.Path).Load(func(b []byte) error {
		t, err := decodeTally(b)
		if err == nil {
			rs.tally = t
		}
		return err
	})
	if err != nil {
		rs.o.Log.Error("a file of TLS reports cannot be used and begins anew", telemetry.Err, err)
	}
}

func decodeTally(b []byte) (tally, error) {
	var all fileOfTally
	if err := json.Unmarshal(b, &all); err != nil {
		return tally{}, fmt.Errorf("%w: %w", errFile, err)
	}
	if all.Version != fileVersion {
		return tally{}, fmt.Errorf("%w: version %d", errFile, all.Version)
	}
	t := tally{domains: make(map[key]*account), sent: all.Sent[max(0, len(all.Sent)-sentMax):]}
	for _, f := range all.Pending[:min(len(all.Pending), domainsMax)] {
		_, bad := time.Parse(time.DateOnly, f.Date)
		domain, err := message.ParseDomain(string(f.Domain))
		if bad != nil || err != nil || len(f.Policies) > policiesMax {
			return tally{}, fmt.Errorf("%w: day %.20q, domain %.80q", errFile, f.Date, string(f.Domain))
		}
		t.forget(key{f.Date, domain})
		t.domains[key{f.Date, domain}] = &f.account
		t.octets += f.account.size()
	}
	return t, nil
}

// copy is what is written; making text of it takes a while, for which nobody
// has to wait.
func (t *tally) copy() fileOfTally {
	all := fileOfTally{Version: fileVersion, Pending: make([]fileOfAccount, 0, len(t.domains)), Sent: slices.Clone(t.sent)}
	for k, a := range t.domains {
		all.Pending = append(all.Pending, fileOfAccount{k.date, k.domain, a.copy()})
	}
	return all
}

func (all *fileOfTally) encode() ([]byte, error) {
	slices.SortFunc(all.Pending, func(a, b fileOfAccount) int {
		return strings.Compare(a.Date+" "+string(a.Domain), b.Date+" "+string(b.Domain))
	})
	return json.Marshal(all)
}

// save writes the file if anything changed since it was last written.
func (rs *Reports) save() error {
	if rs.o.Path == "" {
		return nil
	}
	rs.writing.Lock()
	defer rs.writing.Unlock()
	rs.mu.Lock()
	if !rs.tally.dirty {
		rs.mu.Unlock()
		return nil
	}
	rs.tally.dirty = false
	all, sent := rs.tally.copy(), rs.unsaved
	rs.mu.Unlock()
	b, err := all.encode()
	if err == nil {
		err = snapshot(rs.o.FS, rs.o.Path).Replace(b)
	}
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if err != nil {
		rs.tally.dirty = true
		return err
	}
	rs.unsaved -= sent
	rs.saveAt = rs.o.Clock.Now().Add(time.Duration(len(b)/saveOctetsASecond) * time.Second)
	return nil
}

func snapshot(fs sys.FS, path string) sys.Snapshot {
	return sys.Snapshot{FS: fs, Path: path, OctetsMax: fileOctetsMax}
}
