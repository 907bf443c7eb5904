package message

// DefectKind says what is wrong with a message. The numbers are part of the
// binary form: never renumber.
type DefectKind uint8

// The kinds.
const (
	BareCR           DefectKind = iota + 1 // CR without LF; data, not a line end
	BareLF                                 // LF without CR; taken as a line end
	NUL                                    // NUL byte
	EightBitHeader                         // bytes ≥ 0x80 in a header that are not UTF-8
	MalformedField                         // a header line that is no field and no continuation
	MissingBlankLine                       // the header ends without a blank line
	BadContentType                         // Content-Type that cannot be read: text/plain assumed
	MissingBoundary                        // multipart without a usable boundary parameter
	MissingDelimiter                       // multipart without any delimiter line
	MissingEnd                             // multipart without its closing delimiter
	EncodedMultipart                       // multipart with an encoding that RFC 2045 §6.4 forbids; ignored
	EncodedMessage                         // embedded message with an encoding; left unopened
	DepthLimit                             // nested deeper than Limits.Depth
	PartsLimit                             // more parts than Limits.Parts
	HeaderLimit                            // more header bytes than Limits.HeaderBytes
	AddressLimit                           // more addresses than the parser keeps
	ParamLimit                             // more parameters in a field than the parser keeps
)

const defectKinds = int(ParamLimit) + 1

// String returns the kind as `breakwater diagnose mime` prints it.
func (k DefectKind) String() string {
	names := [defectKinds]string{
		"unknown", "bare CR", "bare LF", "NUL", "8-bit header", "malformed field",
		"missing blank line", "bad content type", "missing boundary", "missing delimiter",
		"missing end", "encoded multipart", "encoded message", "depth limit",
		"parts limit", "header limit", "address limit", "parameter limit",
	}
	if int(k) >= len(names) {
		k = 0
	}
	return names[k]
}

// Defect is one kind of fault of a message: where it was first met, in bytes
// from the start, and how often.
type Defect struct {
	Kind   DefectKind
	Offset int64
	Count  int64
}
