package config

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// document is a TOML file read without regard to what its keys mean.
type document struct {
	name  string
	data  []byte
	tree  map[string]any
	lines map[string]int // by dotted key as in Problem
}

// parseDocument reads the file. A mistake of syntax ends it, alone: what follows such
// a mistake can't be understood.
func parseDocument(name string, data []byte) (*document, error) {
	data = bytes.TrimPrefix(data, []byte("\ufeff")) // which some editors put first, and nobody sees
	doc := &document{name: name, data: data, lines: map[string]int{}}
	if err := toml.Unmarshal(data, &doc.tree); err != nil {
		p := &Problem{File: name, Text: strings.TrimPrefix(err.Error(), "toml: ")}
		// The text of a decode error names tokens; its String, not used here, would
		// quote the lines around, which may hold a secret.
		if de, ok := errors.AsType[*toml.DecodeError](err); ok {
			p.Line, _ = de.Position()
		}
		return nil, p
	}
	doc.locate()
	return doc, nil
}

// locate notes the line of every key. The decoder gives values without places, and
// stops at the first value of a wrong type; so the places come from the parser.
func (doc *document) locate() {
	var p unstable.Parser
	p.Reset(doc.data)
	prefix := ""
	count := map[string]int{} // tables seen of each array
	for p.NextExpression() {
		e := p.Expression()
		switch e.Kind {
		case unstable.Table:
			prefix, _ = doc.keys("", e.Key(), count)
		case unstable.ArrayTable:
			_, array := doc.keys("", e.Key(), count)
			prefix = index(array, count[array])
			count[array]++
			if it := e.Key(); it.Next() {
				doc.lines[prefix] = doc.lineAt(it.Node().Raw)
			}
		case unstable.KeyValue:
			doc.keyValue(prefix, e, count)
		}
	}
}

// keys walks a dotted key below prefix, notes its lines, and returns the path. A part
// that names an array of tables stands for the last of them; name is the path where that
// does not go for the last part, so that it can be the array's own name.
func (doc *document) keys(prefix string, it unstable.Iterator, count map[string]int) (path, name string) {
	path = prefix
	for it.Next() {
		path = join(path, string(it.Node().Data))
		if _, seen := doc.lines[path]; !seen {
			doc.lines[path] = doc.lineAt(it.Node().Raw)
		}
		name = path
		if n := count[path]; n > 0 {
			path = index(path, n-1)
		}
	}
	return path, name
}

func (doc *document) keyValue(prefix string, e *unstable.Node, count map[string]int) {
	path, _ := doc.keys(prefix, e.Key(), count)
	doc.value(path, e.Value(), count)
}

// value notes the lines of the keys of inline tables, also inside arrays.
func (doc *document) value(path string, node *unstable.Node, count map[string]int) {
	it := node.Children()
	switch node.Kind {
	case unstable.InlineTable:
		for it.Next() {
			doc.keyValue(path, it.Node(), count)
		}
	case unstable.Array:
		for i := 0; it.Next(); i++ {
			at := index(path, i)
			if raw := it.Node().Raw; raw.Length > 0 {
				doc.lines[at] = doc.lineAt(raw)
			}
			doc.value(at, it.Node(), count)
		}
	}
}

func (doc *document) lineAt(r unstable.Range) int {
	return 1 + bytes.Count(doc.data[:r.Offset], []byte("\n"))
}

// line is the line of the key, else of the nearest table or array around it, else 0.
func (doc *document) line(key string) int {
	for key != "" {
		if n := doc.lines[key]; n > 0 {
			return n
		}
		key = around(key)
	}
	return 0
}

// around is the key of the table or array that a key stands in, "" for none.
func around(key string) string { return key[:max(strings.LastIndexAny(key, ".["), 0)] }

func (doc *document) problem(key, format string, args ...any) *Problem {
	return &Problem{File: doc.name, Line: doc.line(key), Key: key, Text: fmt.Sprintf(format, args...)}
}

func join(prefix, key string) string {
	if prefix == "" {
		return key
	}
	return prefix + "." + key
}

func index(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }
