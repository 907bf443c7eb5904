package host

import (
	"encoding"
	"fmt"
	"io"
	"reflect"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// Key is one key of the configuration.
type Key struct {
	Name   string // with its section: "smtp.message_size"
	Value  string // as TOML
	Doc    string
	Source string // "default" or "file"
}

// Keys lists every key with its effective value and where that came from,
// in the order of the file.
func (c *Config) Keys() []Key {
	var keys []Key
	walk(reflect.ValueOf(c).Elem(), "", func(name, doc string, v reflect.Value) {
		if v.Kind() == reflect.Struct {
			return
		}
		source := "default"
		if c.set[name] {
			source = "file"
		}
		keys = append(keys, Key{Name: name, Value: literal(v), Doc: doc, Source: source})
	})
	return keys
}

// walk visits sections and keys; a section before its keys.
func walk(v reflect.Value, prefix string, visit func(name, doc string, v reflect.Value)) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		tag := f.Tag.Get("toml")
		if tag == "" {
			continue
		}
		visit(prefix+tag, f.Tag.Get("doc"), v.Field(i))
		if f.Type.Kind() == reflect.Struct {
			walk(v.Field(i), prefix+tag+".", visit)
		}
	}
}

// literal renders a value as TOML.
func literal(v reflect.Value) string {
	if m, ok := v.Interface().(encoding.TextMarshaler); ok {
		b, err := m.MarshalText()
		if err != nil {
			panic(err) // our own types never fail
		}
		return quote(string(b))
	}
	switch v.Kind() {
	case reflect.String:
		return quote(v.String())
	case reflect.Slice:
		items := make([]string, v.Len())
		for i := range items {
			items[i] = literal(v.Index(i))
		}
		return "[" + strings.Join(items, ", ") + "]"
	default:
		return fmt.Sprint(v.Interface())
	}
}

// quote renders a basic TOML string.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}

// WriteTOML writes the configuration with a comment on every key: what init
// and demo put into a new breakwater.toml. Keys that have their default are
// written as comments, so that a later version's default takes effect.
func (c *Config) WriteTOML(w io.Writer) error {
	def := Default()
	defaults := map[string]string{}
	for _, k := range def.Keys() {
		defaults[k.Name] = k.Value
	}
	var b strings.Builder
	b.WriteString("# Breakwater's configuration. A key behind # shows its default.\n")
	b.WriteString("# `breakwater check` says what is wrong with it; SIGHUP makes a running host read it again.\n\n")
	walk(reflect.ValueOf(c).Elem(), "", func(name, doc string, v reflect.Value) {
		if v.Kind() == reflect.Struct {
			fmt.Fprintf(&b, "\n# %s\n[%s]\n", doc, name)
			return
		}
		key := name[strings.LastIndexByte(name, '.')+1:]
		mark := ""
		if literal(v) == defaults[name] {
			mark = "# "
		}
		fmt.Fprintf(&b, "# %s\n%s%s = %s\n", doc, mark, key, literal(v))
	})
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteReference writes docs/operations/config.md's table of keys.
func WriteReference(w io.Writer) error {
	c := Default()
	var b strings.Builder
	b.WriteString("| key | default | what it does |\n|---|---|---|\n")
	for _, k := range c.Keys() {
		fmt.Fprintf(&b, "| `%s` | `%s` | %s |\n", k.Name, k.Value, k.Doc)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// keysSet lists the keys that a file sets.
func keysSet(b []byte) (map[string]bool, error) {
	var tree map[string]any
	if err := toml.Unmarshal(b, &tree); err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	set := map[string]bool{}
	var visit func(prefix string, m map[string]any)
	visit = func(prefix string, m map[string]any) {
		for k, v := range m {
			set[prefix+k] = true
			if sub, ok := v.(map[string]any); ok {
				visit(prefix+k+".", sub)
			}
		}
	}
	visit("", tree)
	return set, nil
}

// suggestion returns "; did you mean …" for the nearest existing key.
func suggestion(key string) string {
	c := Default()
	best, bestDistance := "", len(key)/2+1
	walk(reflect.ValueOf(&c).Elem(), "", func(name, _ string, _ reflect.Value) {
		last := name[strings.LastIndexByte(name, '.')+1:]
		d := min(distance(key, name), distance(key[strings.LastIndexByte(key, '.')+1:], last)+1)
		if d < bestDistance {
			best, bestDistance = name, d
		}
	})
	if best == "" {
		return "; `breakwater check --keys` lists the keys"
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// distance is the number of single-byte edits between two keys.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
