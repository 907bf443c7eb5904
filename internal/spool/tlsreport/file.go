package tlsreport

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path"
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
	loadFile(rs.o.FS, rs.o.Path, rs.o.Log, func(b []byte) (err error) {
		rs.tally, err = decodeTally(b)
		return err
	})
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
		t.domains[key{f.Date, domain}] = &f.account
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
	all := rs.tally.copy()
	rs.mu.Unlock()
	b, err := all.encode()
	if err == nil {
		err = writeFile(rs.o.FS, rs.o.Path, b)
	}
	if err != nil {
		rs.mu.Lock()
		rs.tally.dirty = true
		rs.mu.Unlock()
		return fmt.Errorf("write %s: %w", path.Base(rs.o.Path), err)
	}
	return nil
}

// loadFile hands a file's octets over, and sets it aside if they are of no use.
func loadFile(fsys sys.FS, name string, log *slog.Logger, use func([]byte) error) {
	b, err := readFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		err = use(b)
	}
	if err == nil {
		return
	}
	aside := name + ".aside"
	log.Error("a file of TLS reports cannot be used and begins anew",
		telemetry.Path, name, telemetry.Reason, "it is kept as "+path.Base(aside), telemetry.Err, err)
	if err := fsys.Rename(name, aside); err != nil {
		log.Warn("set a file of TLS reports aside", telemetry.Path, aside, telemetry.Err, err)
	}
}

// readFile returns a file's octets; the error wraps fs.ErrNotExist if there is
// none.
func readFile(fsys sys.FS, name string) (_ []byte, err error) {
	h, err := fsys.Open(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	size, err := h.Size()
	if err != nil {
		return nil, err
	}
	if size > fileOctetsMax {
		return nil, fmt.Errorf("%w: %d octets are too many", errFile, size)
	}
	b := make([]byte, size)
	if n, err := h.ReadAt(b, 0); n < len(b) {
		return nil, err
	}
	return b, nil
}

// writeFile replaces a file, whole or not at all, durably.
func writeFile(fsys sys.FS, name string, b []byte) error {
	fresh := name + ".new"
	h, err := fsys.Open(fresh, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = h.WriteAt(b, 0)
	if err == nil {
		err = h.Sync()
	}
	if err = errors.Join(err, h.Close()); err != nil {
		return err
	}
	if err := fsys.Rename(fresh, name); err != nil {
		return err
	}
	return fsys.SyncDir(path.Dir(name))
}
