package intake

import (
	"context"
	"errors"
)

func (i *Intake) post(context.Context, Post) (string, error) {
	return "", errors.New("post: the journal does not take fate facts yet")
}
