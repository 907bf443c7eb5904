package load

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
)

// The picture: two plots above each other on one axis of time, in pixels.
const (
	svgWidth, svgHeight = 960, 640
	svgLeft, svgRight   = 84, 936
	heldTop, heldBottom = 96, 330
	mailTop, mailBottom = 392, 590
	mailFloor           = 0.1  // ms: where the axis of time begins
	headroom            = 1.05 // above the most connections
	svgPointsMax        = 1000 // of a line: more than there are pixels tells nothing
	ticksWanted         = 5
	legendStep          = 150
)

// svgStyle has the colours, for light and dark pages.
const svgStyle = `
:root { --paper: #ffffff; --ink: #1c2330; --faint: #d5dae2; --soft: #5b6575; --held: #1769aa; --asked: #8a94a3; --known: #1b7f4b; --new: #b35c00; --bad: #c62828; }
@media (prefers-color-scheme: dark) {
:root { --paper: #12161d; --ink: #e6e9ef; --faint: #2d3542; --soft: #9aa5b5; --held: #5fb2f2; --asked: #7d8796; --known: #52c98a; --new: #f0a04b; --bad: #ff6b6b; }
}
text { font: 13px system-ui, sans-serif; fill: var(--ink); }
.title { font-size: 17px; font-weight: 600; }
.soft { fill: var(--soft); }
.paper { fill: var(--paper); }
.grid { stroke: var(--faint); stroke-width: 1; }
.axis { stroke: var(--soft); stroke-width: 1; }
.asked { fill: none; stroke: var(--asked); stroke-width: 1.5; stroke-dasharray: 6 4; }
.held { fill: none; stroke: var(--held); stroke-width: 2; }
.area { fill: var(--held); fill-opacity: 0.15; }
.known { fill: var(--known); }
.new { fill: var(--new); }
.bad { stroke: var(--bad); stroke-width: 1.5; }
`

// plot writes one picture.
type plot struct {
	b       bytes.Buffer
	r       *Result
	seconds float64 // of the axis
	held    float64 // the top of the upper plot
	top     float64 // the top of the lower one, ms
}

// SVG draws held connections and the times of good deliveries over time.
func (r *Result) SVG(w io.Writer) error {
	p := &plot{r: r, seconds: 1, held: 1, top: 10}
	for _, s := range r.Samples {
		p.seconds = max(p.seconds, s.At)
		p.held = max(p.held, float64(max(s.Held, s.Offered)))
	}
	for _, m := range r.Mail {
		p.seconds = max(p.seconds, m.At)
		p.top = max(p.top, m.Took)
	}
	p.held *= headroom
	p.top = math.Pow(10, math.Ceil(math.Log10(p.top)))
	p.put(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%[1]d" height="%[2]d" role="img">`, svgWidth, svgHeight)
	p.put(`<title>%s</title><style>%s</style>`, escape(p.title()), svgStyle)
	p.put(`<rect class="paper" width="%d" height="%d"/>`, svgWidth, svgHeight)
	p.heading()
	p.timeAxis()
	p.upper()
	p.lower()
	p.put(`</svg>`)
	_, err := w.Write(p.b.Bytes())
	return err
}

func (p *plot) put(format string, args ...any) { fmt.Fprintf(&p.b, format+"\n", args...) }

func (p *plot) text(x, y int, class, anchor, s string) {
	p.put(`<text x="%d" y="%d" class="%s" text-anchor="%s">%s</text>`, x, y, class, anchor, escape(s))
}

func escape(s string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(s)) // a bytes.Buffer takes everything
	return b.String()
}

func (p *plot) title() string {
	return fmt.Sprintf("The wave of 2009 × %g against %s, %s", p.r.Factor, p.r.Target, p.r.Date)
}

func (p *plot) heading() {
	r := p.r
	p.text(svgLeft, 28, "title", "start", p.title())
	p.text(svgLeft, 48, "soft", "start", fmt.Sprintf("held %s of %s, refused at RCPT %s, lost %s; good mail %d of %d, p50 %s ms, p99 %s ms",
		thousands(float64(r.HeldMax)), thousands(float64(r.Offered)), thousands(float64(r.RefusedAtRcpt)), thousands(float64(r.Lost)),
		r.Good.OK, r.Good.Sent, short(r.Good.P50), short(r.Good.P99)))
	second := fmt.Sprintf("speed × %g", r.Speed)
	if s := r.Server; s != nil {
		second += fmt.Sprintf("; server: %s MB idle, %s MB at most, %s bytes a guest, %s ms of CPU a refusal",
			short(float64(s.PSSIdle)/1e6), short(float64(s.PSSMax)/1e6), short(s.PSSPerGuest), short(s.CPUPerRefusal))
	}
	if r.Interrupted {
		second += "; interrupted"
	}
	p.text(svgLeft, 66, "soft", "start", second)
}

func (p *plot) x(seconds float64) float64 {
	return svgLeft + (svgRight-svgLeft)*seconds/p.seconds
}

func (p *plot) yHeld(n float64) float64 { return heldBottom - (heldBottom-heldTop)*n/p.held }

func (p *plot) yMail(ms float64) float64 {
	share := math.Log10(max(ms, mailFloor)/mailFloor) / math.Log10(p.top/mailFloor)
	return mailBottom - (mailBottom-mailTop)*share
}

// timeAxis draws what both plots share.
func (p *plot) timeAxis() {
	for _, s := range roundSteps(p.seconds) {
		x := p.x(s)
		for _, y := range [][2]int{{heldTop, heldBottom}, {mailTop, mailBottom}} {
			p.put(`<line class="grid" x1="%.1f" x2="%[1]f" y1="%d" y2="%d"/>`, x, y[0], y[1])
		}
		p.text(int(x), mailBottom+18, "soft", "middle", short(s))
	}
	p.text((svgLeft+svgRight)/2, mailBottom+38, "", "middle", "seconds since the wave began")
}

// frame draws a plot's axes.
func (p *plot) frame(top, bottom int, name string) {
	p.put(`<path class="axis" fill="none" d="M%d %dV%dH%d"/>`, svgLeft, top, bottom, svgRight)
	middle := (top + bottom) / 2
	p.put(`<text transform="translate(22 %d) rotate(-90)" text-anchor="middle">%s</text>`, middle, escape(name))
}

// upper draws the connections.
func (p *plot) upper() {
	for _, n := range roundSteps(p.held) {
		y := p.yHeld(n)
		p.put(`<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%[3]f"/>`, svgLeft, svgRight, y)
		p.text(svgLeft-8, int(y)+4, "soft", "end", thousands(n))
	}
	p.frame(heldTop, heldBottom, "open connections")
	samples := thin(p.r.Samples)
	if len(samples) > 0 {
		line := p.line(samples, func(s Sample) int { return s.Held })
		first, last := samples[0], samples[len(samples)-1]
		p.put(`<path class="area" d="%sL%.1f %dL%.1f %[3]dZ"/>`, line, p.x(last.At), heldBottom, p.x(first.At))
		p.put(`<path class="held" d="%s"/>`, line)
		p.put(`<path class="asked" d="%s"/>`, p.line(samples, func(s Sample) int { return s.Offered }))
	}
	p.put(`<path class="held" d="M%d %dh24"/>`, svgLeft+12, heldTop+12)
	p.text(svgLeft+42, heldTop+16, "", "start", "held")
	p.put(`<path class="asked" d="M%d %dh24"/>`, svgLeft+112, heldTop+12)
	p.text(svgLeft+142, heldTop+16, "", "start", "asked for by the curve")
}

func (p *plot) line(samples []Sample, of func(Sample) int) string {
	var b bytes.Buffer
	for i, s := range samples {
		fmt.Fprintf(&b, "%c%.1f %.1f", "ML"[min(i, 1)], p.x(s.At), p.yHeld(float64(of(s))))
	}
	return b.String()
}

// thin leaves out samples that have no pixel of their own.
func thin(all []Sample) []Sample {
	every := len(all)/svgPointsMax + 1
	var out []Sample
	for i, s := range all {
		if i%every == 0 || i == len(all)-1 {
			out = append(out, s)
		}
	}
	return out
}

// lower draws the good deliveries, on a logarithmic axis.
func (p *plot) lower() {
	for ms := mailFloor; ms <= p.top*1.001; ms *= 10 {
		y := p.yMail(ms)
		p.put(`<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%[3]f"/>`, svgLeft, svgRight, y)
		p.text(svgLeft-8, int(y)+4, "soft", "end", short(ms))
	}
	p.frame(mailTop, mailBottom, "ms beyond the usual wait")
	p.text(svgLeft, mailTop-28, "", "start", "good deliveries, from connecting to the last 250")
	mail := slices.Clone(p.r.Mail)
	slices.SortFunc(mail, func(a, b Mail) int { return cmp.Compare(a.At, b.At) })
	for _, m := range mail {
		x := p.x(m.At)
		class := "new"
		if m.Known {
			class = "known"
		}
		if m.OK {
			p.put(`<circle class="%s" cx="%.1f" cy="%.1f" r="2.2"/>`, class, x, p.yMail(m.Took))
		} else {
			p.put(`<path class="bad" d="M%.1f %dl6 6m0 -6l-6 6"/>`, x-3, mailTop+2)
		}
	}
	for i, l := range []struct{ class, name string }{{"known", "known senders"}, {"new", "new senders"}} {
		x := svgLeft + 6 + i*legendStep
		p.put(`<circle class="%s" cx="%d" cy="%d" r="4"/>`, l.class, x, mailTop-14)
		p.text(x+12, mailTop-10, "", "start", l.name)
	}
	x := svgLeft + 2*legendStep
	p.put(`<path class="bad" d="M%d %dl8 8m0 -8l-8 8"/>`, x+2, mailTop-18)
	p.text(x+18, mailTop-10, "", "start", "failed")
}

// roundSteps gives round values from 0 to the end of an axis.
func roundSteps(end float64) []float64 {
	size := math.Pow(10, math.Floor(math.Log10(end/ticksWanted)))
	for _, f := range []float64{1, 2, 5, 10} {
		if end/(size*f) <= ticksWanted+1 {
			size *= f
			break
		}
	}
	var out []float64
	for i := 0; float64(i)*size <= end*1.0001; i++ {
		out = append(out, float64(i)*size)
	}
	return out
}

// short prints three significant digits.
func short(v float64) string {
	if v >= 1000 {
		return thousands(v)
	}
	s, _ := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 3, 64), 64)
	return strconv.FormatFloat(s, 'f', -1, 64)
}

// thousands prints a whole number in groups of three.
func thousands(v float64) string {
	s := strconv.FormatInt(int64(math.Round(v)), 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
