package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// result is one line of the table.
type result struct {
	Row    string             `json:"row"`
	Unit   string             `json:"unit"`
	More   bool               `json:"more_is_better"`
	Values map[string]float64 `json:"values"` // by host
	Goal   string             `json:"goal,omitempty"`
	Held   *bool              `json:"held,omitempty"`
	goal   goal
}

// report is everything that was found out.
type report struct {
	Date     string    `json:"date"`
	Machine  string    `json:"machine"`
	Versions []string  `json:"versions"`
	Results  []*result `json:"results"`
	Notes    []string  `json:"notes,omitempty"`
}

func newReport() *report {
	return &report{
		Date:    time.Now().UTC().Format("2006-01-02 15:04 UTC"),
		Machine: machine(),
		Versions: []string{
			"breakwater " + firstLine("git", "rev-parse", "--short", "HEAD"),
			"Postfix " + firstLine("/usr/sbin/postconf", "-d", "-h", "mail_version"),
			"Dovecot " + firstLine("/usr/sbin/dovecot", "--version"),
		},
	}
}

func firstLine(name string, args ...string) string {
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		return "(not here)"
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return line
}

func machine() string {
	model, memory := "unknown CPU", ""
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
			model = strings.TrimSpace(v)
			break
		}
	}
	mem, _ := os.ReadFile("/proc/meminfo")
	if f := strings.Fields(string(mem)); len(f) > 1 {
		var kb int64
		fmt.Sscan(f[1], &kb)
		memory = fmt.Sprintf("%d GB", (kb+1<<19)>>20)
	}
	return fmt.Sprintf("%d cores of %s, %s, Linux %s, %s", runtime.NumCPU(), model, memory, firstLine("uname", "-r"), runtime.Version())
}

func (p *report) note(format string, args ...any) {
	p.Notes = append(p.Notes, fmt.Sprintf(format, args...))
}

// add stores a value of row r on a host; name is "" for the main value.
func (p *report) add(r row, name, host string, v float64) {
	full, unit, more := r.name, r.unit, r.more
	if name != "" {
		full, unit, more = r.name+": "+name, "", name == accepted
	}
	for _, have := range p.Results {
		if have.Row == full {
			have.Values[host] = v
			return
		}
	}
	p.Results = append(p.Results, &result{Row: full, Unit: unit, More: more, Values: map[string]float64{host: v}, goal: r.goals[name]})
}

// judge fills in what the goals ask and whether they hold.
func (p *report) judge() {
	for _, r := range p.Results {
		if r.goal.factor == 0 {
			continue
		}
		bar := r.goal.factor
		if r.goal.of != "" {
			peer, ok := r.peer(r.goal.of)
			if !ok {
				continue
			}
			bar *= peer
			r.Goal = fmt.Sprintf("%s %g × %s", sign(r.More), r.goal.factor, r.goal.of)
		} else {
			r.Goal = fmt.Sprintf("%s %g", sign(r.More), r.goal.factor)
		}
		if ours, ok := r.Values["breakwater"]; ok {
			held := ours <= bar
			if r.More {
				held = ours >= bar
			}
			r.Held = &held
		}
	}
}

func sign(more bool) string {
	if more {
		return "≥"
	}
	return "≤"
}

// peer gives the value that a goal refers to.
func (r *result) peer(of string) (float64, bool) {
	if of != "best" {
		v, ok := r.Values[of]
		return v, ok
	}
	best, found := 0.0, false
	for _, name := range []string{"maildir", "mdbox"} {
		v, ok := r.Values[name]
		if ok && (!found || r.More == (v > best)) {
			best, found = v, true
		}
	}
	return best, found
}

// markdown prints the table.
func (p *report) markdown(w io.Writer) {
	p.judge()
	fmt.Fprintf(w, "Measured %s on %s.\n%s.\n\n", p.Date, p.Machine, strings.Join(p.Versions, ", "))
	fmt.Fprintln(w, "| row | unit | Breakwater | Postfix + Dovecot maildir | Postfix + Dovecot mdbox | ÷ maildir | ÷ mdbox | goal | held |")
	fmt.Fprintln(w, "|---|---|---|---|---|---|---|---|---|")
	for _, r := range p.Results {
		if strings.HasSuffix(r.Row, ": "+loadCPU) || strings.HasSuffix(r.Row, ": "+p50) {
			continue // in the JSON
		}
		held := ""
		if r.Held != nil {
			held = map[bool]string{true: "yes", false: "**no**"}[*r.Held]
		}
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", r.Row, r.Unit,
			r.cell("breakwater"), r.cell("maildir"), r.cell("mdbox"), r.ratio("maildir"), r.ratio("mdbox"), r.Goal, held)
	}
	for _, n := range p.Notes {
		fmt.Fprintf(w, "\n- %s", n)
	}
	if len(p.Notes) > 0 {
		fmt.Fprintln(w)
	}
}

func (r *result) cell(host string) string {
	v, ok := r.Values[host]
	if !ok {
		return "–"
	}
	return number(v)
}

func (r *result) ratio(host string) string {
	ours, ok := r.Values["breakwater"]
	theirs, has := r.Values[host]
	if !ok || !has || theirs == 0 {
		return ""
	}
	return number(ours / theirs)
}

// number prints three significant digits without an exponent.
func number(v float64) string {
	switch a := max(v, -v); {
	case a == 0:
		return "0"
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	case a >= 1:
		return fmt.Sprintf("%.2f", v)
	case a >= 0.1:
		return fmt.Sprintf("%.3f", v)
	default:
		return fmt.Sprintf("%.4f", v)
	}
}

// write keeps the files current after each row: a run that is cut short has
// still measured something.
func (p *report) write(o *options) error {
	if o.json != "" {
		p.judge()
		b, err := json.MarshalIndent(p, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(o.json, append(b, '\n'), 0o644); err != nil {
			return err
		}
	}
	if o.markdown == "" {
		return nil
	}
	f, err := os.Create(o.markdown)
	if err != nil {
		return err
	}
	p.markdown(f)
	return f.Close()
}
