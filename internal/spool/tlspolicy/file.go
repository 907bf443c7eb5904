package tlspolicy

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

func (p *Policies) file() sys.Snapshot {
	return sys.Snapshot{FS: p.o.FS, Path: p.o.Path, OctetsMax: fileOctetsMax}
}

// load reads the file, or sets it aside.
func (p *Policies) load() {
	if p.o.Path == "" {
		return
	}
	_, err := p.file().Load(func(b []byte) error {
		entries, err := decodeFile(b, p.o.Clock.Now())
		for _, e := range entries {
			p.cache.put(e)
		}
		return err
	})
	if err != nil {
		p.o.Log.Error("the MTA-STS policies that were remembered cannot be used", telemetry.Err, err)
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
		err = p.file().Replace(b)
	}
	if err != nil {
		p.mu.Lock()
		p.cache.dirty = true
		p.mu.Unlock()
	}
	return err
}
