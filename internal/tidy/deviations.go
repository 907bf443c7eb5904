package tidy

import "strings"

const quirksPage = "docs/quirks.md"

// Deviations checks that each file with a Deviation comment is linked from
// the page of quirks.
func Deviations(t *Tree) []Finding {
	page := ""
	for _, x := range t.Texts {
		if x.Path == quirksPage {
			page = string(x.Data)
		}
	}
	var out []Finding
	for _, p := range t.Packages {
		for _, f := range p.Files {
			if f.Test || !p.product() || p.short() == "tidy" || strings.Contains(page, "(../"+f.Path+")") {
				continue
			}
			for _, group := range f.Syntax.Comments {
				if strings.Contains(group.Text(), "Deviation") {
					out = append(out, t.at(group.Pos(), "a deviation that "+quirksPage+" does not know",
						"add a line there that links this file and says what is otherwise, and why"))
					break
				}
			}
		}
	}
	return out
}
