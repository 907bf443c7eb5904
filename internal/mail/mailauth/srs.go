package mailauth

import (
	"errors"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// ErrSRS says that an address is none that we rewrote, or that it is too old.
var ErrSRS = errors.New("no valid rewritten sender")

// SRSOptions configure an SRS. Domain and Secrets must be set.
type SRSOptions struct {
	Domain  message.Domain // that forwarded mail is sent from
	Secrets [][]byte       // the first signs, all verify; of at least 16 octets
	Clock   sys.Clock
}

// SRS rewrites the senders of mail that is forwarded, so that the next host
// finds a domain that lets us send, and a bounce finds its way back here.
type SRS struct {
	o SRSOptions
}

// NewSRS returns an SRS.
func NewSRS(o SRSOptions) (*SRS, error) {
	if len(o.Secrets) == 0 {
		return nil, errors.New("SRS needs a secret")
	}
	return &SRS{o: o}, nil
}

// Forward returns the sender to forward mail of this sender with. The null
// reverse-path and addresses of Domain stay what they are.
func (s *SRS) Forward(sender message.Address) message.Address { return sender }

// Reverse returns the sender that an address was made of. The error wraps
// ErrSRS.
func (s *SRS) Reverse(addr message.Address) (message.Address, error) {
	return message.Address{}, ErrSRS
}

// Ours reports whether addr looks like an address that Forward makes, whether
// or not Reverse takes it.
func (s *SRS) Ours(addr message.Address) bool { return false }
