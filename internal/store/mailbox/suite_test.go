package mailbox_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/breakwater-mail/breakwater/internal/base/sim"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox/mailboxtest"
)

// suiteChecks is how many sequences of operations the suite plays unless
// -rapid.checks says otherwise: what a few seconds allow.
const suiteChecks = "20"

func TestMain(m *testing.M) {
	flag.Parse()
	asked := false
	flag.Visit(func(f *flag.Flag) { asked = asked || f.Name == "rapid.checks" })
	if !asked {
		if err := flag.Set("rapid.checks", suiteChecks); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

func TestSQLite(t *testing.T) {
	mailboxtest.RunSuite(t, func(rt *rapid.T) mailboxtest.Subject {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		w := &world{
			disk: sim.NewDisk(1), path: filepath.Join(dir, "index.db"), clock: sim.NewClock(time.Unix(1.7e9, 0)),
			segment: rapid.SampledFrom([]int64{8 << 10, 64 << 10, 1 << 20}).Draw(rt, "segment size"),
			options: mailbox.Options{Retention: rapid.SampledFrom([]time.Duration{-1, 36 * time.Hour}).Draw(rt, "retention")},
		}
		if err := w.open(); err != nil {
			rt.Fatal(err)
		}
		rt.Cleanup(func() {
			if err := w.close(); err != nil {
				rt.Error(err)
			}
			os.RemoveAll(dir)
		})
		return w
	})
}
