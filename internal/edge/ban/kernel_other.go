//go:build !linux

package ban

import "errors"

var errNotLinux = errors.New("only Linux drops the packets of banned sources for us")

func newKernel(Options) (kernel, error) { return nil, errNotLinux }

func explain(err error) string { return err.Error() }
