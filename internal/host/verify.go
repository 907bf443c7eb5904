package host

import (
	"context"
	"fmt"

	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// VerifyOptions say what Verify does beyond looking.
type VerifyOptions struct {
	Repair bool // make the index anew if it disagrees with the journal
}

// Damage is one thing that is not what it should be.
type Damage struct {
	What    string `json:"what"`
	Message string `json:"message,omitempty"` // mailbox and UID, where known
	Owner   string `json:"owner,omitempty"`
	Where   string `json:"where"` // segment and offset
}

// Report is what Verify found.
type Report struct {
	Segments int      `json:"segments"`
	Bytes    int64    `json:"bytes"`
	Damage   []Damage `json:"damage"`
}

// Verify reads every byte of the journal and compares the index with it.
func Verify(ctx context.Context, c Config, o VerifyOptions) (Report, error) {
	r := Report{Damage: []Damage{}}
	s, err := OpenStore(ctx, c, StoreOptions{})
	if err != nil {
		return r, err
	}
	defer s.Close()
	for _, seg := range s.Journal.Segments() {
		r.Segments++
		r.Bytes += seg.Size
	}
	err = s.Journal.Verify(ctx, func(f journal.Finding) {
		r.Damage = append(r.Damage, Damage{What: f.What, Where: fmt.Sprintf("segment %s at %d", f.Segment, f.Offset)})
	})
	return r, err
}
