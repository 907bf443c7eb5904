package ban

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
)

const (
	// netlinkWait bounds the wait for one answer of the kernel, which may
	// be busy with another program's transaction of a million elements.
	netlinkWait = 10 * time.Second
	// sendOctetsMax is the socket's buffer: a transaction is one message to
	// it, and the largest, of all networks, has some 1.5 MB.
	sendOctetsMax = 4 << 20
	// slackParts: the kernel's set has room for a part more than the list,
	// since an element is put in to be sure that it can be taken out.
	slackParts = 64
)

// Names in the table.
const (
	chainHook = "prerouting"
	chainDrop = "banned"
	setPorts  = "ports"
	setV4     = "v4"
	setV6     = "v6"
	setHome   = "v6_64" // by the first half of the address
	setNet4   = "net4"
	setNet6   = "net6"
)

// nft is the kernel's packet filter. Its methods are called from Run and New
// alone.
type nft struct {
	o      Options
	clock  sys.Clock
	thread *thread
	table  *nftables.Table
	hook   *nftables.Chain
	drop   *nftables.Chain
	sets   []*nftables.Set
	rules  []uint64 // handles, as build found them
	still  bool     // the kernel cannot prolong by packets
	mine   int      // the socket that says that the table is ours; -1: none
}

// errTaken says that the table belongs to another process.
var errTaken = errors.New("another host on this machine uses the table; give one of them a table of its own")

// claim makes sure that no two hosts change one table back and forth. What
// says so is a name that, as the table, belongs to the network namespace, and
// ends with the process: that of an abstract socket.
func (k *nft) claim() error {
	if k.mine >= 0 {
		return nil
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("claim the table: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: "@breakwater/ban/" + k.o.Table}); err != nil {
		_ = unix.Close(fd)
		if errors.Is(err, unix.EADDRINUSE) {
			return errTaken
		}
		return fmt.Errorf("claim the table: %w", err)
	}
	k.mine = fd
	return nil
}

func newKernel(o Options) (kernel, error) {
	k := &nft{o: o, clock: o.Clock, thread: startThread(), mine: -1}
	k.table = &nftables.Table{Name: o.Table, Family: nftables.TableFamilyINet}
	accept := nftables.ChainPolicyAccept
	k.hook = &nftables.Chain{
		Table: k.table, Name: chainHook, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityRaw, Policy: &accept,
	}
	k.drop = &nftables.Chain{Table: k.table, Name: chainDrop}
	size := uint32(o.Max + o.Max/slackParts + batchMax)
	sources := func(id uint32, name string, key nftables.SetDatatype) *nftables.Set {
		return &nftables.Set{Table: k.table, ID: id, Name: name, KeyType: key, KeyByteOrder: binaryutil.BigEndian,
			Dynamic: true, HasTimeout: true, Timeout: o.Timeout, Size: size}
	}
	nets := func(id uint32, name string, key nftables.SetDatatype) *nftables.Set {
		return &nftables.Set{Table: k.table, ID: id, Name: name, KeyType: key, KeyByteOrder: binaryutil.BigEndian,
			Interval: true, HasTimeout: true}
	}
	k.sets = []*nftables.Set{
		sources(1, setV4, nftables.TypeIPAddr), sources(2, setV6, nftables.TypeIP6Addr), sources(3, setHome, nftables.TypeIP6Addr),
		nets(4, setNet4, nftables.TypeIPAddr), nets(5, setNet6, nftables.TypeIP6Addr),
		{Table: k.table, ID: 6, Name: setPorts, KeyType: nftables.TypeInetService, KeyByteOrder: binaryutil.BigEndian},
	}
	return k, nil
}

// sources are the sets of sources, in the order in which packets meet them;
// nets those of networks.
func (k *nft) sources() []*nftables.Set { return k.sets[:3] }
func (k *nft) nets() []*nftables.Set    { return k.sets[3:5] }
func (k *nft) ports() *nftables.Set     { return k.sets[5] }

// setOf names the set that a source belongs into.
func setOf(p netip.Prefix) string {
	switch {
	case p.Addr().Is4():
		return setV4
	case p.IsSingleIP():
		return setV6
	}
	return setHome
}

// bounded gives a socket of netlink its buffer and its end of patience.
type bounded interface {
	SetDeadline(time.Time) error
	SetWriteBuffer(int) error
}

// limited makes the option of a socket's limits, out of the library's function
// for options: that spares us to name the type of its sockets, which is from a
// module that we do not use otherwise.
func limited[C bounded, F ~func(C) error](option func(...F) nftables.ConnOption, end time.Time) nftables.ConnOption {
	return option(F(func(c C) error {
		_ = c.SetWriteBuffer(sendOctetsMax) // a smaller one will do for most
		return c.SetDeadline(end)
	}))
}

// conn gives a connection for what comes next: a socket each time, so that
// nothing that an error left unread can be taken for a later answer.
func (k *nft) conn() (*nftables.Conn, error) {
	return nftables.New(limited(nftables.WithSockOptions, k.clock.Now().Add(netlinkWait)))
}

func (k *nft) build(ctx context.Context) (lost bool, err error) {
	if err := k.claim(); err != nil {
		return false, err
	}
	err = k.thread.do(ctx, func() error {
		lost, err = k.buildTable(false)
		if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) {
			lost, err = k.buildTable(true)
			k.still = err == nil
		}
		return err
	})
	return lost, err
}

// buildTable makes the table as it must be, in one transaction, and keeps what
// the sets hold if they are like ours.
func (k *nft) buildTable(still bool) (lost bool, err error) {
	c, err := k.conn()
	if err != nil {
		return false, err
	}
	have, err := c.GetSets(k.table)
	kept := err == nil && k.alike(have)
	c.AddTable(k.table)
	if !kept { // a table is deleted that is there for sure, for what else it may hold
		c.DelTable(k.table)
		c.AddTable(k.table)
	}
	for _, s := range k.sets {
		if err := c.AddSet(s, nil); err != nil {
			return false, err
		}
	}
	ports := k.ports()
	c.FlushSet(ports)
	if err := c.SetAddElements(ports, portElements(k.o.Ports)); err != nil {
		return false, err
	}
	c.AddChain(k.hook)
	c.AddChain(k.drop)
	c.FlushChain(k.hook)
	c.FlushChain(k.drop)
	c.AddRule(&nftables.Rule{Table: k.table, Chain: k.hook, Exprs: k.jump()})
	for _, s := range slices.Concat(k.sources(), k.nets()) {
		c.AddRule(&nftables.Rule{Table: k.table, Chain: k.drop, Exprs: k.dropping(s, !still && s.Dynamic)})
	}
	if err := c.Flush(); err != nil {
		return false, err
	}
	k.rules, _, err = k.readRules()
	return !kept, err
}

// alike tells whether the sets of a table that is there can be used.
func (k *nft) alike(have []*nftables.Set) bool {
	for _, want := range k.sets {
		i := slices.IndexFunc(have, func(s *nftables.Set) bool { return s.Name == want.Name })
		if i < 0 {
			return false
		}
		s := have[i]
		if s.KeyType.Bytes != want.KeyType.Bytes || s.Dynamic != want.Dynamic || s.Interval != want.Interval ||
			s.HasTimeout != want.HasTimeout || s.Timeout != want.Timeout || s.Size != want.Size || s.IsMap {
			return false
		}
	}
	return len(have) == len(k.sets)
}

func portElements(ports []uint16) []nftables.SetElement {
	all := make([]nftables.SetElement, 0, len(ports))
	for _, p := range slices.Compact(slices.Sorted(slices.Values(ports))) {
		all = append(all, nftables.SetElement{Key: binary.BigEndian.AppendUint16(nil, p)})
	}
	return all
}

// jump is the one rule that every packet meets: TCP to our ports goes on to
// the chain that drops. What is not the first fragment of a datagram has no
// port and passes.
func (k *nft) jump() []expr.Any {
	exprs := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
	}
	if len(k.o.Ports) > 0 {
		exprs = append(exprs,
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
			&expr.Lookup{SourceRegister: 1, SetName: setPorts, SetID: k.ports().ID})
	}
	return append(exprs, &expr.Verdict{Kind: expr.VerdictJump, Chain: chainDrop})
}

// dropping is the rule of one set: if the source is in it, its time starts
// afresh, the packet is counted, and dropped. Of a set of /64s the source is
// what is left of the address when its second half is masked out: such a set is
// a hash like the others, with a time for each element that packets prolong,
// which a set of intervals is not.
func (k *nft) dropping(s *nftables.Set, update bool) []expr.Any {
	proto, offset := byte(unix.NFPROTO_IPV4), uint32(12) // RFC 791 §3.1
	if s.KeyType.Bytes == 16 {
		proto, offset = unix.NFPROTO_IPV6, 8 // RFC 8200 §3
	}
	source := []expr.Any{&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: s.KeyType.Bytes}}
	if s.Name == setHome {
		mask := slices.Concat(bytes.Repeat([]byte{0xff}, homeBits/8), make([]byte, 16-homeBits/8))
		source = append(source, &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 16, Mask: mask, Xor: make([]byte, 16)})
	}
	exprs := slices.Concat([]expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{proto}},
	}, source, []expr.Any{&expr.Lookup{SourceRegister: 1, SetName: s.Name, SetID: s.ID}})
	if update {
		exprs = append(append(exprs, source...),
			&expr.Dynset{SrcRegKey: 1, SetName: s.Name, SetID: s.ID, Operation: uint32(unix.NFT_DYNSET_OP_UPDATE)})
	}
	return append(exprs, &expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop})
}

// readRules gives the handles of our rules and how many packets they dropped.
func (k *nft) readRules() (handles []uint64, packets uint64, err error) {
	c, err := k.conn()
	if err != nil {
		return nil, 0, err
	}
	for _, chain := range []*nftables.Chain{k.hook, k.drop} {
		rules, err := c.GetRules(k.table, chain)
		if err != nil {
			return nil, 0, err
		}
		for _, r := range rules {
			handles = append(handles, r.Handle)
			for _, e := range r.Exprs {
				if n, ok := e.(*expr.Counter); ok {
					packets += n.Packets
				}
			}
		}
	}
	return handles, packets, nil
}

// check tells whether the rules are those that build made, and so the sets,
// which cannot be deleted while rules name them. What cannot be read is not.
func (k *nft) check(ctx context.Context) (intact bool, dropped uint64) {
	var handles []uint64
	err := k.thread.do(ctx, func() (err error) {
		handles, dropped, err = k.readRules()
		return err
	})
	if err != nil {
		return false, 0
	}
	return slices.Equal(handles, k.rules), dropped
}

func (k *nft) apply(ctx context.Context, b batch) error {
	return k.thread.do(ctx, func() error {
		c, err := k.conn()
		if err != nil {
			return err
		}
		for _, s := range k.sources() {
			if err := k.applySources(c, s, b); err != nil {
				return err
			}
		}
		if b.setNets {
			for _, s := range k.nets() {
				if err := k.applyNetworks(c, s, b.nets); err != nil {
					return err
				}
			}
		}
		return c.Flush()
	})
}

// applySources changes a set of sources. One that is to go, or whose time is
// to start afresh, is put in first, so that it can be taken out whether or not
// it timed out meanwhile; and is then put in again, since kernels before 6.12
// do not change the time of what is there.
func (k *nft) applySources(c *nftables.Conn, s *nftables.Set, b batch) error {
	var in, out, again []nftables.SetElement
	for _, e := range b.add {
		if setOf(e.source) == s.Name {
			in = append(in, k.element(e))
		}
	}
	for _, e := range b.again {
		if setOf(e.source) == s.Name {
			in, out, again = append(in, k.element(e)), append(out, bare(e.source)), append(again, k.element(e))
		}
	}
	for _, p := range b.del {
		if setOf(p) == s.Name {
			in, out = append(in, bare(p)), append(out, bare(p))
		}
	}
	return errors.Join(addAll(c, s, in), deleteAll(c, s, out), addAll(c, s, again))
}

// applyNetworks replaces what a set of networks holds.
func (k *nft) applyNetworks(c *nftables.Conn, s *nftables.Set, nets []network) error {
	c.FlushSet(s)
	var all []nftables.SetElement
	for _, n := range nets {
		if n.prefix.Addr().BitLen() != int(s.KeyType.Bytes)*8 {
			continue
		}
		all = append(all, nftables.SetElement{Key: n.prefix.Addr().AsSlice(), Timeout: n.left})
		if end := last(n.prefix).Next(); end.IsValid() {
			all = append(all, nftables.SetElement{Key: end.AsSlice(), IntervalEnd: true})
		}
	}
	return addAll(c, s, all)
}

func bare(p netip.Prefix) nftables.SetElement {
	return nftables.SetElement{Key: p.Addr().AsSlice()}
}

// element gives a source its time; the set's own when it is that, nearly.
func (k *nft) element(e element) nftables.SetElement {
	s := bare(e.source)
	if k.o.Timeout-e.left > time.Second {
		s.Timeout = max(e.left, time.Millisecond)
	}
	return s
}

// addAll and deleteAll put elements into messages of batchMax each: the length
// of a list of elements has 16 bits.
func addAll(c *nftables.Conn, s *nftables.Set, all []nftables.SetElement) error {
	for part := range slices.Chunk(all, batchMax) {
		if err := c.SetAddElements(s, part); err != nil {
			return err
		}
	}
	return nil
}

func deleteAll(c *nftables.Conn, s *nftables.Set, all []nftables.SetElement) error {
	for part := range slices.Chunk(all, batchMax) {
		if err := c.SetDeleteElements(s, part); err != nil {
			return err
		}
	}
	return nil
}

func (k *nft) dumpSources(ctx context.Context, sources func([]element)) error {
	return k.thread.do(ctx, func() error {
		for _, s := range k.sources() {
			d := newDecoder(s.Name)
			if err := k.dump(ctx, s, &d, func() { sources(d.sources()) }); err != nil {
				return err
			}
		}
		return nil
	})
}

func (k *nft) dumpNets(ctx context.Context) (all []network, err error) {
	err = k.thread.do(ctx, func() error {
		for _, s := range k.nets() {
			d := decoder{octets: int(s.KeyType.Bytes)}
			if err := k.dump(ctx, s, &d, func() {}); err != nil {
				return err
			}
			all = append(all, d.networks()...)
		}
		return nil
	})
	return all, err
}

// dump reads a set into d; a set that there is not has no elements. After each
// message it calls each.
func (k *nft) dump(ctx context.Context, s *nftables.Set, d *decoder, each func()) error {
	end := k.clock.Now().Add(dumpWait)
	more := func() bool { return k.clock.Now().Before(end) && ctx.Err() == nil }
	err := dumpSet(k.o.Table, s.Name, more, func(message []byte) error {
		if err := d.elements(message); err != nil {
			return fmt.Errorf("read the set %s: %w", s.Name, err)
		}
		each()
		return nil
	})
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

func (k *nft) ask(ctx context.Context, all []element) error {
	if len(all) == 0 {
		return nil
	}
	return k.thread.do(ctx, func() error {
		a, err := newAsker()
		if err != nil {
			return err
		}
		defer a.close()
		for _, s := range k.sources() {
			var of []*element
			for i := range all {
				if setOf(all[i].source) == s.Name {
					of = append(of, &all[i])
				}
			}
			for part := range slices.Chunk(of, askBatch) {
				if err := askSet(a, k.o.Table, s.Name, part); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func (k *nft) remove(ctx context.Context) error {
	return k.thread.do(ctx, func() error {
		c, err := k.conn()
		if err != nil {
			return err
		}
		c.AddTable(k.table)
		c.DelTable(k.table)
		return c.Flush()
	})
}

func (k *nft) close() {
	k.thread.stop()
	if k.mine >= 0 {
		_ = unix.Close(k.mine)
		k.mine = -1
	}
}

// note says what this kernel cannot do.
func (k *nft) note() string {
	if k.still {
		return "this kernel does not prolong a ban by packets: each ends after its time"
	}
	return ""
}

// explain says in words why the kernel cannot be had.
func explain(err error) string {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return "CAP_NET_ADMIN is missing"
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EAFNOSUPPORT):
		return "this kernel has no nftables"
	}
	return err.Error()
}
