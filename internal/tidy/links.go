package tidy

import (
	"path"
	"regexp"
	"strings"
	"unicode"
)

// Links checks that the relative links of every .md file lead to a file or
// folder of the tree, and their #fragments to a heading.
func Links(t *Tree) []Finding {
	link := regexp.MustCompile(`\]\(([^()\s]+)(?:\s+"[^"]*")?\)`)
	anchors := map[string]map[string]bool{}
	files := map[string]bool{}
	for _, x := range t.Texts {
		files[x.Path] = true
		if path.Ext(x.Path) == ".md" {
			anchors[x.Path] = headings(string(x.Data))
		}
	}
	var out []Finding
	for _, x := range t.Texts {
		if path.Ext(x.Path) != ".md" || inTestdata(x.Path) {
			continue
		}
		for i, line := range proseLines(string(x.Data)) {
			for _, m := range link.FindAllStringSubmatch(line, -1) {
				target, fragment, _ := strings.Cut(m[1], "#")
				if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
					continue
				}
				to := x.Path
				if target != "" {
					to = path.Join(path.Dir(x.Path), target)
				}
				bad := Finding{Path: x.Path, Line: i + 1, What: "the link " + m[1] + " leads nowhere"}
				switch {
				case !files[to] && !t.Dirs[to]:
					bad.Mend = "there is no " + to + ": mend the path or take the link out"
				case fragment != "" && !anchors[to][fragment]:
					bad.Mend = "there is no such heading in " + to
				default:
					continue
				}
				out = append(out, bad)
			}
		}
	}
	return out
}

// proseLines are a document's lines with code blanked out.
func proseLines(text string) []string {
	lines := strings.Split(text, "\n")
	fence := ""
	span := regexp.MustCompile("`[^`]*`")
	for i, line := range lines {
		trimmed := strings.TrimSpace(line)
		switch {
		case fence == "" && hasPrefix(trimmed, "```", "~~~"):
			fence = trimmed[:3]
			lines[i] = ""
		case fence != "":
			if strings.HasPrefix(trimmed, fence) {
				fence = ""
			}
			lines[i] = ""
		default:
			lines[i] = span.ReplaceAllStringFunc(line, func(s string) string {
				return strings.Map(func(r rune) rune {
					if oneOf(string(r), "[", "]", "(", ")") {
						return ' '
					}
					return r
				}, s)
			})
		}
	}
	return lines
}

// headings are the anchors that a document's headings get.
func headings(text string) map[string]bool {
	out := map[string]bool{}
	for _, line := range proseLines(text) {
		title, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " ")
		if !ok || !strings.HasPrefix(line, "#") {
			continue
		}
		out[strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, strings.TrimSpace(title))] = true
	}
	return out
}
