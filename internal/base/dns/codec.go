package dns

import (
	"encoding/binary"
	"math"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	headerOctets = 12
	// recordsMax is how many records of an answer section are looked at: no
	// caller has a use for more, and TCP carries thousands.
	recordsMax = 256
	// cnamesMax is the depth of a chain of CNAMEs that is followed.
	cnamesMax = 8
	// ttlMax is the longest that an answer is believed (RFC 8767 §4 has a
	// week; a day is enough for mail, where a mistake is mended sooner).
	ttlMax = 24 * time.Hour
	// payloadOctetsMax of a UDP answer, which no path has to fragment.
	payloadOctetsMax = 1232

	// Flags of a question: recursion desired, and authentic data understood
	// (RFC 6840 §5.7).
	questionFlags = 0x0120
	// Flags of an answer.
	flagAnswer    = 0x8000
	flagOpcode    = 0x7800
	flagTruncated = 0x0200
	flagAuthentic = 0x0020
	maskRCode     = 0x000f
)

// appendQuery makes a packet with the id 0; the question section ends at end.
// plain leaves out EDNS (RFC 6891). The name is normal.
func appendQuery(dst []byte, q Question, plain bool) (packet []byte, end int) {
	additional := byte(1)
	if plain {
		additional = 0
	}
	dst = append(dst, 0, 0, questionFlags>>8, questionFlags&0xff, 0, 1, 0, 0, 0, 0, 0, additional)
	for name := q.Name; name != ""; {
		label, rest, _ := strings.Cut(name, ".")
		dst = append(dst, byte(len(label)))
		dst = append(dst, label...)
		name = rest
	}
	dst = append(dst, 0, byte(q.Type>>8), byte(q.Type), 0, 1)
	end = len(dst)
	if !plain {
		// The root, OPT, payload size; extended code, version, flags, no options.
		dst = append(dst, 0, 0, 41, payloadOctetsMax>>8, payloadOctetsMax&0xff, 0, 0, 0, 0, 0, 0)
	}
	return dst, end
}

// header is what decides about a packet before the rest is looked at.
type header struct {
	id, flags          uint16
	questions, answers uint16
}

func (h header) rcode() RCode    { return RCode(h.flags & maskRCode) }
func (h header) truncated() bool { return h.flags&flagTruncated != 0 }

// decodeHeader fails for what is no answer to an ordinary query.
func decodeHeader(p []byte) (header, bool) {
	if len(p) < headerOctets {
		return header{}, false
	}
	h := header{
		id: binary.BigEndian.Uint16(p), flags: binary.BigEndian.Uint16(p[2:]),
		questions: binary.BigEndian.Uint16(p[4:]), answers: binary.BigEndian.Uint16(p[6:]),
	}
	return h, h.flags&flagAnswer != 0 && h.flags&flagOpcode == 0
}

// repeats tells whether a packet repeats the question section of a query. A
// server that could not make out the question, or would not, may leave it out.
func (h header) repeats(p, query []byte, end int) bool {
	switch {
	case h.questions == 0:
		return h.answers == 0 && h.rcode() != NoError && h.rcode() != NXDomain
	case h.questions != 1 || len(p) < end:
		return false
	}
	name := end - 4
	return sameName(p[headerOctets:name], query[headerOctets:name]) && string(p[name:end]) == string(query[name:end])
}

// decode makes an Answer of a packet whose header and question are known to
// fit. It allocates only what the Answer holds.
func decode(p []byte, q Question) (Answer, error) {
	a := Answer{Question: q}
	var d decoder
	if !d.start(p, q, &a) || !d.chain(&a) {
		return Answer{Question: q}, ErrMalformed
	}
	if d.followed {
		a.Target, _ = hostname(append(d.name[:d.len:d.len], '.'))
	}
	if d.found > 0 {
		a.TTL = seconds(d.ttl)
	} else if ttl, ok := d.negative(); ok {
		a.TTL = seconds(ttl)
	}
	return a, nil
}

func seconds(ttl uint32) time.Duration {
	if ttl > math.MaxInt32 {
		return 0 // RFC 2181 §8
	}
	return min(time.Duration(ttl)*time.Second, ttlMax)
}

// decoder reads one packet.
type decoder struct {
	p     dnsmessage.Parser
	begin dnsmessage.Parser // at the first record of the answer section
	typ   Type
	name  [nameOctetsMax + 2]byte // of the records that are looked for
	len   int
	ttl   uint32 // least so far
	found int    // records and CNAMEs that belong to the answer
	// followed tells that name is no longer that of the question.
	followed bool
}

func (d *decoder) start(p []byte, q Question, a *Answer) bool {
	h, err := d.p.Start(p)
	if err != nil || d.p.SkipAllQuestions() != nil {
		return false
	}
	a.RCode = RCode(h.RCode)
	a.Authentic = h.AuthenticData
	d.begin, d.typ, d.ttl = d.p, q.Type, math.MaxUint32
	d.len = copy(d.name[:], q.Name)
	return true
}

// chain collects the records of the name and of what its CNAMEs lead to. It
// leaves the parser behind the answer section, if that is not too long.
func (d *decoder) chain(a *Answer) bool {
	for range cnamesMax + 1 {
		d.p = d.begin
		again, ok := d.section(a)
		if !ok || !again {
			return ok
		}
	}
	return false // a chain too long, or a circle
}

// section reads the answer section once; again tells that a CNAME was found,
// and it is to be read again for its target.
func (d *decoder) section(a *Answer) (again, ok bool) {
	for range recordsMax {
		h, err := d.p.AnswerHeader()
		if err == dnsmessage.ErrSectionDone {
			return again, true
		}
		if err != nil {
			return false, false
		}
		mine := !again && h.Class == dnsmessage.ClassINET && sameName(h.Name.Data[:h.Name.Length-1], d.name[:d.len])
		switch {
		case mine && !sized(h):
			ok = false
		case mine && h.Type == dnsmessage.Type(d.typ):
			ok = d.record(a)
		case mine && h.Type == dnsmessage.TypeCNAME:
			again, ok = true, d.follow()
		default:
			ok, mine = d.p.SkipAnswer() == nil, false
		}
		if !ok {
			return false, false
		}
		if mine {
			d.found++
			d.ttl = min(d.ttl, h.TTL)
		}
	}
	return again, true
}

// sized tells whether a record has the length of its type: the parser would
// read on behind it.
func sized(h dnsmessage.ResourceHeader) bool {
	switch h.Type {
	case dnsmessage.TypeA:
		return h.Length == 4
	case dnsmessage.TypeAAAA:
		return h.Length == 16
	case dnsmessage.TypeMX, dnsmessage.TypePTR, dnsmessage.TypeNS, dnsmessage.TypeCNAME:
		return h.Length > 0
	}
	return true
}

func (d *decoder) follow() bool {
	r, err := d.p.CNAMEResource()
	if err != nil {
		return false
	}
	d.len = copy(d.name[:], r.CNAME.Data[:r.CNAME.Length-1])
	d.followed = true
	return true
}

// record takes one record of the wanted type in.
func (d *decoder) record(a *Answer) bool {
	switch d.typ {
	case A:
		r, err := d.p.AResource()
		a.Addrs = append(a.Addrs, netip.AddrFrom4(r.A))
		return err == nil
	case AAAA:
		r, err := d.p.AAAAResource()
		a.Addrs = append(a.Addrs, netip.AddrFrom16(r.AAAA))
		return err == nil
	case TXT:
		r, err := d.p.TXTResource()
		a.Texts = append(a.Texts, strings.Join(r.TXT, ""))
		return err == nil
	case PTR:
		r, err := d.p.PTRResource()
		return err == nil && a.addName(r.PTR)
	case NS:
		r, err := d.p.NSResource()
		return err == nil && a.addName(r.NS)
	case CNAME:
		r, err := d.p.CNAMEResource()
		return err == nil && a.addName(r.CNAME)
	case MX:
		r, err := d.p.MXResource()
		if err != nil {
			return false
		}
		if host, ok := hostname(r.MX.Data[:r.MX.Length]); ok {
			a.MX = append(a.MX, MXRecord{Preference: r.Pref, Host: host})
		} else {
			a.Unfit = true
		}
		return true
	case TLSA:
		return d.tlsa(a)
	}
	return d.p.SkipAnswer() == nil
}

// tlsa takes a TLSA record in: three octets, then data (RFC 6698 §2.1). One
// without data stays: it is there, if of no use.
func (d *decoder) tlsa(a *Answer) bool {
	r, err := d.p.UnknownResource()
	if err != nil || len(r.Data) < 3 {
		return false
	}
	a.TLSA = append(a.TLSA, TLSARecord{Usage: r.Data[0], Selector: r.Data[1], Matching: r.Data[2], Data: string(r.Data[3:])})
	return true
}

func (a *Answer) addName(n dnsmessage.Name) bool {
	if name, ok := hostname(n.Data[:n.Length]); ok {
		a.Names = append(a.Names, name)
	}
	return true
}

// negative finds for how long nothing is there (RFC 2308 §5). The parser
// stands behind the answers.
func (d *decoder) negative() (ttl uint32, ok bool) {
	if d.p.SkipAllAnswers() != nil {
		return 0, false
	}
	for range recordsMax {
		h, err := d.p.AuthorityHeader()
		if err != nil {
			return 0, false
		}
		if h.Type == dnsmessage.TypeSOA {
			r, err := d.p.SOAResource()
			return min(h.TTL, r.MinTTL), err == nil
		}
		if d.p.SkipAuthority() != nil {
			return 0, false
		}
	}
	return 0, false
}
