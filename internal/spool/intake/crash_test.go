package intake

import (
	"fmt"
	"testing"

	"github.com/breakwater-mail/breakwater/internal/base/sim"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
)

// crashing runs act with the power cut at every call to the disk that it makes,
// in every mode. name is another one each time; check looks at what is there
// after the restart, with what act has answered.
func crashing(t *testing.T, r *room, act func(name string) error, check func(name string, answered error)) {
	t.Helper()
	for _, mode := range []sim.Mode{sim.Lose, sim.Tear, sim.Keep} {
		crashes := 0
		for at := 1; ; at++ {
			name := fmt.Sprintf("mode-%d-call-%d", mode, at)
			r.disk.CrashAt(at)
			err := act(name)
			crashed := r.disk.Crashed()
			if err != nil && !crashed {
				t.Fatalf("%s: %v", name, err)
			}
			r.stop() // its errors are those of the crash
			r.disk.Crash(mode)
			r.start()
			check(name, err)
			if !crashed {
				break
			}
			crashes++
		}
		if crashes < 2 { // a write and a sync at least
			t.Errorf("mode %d: only %d crashes", mode, crashes)
		}
	}
}

// whole is a message that leaves as it is written.
func whole(name string) string {
	return fromOne + "Date: d\r\nMessage-ID: <" + name + "@x>\r\n\r\n" + name + "\r\n"
}

// traced returns the message of this name, nil if there is none.
func (r *room) traced(name string) (found *fate.Message) {
	r.t.Helper()
	err := r.fates.Trace(r.t.Context(), fate.Find{MessageID: "<" + name + "@x>"}, func(m *fate.Message) error {
		if found != nil {
			r.t.Errorf("%s is there twice", name)
		}
		found = m
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return found
}

// TestCommit_mixedAtEveryCrash: the copies of those who are here, and the
// fates of all, are there together or not at all (I1, I2, I3, I7).
func TestCommit_mixedAtEveryCrash(t *testing.T) {
	r, _ := newOutgoing(t, Options{Submission: true}, "one", "two")
	must(t, r.accounts.AddAlias(t.Context(), addr(t, "list@demo.test"), parse(t, "two@demo.test", "c@d.example")...))
	if err := r.deliver(r.from("one", "one@demo.test", "two@demo.test"), whole("first")); err != nil {
		t.Fatal(err)
	}
	crashing(t, r, func(name string) error {
		return r.deliver(r.from("one", "a@b.example", "one@demo.test", "list@demo.test"), whole(name))
	}, func(name string, answered error) {
		one, two, m := r.count("one", whole(name)), r.count("two", whole(name)), r.traced(name)
		if one > 1 || one != two || (m != nil) != (one == 1) || answered == nil && one != 1 {
			t.Errorf("%s: answered %v; one has it %d times, two %d times, fate %v", name, answered, one, two, m != nil)
		}
		if m != nil && fateOf(m) != "a@b.example queued; one@demo.test delivered; two@demo.test delivered for list@demo.test; c@d.example queued for list@demo.test" {
			t.Errorf("%s: fate %s", name, fateOf(m))
		}
	})
	if n := r.count("one", whole("first")); n != 1 || r.traced("first") == nil {
		t.Errorf("the message before is there %d times", n)
	}
}

// TestPost_atEveryCrash: a bounce and the message that tells of it are one
// fact.
func TestPost_atEveryCrash(t *testing.T) {
	r, _ := newOutgoing(t, Options{Submission: true}, "one")
	if err := r.deliver(r.from("one", "one@demo.test"), whole("first")); err != nil {
		t.Fatal(err)
	}
	m := r.queued()
	crashing(t, r, func(name string) error {
		_, err := r.Post(t.Context(), Post{To: parse(t, "one@demo.test"), Body: []byte(whole(name)), Changes: bounce(m)})
		return err
	}, func(name string, answered error) {
		told := r.traced(name)
		now, err := r.fates.ByID(t.Context(), m.ID)
		if err != nil {
			t.Fatal(err)
		}
		bounced := now.Recipients[0].State == fate.Bounced
		if bounced != (told != nil) || r.count("one", whole(name)) == 1 != bounced || answered == nil && !bounced {
			t.Errorf("%s: answered %v; bounced %v, told %v", name, answered, bounced, told != nil)
		}
		if bounced {
			m = r.queued()
		}
	})
}
