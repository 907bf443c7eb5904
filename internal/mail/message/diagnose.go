package message

import (
	"bytes"
	"fmt"
	"strconv"
)

// MIMEReport is what `breakwater diagnose mime` prints, as JSON.
type MIMEReport struct {
	Size          int64          `json:"size"`
	IndexBytes    int            `json:"index_bytes"` // size of the binary form
	Envelope      EnvelopeReport `json:"envelope"`
	BodyStructure string         `json:"bodystructure"` // as IMAP writes it
	Root          PartReport     `json:"root"`
	Defects       []DefectReport `json:"defects"`
}

// EnvelopeReport is an ENVELOPE with its texts decoded, and as IMAP writes it.
type EnvelopeReport struct {
	Date      string          `json:"date"`
	Subject   string          `json:"subject"`
	From      []AddressOfList `json:"from"`
	Sender    []AddressOfList `json:"sender"`
	ReplyTo   []AddressOfList `json:"reply_to"`
	To        []AddressOfList `json:"to"`
	Cc        []AddressOfList `json:"cc"`
	Bcc       []AddressOfList `json:"bcc"`
	InReplyTo string          `json:"in_reply_to"`
	MessageID string          `json:"message_id"`
	IMAP      string          `json:"imap"`
}

// AddressOfList is one address of an EnvelopeReport. A group begins with its
// name in Group and ends with an entry whose EndOfGroup is set.
type AddressOfList struct {
	Name       string `json:"name,omitempty"`
	Route      string `json:"route,omitempty"`
	Mailbox    string `json:"mailbox,omitempty"`
	Host       string `json:"host,omitempty"`
	Group      string `json:"group,omitempty"`
	EndOfGroup bool   `json:"end_of_group,omitempty"`
}

// PartReport is one part of the tree.
type PartReport struct {
	Section           string          `json:"section,omitempty"` // IMAP section number, empty where there is none
	Type              string          `json:"type"`
	HeaderStart       int64           `json:"header_start"`
	BodyStart         int64           `json:"body_start"`
	End               int64           `json:"end"`
	Lines             int64           `json:"lines"`
	Params            []ParamReport   `json:"params,omitempty"`
	Charset           string          `json:"charset,omitempty"`
	Filename          string          `json:"filename,omitempty"`
	Disposition       string          `json:"disposition,omitempty"`
	DispositionParams []ParamReport   `json:"disposition_params,omitempty"`
	Encoding          string          `json:"encoding,omitempty"`
	ID                string          `json:"id,omitempty"`
	Description       string          `json:"description,omitempty"`
	MD5               string          `json:"md5,omitempty"`
	Location          string          `json:"location,omitempty"`
	Language          []string        `json:"language,omitempty"`
	Headers           []FieldReport   `json:"headers,omitempty"`
	Envelope          *EnvelopeReport `json:"envelope,omitempty"`
	Parts             []PartReport    `json:"parts,omitempty"`
}

// ParamReport is a parameter as written.
type ParamReport struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// FieldReport is a header field, unfolded and decoded.
type FieldReport struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// DefectReport is a Defect in words.
type DefectReport struct {
	Kind   string `json:"kind"`
	Offset int64  `json:"offset"`
	Count  int64  `json:"count"`
}

// DiagnoseMIME parses raw with the default limits and reports all that the
// index and IMAP would know of it.
func DiagnoseMIME(raw []byte) MIMEReport {
	m := Parse(raw)
	r := MIMEReport{
		Size:          m.Size,
		IndexBytes:    len(m.AppendBinary(nil)),
		Envelope:      reportEnvelope(&m.Envelope),
		BodyStructure: string(m.Root.AppendIMAP(nil, true, true)),
		Root:          reportPart(raw, m.Root, "", true),
		Defects:       []DefectReport{},
	}
	for _, d := range m.Defects {
		r.Defects = append(r.Defects, DefectReport{Kind: d.Kind.String(), Offset: d.Offset, Count: d.Count})
	}
	return r
}

func reportEnvelope(e *Envelope) EnvelopeReport {
	return EnvelopeReport{
		Date: DecodeHeader(e.Date), Subject: DecodeHeader(e.Subject),
		From: reportAddresses(e.From), Sender: reportAddresses(e.Sender),
		ReplyTo: reportAddresses(e.ReplyTo), To: reportAddresses(e.To),
		Cc: reportAddresses(e.Cc), Bcc: reportAddresses(e.Bcc),
		InReplyTo: DecodeHeader(e.InReplyTo), MessageID: DecodeHeader(e.MessageID),
		IMAP: string(e.AppendIMAP(nil, true)),
	}
}

func reportAddresses(list []EnvelopeAddress) []AddressOfList {
	out := []AddressOfList{}
	for _, a := range list {
		switch {
		case a.Group() && a.Mailbox == "":
			out = append(out, AddressOfList{EndOfGroup: true})
		case a.Group():
			out = append(out, AddressOfList{Group: DecodeHeader(a.Mailbox)})
		default:
			out = append(out, AddressOfList{
				Name: DecodeHeader(a.Name), Route: DecodeHeader(a.Route),
				Mailbox: DecodeHeader(a.Mailbox), Host: DecodeHeader(a.Host),
			})
		}
	}
	return out
}

// reportPart reports p and what is in it. root says that p is the root of the
// message in section: it has no number of its own unless it is a leaf.
func reportPart(raw []byte, p *Part, section string, root bool) PartReport {
	if root && !p.Multipart() {
		section = joinSection(section, 1)
	}
	r := PartReport{
		Section: section, Type: p.Type + "/" + p.Subtype,
		HeaderStart: p.HeaderStart, BodyStart: p.BodyStart, End: p.End, Lines: p.Lines,
		Params: reportParams(p.Params), Charset: p.Charset(), Filename: p.Filename(),
		Disposition: p.Disposition, DispositionParams: reportParams(p.DispositionParams),
		Encoding: p.Encoding, ID: DecodeHeader(p.ID), Description: DecodeHeader(p.Description),
		MD5: DecodeHeader(p.MD5), Location: DecodeHeader(p.Location), Language: p.Language,
	}
	if root && p.Multipart() {
		r.Section = ""
	}
	for f := range Fields(raw[p.HeaderStart:p.BodyStart]) {
		r.Headers = append(r.Headers, FieldReport{Name: f.Name, Value: DecodeHeader(f.Value())})
	}
	if p.Message() {
		e := reportEnvelope(p.Envelope)
		r.Envelope = &e
	}
	for i, c := range p.Children {
		if p.Message() {
			r.Parts = append(r.Parts, reportPart(raw, c, section, true))
		} else {
			r.Parts = append(r.Parts, reportPart(raw, c, joinSection(section, i+1), false))
		}
	}
	return r
}

func joinSection(section string, n int) string {
	if section == "" {
		return strconv.Itoa(n)
	}
	return section + "." + strconv.Itoa(n)
}

func reportParams(list []Param) []ParamReport {
	var out []ParamReport
	for _, p := range list {
		out = append(out, ParamReport(p))
	}
	return out
}

// AddressReport is what `breakwater diagnose address` prints, as JSON.
type AddressReport struct {
	Input   string `json:"input"`
	Valid   bool   `json:"valid"`
	Error   string `json:"error,omitempty"` // why it is wrong
	Local   string `json:"local,omitempty"` // without quoting
	Domain  string `json:"domain,omitempty"`
	Unicode string `json:"domain_unicode,omitempty"`
	Literal bool   `json:"literal"` // the domain is an address literal
	ASCII   bool   `json:"ascii"`   // can be sent without SMTPUTF8
	Quoted  string `json:"quoted,omitempty"`
	// Warnings are about what is valid here and may not be elsewhere.
	Warnings []string `json:"warnings,omitempty"`
}

// DiagnoseAddress parses s as ParseAddress does and reports the outcome.
func DiagnoseAddress(s string) AddressReport {
	r := AddressReport{Input: s}
	a, err := ParseAddress(s)
	if err != nil {
		r.Error = err.Error()
		return r
	}
	_, literal := a.Domain.Literal()
	r.Valid, r.Local, r.Domain, r.Unicode = true, a.Local, string(a.Domain), a.Domain.Unicode()
	r.Literal, r.ASCII, r.Quoted = literal, a.ASCII(), a.String()
	const portableLocal = 64 // RFC 5321 §4.5.3.1.1
	if n := len(a.Local); n > portableLocal {
		r.Warnings = append(r.Warnings, fmt.Sprintf("local part of %d octets: some hosts refuse more than %d", n, portableLocal))
	}
	if bytes.ContainsRune([]byte(a.Domain), '_') {
		r.Warnings = append(r.Warnings, "underscore in the domain: some hosts refuse it")
	}
	if !literal && !bytes.ContainsRune([]byte(a.Domain), '.') {
		r.Warnings = append(r.Warnings, "domain of a single label: not reachable from the internet")
	}
	return r
}
