package proc

import (
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// Child is a process that we started, in a process group of its own.
type Child struct {
	Name string
	cmd  *exec.Cmd
	done chan struct{}
	mu   sync.Mutex
	err  error // of Wait; guarded by mu, set before done is closed
}

// Start runs cmd with its output appended to the file logName. The process is
// killed when the thread that started it ends with us.
func Start(name, logName string, cmd *exec.Cmd) (*Child, error) {
	log, err := os.OpenFile(logName, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	c := &Child{Name: name, cmd: cmd, done: make(chan struct{})}
	go func() {
		err := cmd.Wait()
		c.mu.Lock()
		c.err = err
		c.mu.Unlock()
		close(c.done)
	}()
	return c, nil
}

// Pid gives the process id.
func (c *Child) Pid() int { return c.cmd.Process.Pid }

// Done is closed when the process has ended.
func (c *Child) Done() <-chan struct{} { return c.done }

// Kill sends SIGKILL to the process alone and waits for its end.
func (c *Child) Kill() {
	c.cmd.Process.Kill()
	<-c.done
}

// Stop asks with SIGTERM, kills after wait, and gives the error of the process.
func (c *Child) Stop(wait time.Duration) error {
	c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.done:
	case <-time.After(wait):
		c.killTree()
		<-c.done
		return fmt.Errorf("%s did not stop within %s", c.Name, wait)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if state := c.cmd.ProcessState.Sys().(syscall.WaitStatus); state.Signaled() && state.Signal() == syscall.SIGTERM {
		return nil // it let the signal end it: what we asked for
	}
	return c.err
}

// killTree ends the process and what descends from it.
func (c *Child) killTree() {
	for _, pid := range Tree(c.Pid()) {
		syscall.Kill(pid, syscall.SIGKILL)
	}
}
