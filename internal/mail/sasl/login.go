package sasl

import "context"

// login asks for the name and the password by two challenges. The texts are
// the ones that old clients insist on.
type login struct {
	backend Backend
	step    int // 0: nothing asked, 1: name asked, 2: password asked, 3: over
	user    string
	id      Identity
}

func (l *login) Identity() Identity { return l.id }

func (l *login) Next(ctx context.Context, response []byte) ([]byte, bool, error) {
	if len(response) > MaxResponse {
		l.step = 3
		return nil, false, malformed("response too long")
	}
	switch {
	case l.step == 0 && response == nil:
		l.step = 1
		return []byte("Username:"), false, nil
	case l.step <= 1: // an initial response is the name
		if err := checkText(response, MaxName); err != nil {
			l.step = 3
			return nil, false, err
		}
		l.user, l.step = string(response), 2
		return []byte("Password:"), false, nil
	case l.step == 2:
		l.step = 3
		if err := checkText(response, MaxPassword); err != nil {
			return nil, false, err
		}
		id, err := l.backend.Password(ctx, l.user, string(response))
		if err != nil {
			return nil, false, err
		}
		l.id = id
		return nil, true, nil
	}
	return nil, false, malformed("exchange is over")
}
