package proc

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestTree_FindsGrandchildren(t *testing.T) {
	cmd := exec.Command("sh", "-c", "sleep 60 & wait")
	c, err := Start("sh", filepath.Join(t.TempDir(), "log"), cmd)
	if err != nil {
		t.Fatal(err)
	}
	defer c.killTree()
	deadline := time.Now().Add(10 * time.Second)
	for len(Tree(c.Pid())) < 2 {
		if time.Now().After(deadline) {
			t.Fatalf("no grandchild of %d", c.Pid())
		}
	}
	tree := Tree(os.Getpid())
	for _, pid := range Tree(c.Pid()) {
		if !slices.Contains(tree, pid) {
			t.Errorf("%d is not in our tree %v", pid, tree)
		}
	}
	if PSS(c.Pid()) <= 0 {
		t.Error("a living tree has no memory")
	}
}

func TestCPU_CountsDeadChildren(t *testing.T) {
	before := CPU(os.Getpid())
	if err := exec.Command("sh", "-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done").Run(); err != nil {
		t.Fatal(err)
	}
	if used := CPU(os.Getpid()) - before; used < 20*time.Millisecond {
		t.Errorf("a child that counted to 200,000 used %s", used)
	}
}

func TestStop_KillsWhatDoesNotStop(t *testing.T) {
	c, err := Start("deaf", filepath.Join(t.TempDir(), "log"), exec.Command("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done"))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Stop(50 * time.Millisecond); err == nil {
		// The signal may have come before the trap: then it ended, which is fine.
		t.Log("ended by SIGTERM before it could ignore it")
	}
	select {
	case <-c.Done():
	default:
		t.Error("still running after Stop")
	}
}
