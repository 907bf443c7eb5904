package index

import (
	"fmt"
	"strconv"

	"zombiezen.com/go/sqlite"

	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// AppliedIn returns the LSN up to which the snapshot that conn shows has
// applied the journal: what a State record made from it is as of.
func AppliedIn(conn *sqlite.Conn) (journal.LSN, error) {
	text, err := fact(conn, "applied")
	if err != nil {
		return 0, fmt.Errorf("read applied LSN: %w", err)
	}
	lsn, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return 0, fmt.Errorf("read applied LSN: %w", err)
	}
	return journal.LSN(lsn), nil
}
