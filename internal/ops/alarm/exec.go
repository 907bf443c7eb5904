package alarm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

const (
	execOutputMax    = 2 << 10         // octets kept of what a program writes, for the log
	execPipesMax     = 2 * time.Second // for what a program has started to let go of its output
	execErrorsMax    = 300             // octets of its output in an error: a line of the log
	execArgumentsMax = 100             // arguments, far more than anybody configures
)

// program starts a program for each notice. There is no shell.
type program struct {
	path string
	args []string
}

func newProgram(argv []string) (*program, error) {
	if len(argv) > execArgumentsMax {
		return nil, fmt.Errorf("exec: more than %d arguments", execArgumentsMax)
	}
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return nil, fmt.Errorf("exec: %w", err)
	}
	return &program{path, argv[1:]}, nil
}

func (p *program) Name() string { return "exec" }

// Send implements Sink: the program has taken the notice if it ends with 0.
func (p *program) Send(ctx context.Context, n Notice) error {
	body, err := json.Marshal(n)
	if err != nil {
		return fmt.Errorf("%w: encode notice: %w", ErrRefused, err)
	}
	var said head
	c := exec.CommandContext(ctx, p.path, p.args...)
	c.Stdin = bytes.NewReader(append(body, '\n'))
	c.Stdout, c.Stderr = &said, &said
	c.Env = environment(n)
	c.WaitDelay = execPipesMax
	// What it has started ends with it.
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	err = c.Run()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil // it has ended well, and left something running
	}
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("not done in time: %w", ctx.Err())
	}
	if text := said.String(); err != nil && text != "" {
		err = fmt.Errorf("%w: %s", err, text)
	}
	return err
}

// environment is what a program gets: nothing of ours but what it needs to
// find others, since secrets are handed to hosts in their environment.
func environment(n Notice) []string {
	env := []string{"BREAKWATER_EVENT=" + n.Event, "BREAKWATER_KEY=" + n.Key, "BREAKWATER_SEVERITY=" + n.Severity.String()}
	for _, name := range []string{"PATH", "HOME", "LANG", "TZ"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// head takes any amount of output and keeps the beginning. Package exec writes
// to it from one goroutine, as stdout and stderr are the same.
type head struct{ b []byte }

func (h *head) Write(p []byte) (int, error) {
	h.b = append(h.b, p[:min(len(p), execOutputMax-len(h.b))]...)
	return len(p), nil
}

// String is one line, fit for a log.
func (h *head) String() string {
	return cut(strings.Join(strings.Fields(plain(string(h.b))), " "), execErrorsMax)
}
