package tlspolicy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
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
	// fileOctetsMax is more than all that is remembered takes.
	fileOctetsMax = 64 << 20
)

var errFile = errors.New("not a file of MTA-STS policies")

// The file is one JSON object. Policies are in it as their lines, so that they
// are read by the same rules as those that are fetched.
type fileOfAll struct {
	Version  int           `json:"version"`
	Policies []fileOfEntry `json:"policies"`
}

type fileOfEntry struct {
	Domain  message.Domain `json:"domain"`
	ID      string         `json:"id"`
	Fetched time.Time      `json:"fetched"`
	Used    time.Time      `json:"used"`
	Policy  []string       `json:"policy"`
}

// load reads the file, or sets it aside.
func (p *Policies) load() {
	if p.o.Path == "" {
		return
	}
	b, err := readFile(p.o.FS, p.o.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var entries []*entry
	if err == nil {
		entries, err = decodeFile(b, p.o.Clock.Now())
	}
	if err != nil {
		aside := p.o.Path + ".aside"
		p.o.Log.Error("the MTA-STS policies that were remembered cannot be used",
			telemetry.Path, p.o.Path, telemetry.Reason, "they are kept as "+path.Base(aside), telemetry.Err, err)
		if err := p.o.FS.Rename(p.o.Path, aside); err != nil {
			p.o.Log.Warn("set MTA-STS policies aside", telemetry.Path, aside, telemetry.Err, err)
		}
		return
	}
	for _, e := range entries {
		p.cache.put(e)
	}
	p.cache.dirty = false
	p.o.Metrics.kept.Set(float64(len(p.cache.entries)))
}

// decodeFile reads what encodeFile made. Times in the future are not believed:
// the clock was wrong then or is now.
func decodeFile(b []byte, now time.Time) ([]*entry, error) {
	var all fileOfAll
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, fmt.Errorf("%w: %w", errFile, err)
	}
	if all.Version != fileVersion {
		return nil, fmt.Errorf("%w: version %d", errFile, all.Version)
	}
	var out []*entry
	for _, f := range all.Policies[:min(len(all.Policies), entriesMax)] {
		domain, err := message.ParseDomain(string(f.Domain))
		if err != nil || !isID(f.ID) {
			return nil, fmt.Errorf("%w: domain %.80q, id %.40q", errFile, string(f.Domain), f.ID)
		}
		policy, err := ParsePolicy([]byte(strings.Join(f.Policy, "\n")))
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", errFile, domain, err)
		}
		e := &entry{domain: domain, id: f.ID, policy: policy, fetched: earlier(f.Fetched, now), used: earlier(f.Used, now)}
		if now.Before(e.expires()) {
			out = append(out, e)
		}
	}
	return out, nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func encodeFile(entries []*entry) ([]byte, error) {
	all := fileOfAll{Version: fileVersion, Policies: make([]fileOfEntry, 0, len(entries))}
	for _, e := range entries {
		all.Policies = append(all.Policies, fileOfEntry{e.domain, e.id, e.fetched.UTC(), e.used.UTC(), e.policy.Lines()})
	}
	return json.Marshal(all)
}

// save writes the file if anything changed since it was last written.
func (p *Policies) save() error {
	if p.o.Path == "" {
		return nil
	}
	p.writing.Lock()
	defer p.writing.Unlock()
	p.mu.Lock()
	dirty := p.cache.dirty
	p.cache.dirty = false
	var entries []*entry
	for _, e := range p.cache.entries {
		if dirty {
			same := *e // whose used may change meanwhile
			entries = append(entries, &same)
		}
	}
	p.mu.Unlock()
	if !dirty {
		return nil
	}
	slices.SortFunc(entries, func(a, b *entry) int { return strings.Compare(string(a.domain), string(b.domain)) })
	b, err := encodeFile(entries)
	if err == nil {
		err = writeFile(p.o.FS, p.o.Path, b)
	}
	if err != nil {
		p.mu.Lock()
		p.cache.dirty = true
		p.mu.Unlock()
		return fmt.Errorf("write %s: %w", path.Base(p.o.Path), err)
	}
	return nil
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
