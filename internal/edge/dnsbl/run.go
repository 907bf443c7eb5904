package dnsbl

import (
	"context"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
)

// runGap is how often Run looks whether a zone is to be tested.
const runGap = 5 * time.Second

// Run tests the lists until ctx ends: those that are ignored again and again
// until they are well, the others now and then. Without it they are tested
// when they are asked.
func (c *Checker) Run(ctx context.Context) error {
	var proven time.Time
	for {
		now := c.o.Clock.Now()
		var t todo
		c.mu.Lock()
		for _, z := range c.zones {
			if z.state != OK {
				c.retest(z, now, &t)
			} else if began := z.tests[v4].began; began.IsZero() || now.Sub(began) >= testEvery {
				c.startTest(z, v4, now, &t)
				c.startTest(z, v6, now, &t)
			}
		}
		c.mu.Unlock()
		c.do(&t)
		if proven.IsZero() || now.Sub(proven) >= testEvery {
			proven = now
			c.prove()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-c.o.Clock.After(runGap):
		}
	}
}

// prove asks whether the zones list what each list has (RFC 5782 §5). One that
// does not is not ignored, since that does no harm; it is of no use either.
func (c *Checker) prove() {
	for _, z := range c.zones {
		c.asker.Ask(dns.Question{Name: always4 + "." + z.name, Type: dns.A}, func(a dns.Answer) {
			if v, _, _ := z.judge(c.lists, &a); v != clear {
				c.proved(z, v)
				return
			}
			c.asker.Ask(dns.Question{Name: always6 + "." + z.name, Type: dns.A}, func(a dns.Answer) {
				v, _, _ := z.judge(c.lists, &a)
				c.proved(z, v)
			})
		})
	}
}

func (c *Checker) proved(z *zone, v verdict) {
	c.mu.Lock()
	before := z.unproven
	switch v {
	case clear:
		z.unproven = true
	case listed:
		z.unproven = false
	}
	changed := !before && z.unproven
	c.mu.Unlock()
	if changed {
		c.o.Log.Warn("DNS list has no test entry", telemetry.Domain, z.name, telemetry.Reason, "does not list 127.0.0.2")
	}
}
