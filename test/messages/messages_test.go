// Package messages holds docs/troubleshooting.md to the code: what the driver can say
// stands there, and what stands there can be said.
//
// A message is a text of two words or more in a Go file of the driver, or a sentence
// that a script inside the group prints. It is found by parsing, so that no list of
// constructors has to be kept; rules_test.go has the few places whose texts no person
// meets as a message.
package messages

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const root = "../.."

// packages are those of the driver; the local ECI and the containers that it runs are
// for tests, demo and sim, and say what they say to developers.
var packages = []string{"cmd/eci-executor", "pkg/stages", "pkg/check", "pkg/eci", "pkg/nasmount", "internal/config", "internal/metrics", "internal/remote"}

// message is a text in the code.
type message struct {
	text string // what of it can be searched for: without what is open at its edges
	full string // on one line, … for each verb
	raw  string // as it stands in the code
	file string // from the root of the repository, with "/"
	line int
	in   []string // calls, fields and function around it: "fmt.Errorf", "Usage:", "func expose"
	says bool     // it is the text of a line of check
	then string   // what check says is to be done about it
}

// inside tells whether one of names is the call or field around the text.
func (m message) inside(names ...string) bool {
	for _, in := range m.in {
		if slices.Contains(names, in) {
			return true
		}
	}
	return false
}

var (
	verb     = regexp.MustCompile(`%(\[\d+\])?[-+# 0]*(\*|\d+)?(\.(\*|\d+))?[a-zA-Z]`)
	twoWords = regexp.MustCompile(`(?s)\pL{2,}.*\s.*\pL{2,}`)
	spaces   = regexp.MustCompile(`\s+`)
	escapes  = regexp.MustCompile("\x1b\\[[0-9;]*m")
	edges    = regexp.MustCompile(`^[\s…:;,.()"*]+|[\s…:;,("*]+$`)
)

// asShown is a format as a person reads it, on one line, … for each verb.
func asShown(format string) string {
	s := escapes.ReplaceAllString(format, "")
	s = strings.ReplaceAll(verb.ReplaceAllString(s, "…"), "%%", "%")
	return strings.TrimSpace(spaces.ReplaceAllString(s, " "))
}

// core is what a person searches for: without what is open at the edges.
func core(shown string) string { return edges.ReplaceAllString(shown, "") }

// textOf is a string that is put together in the code; … stands for what is not known
// there. literal tells whether any of it is.
func textOf(e ast.Expr) (text string, literal bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind == token.STRING {
			s, err := strconv.Unquote(e.Value)
			return s, err == nil
		}
	case *ast.ParenExpr:
		return textOf(e.X)
	case *ast.BinaryExpr:
		if e.Op == token.ADD {
			left, l := textOf(e.X)
			right, r := textOf(e.Y)
			return left + right, l || r
		}
	}
	return "…", false
}

// callee is the name of a call's function, with its package or receiver.
func callee(c *ast.CallExpr) string {
	switch fn := c.Fun.(type) {
	case *ast.Ident:
		return fn.Name
	case *ast.SelectorExpr:
		if x, ok := fn.X.(*ast.Ident); ok {
			return x.Name + "." + fn.Sel.Name
		}
		return "." + fn.Sel.Name
	}
	return ""
}

// parsed finds the messages of one Go file.
type parsed struct {
	fset     *token.FileSet
	file     string
	stack    []ast.Node
	messages []message
	consts   map[string]string
}

// Visit takes strings that are put together whole, and looks into all else.
func (p *parsed) Visit(n ast.Node) ast.Visitor {
	if n == nil {
		p.stack = p.stack[:len(p.stack)-1]
		return p
	}
	switch n := n.(type) {
	case *ast.ImportSpec, *ast.StructType:
		return nil
	case *ast.ValueSpec:
		for i, name := range n.Names {
			if i < len(n.Values) {
				if text, ok := textOf(n.Values[i]); ok {
					p.consts[name.Name] = text
				}
			}
		}
	case *ast.BasicLit, *ast.BinaryExpr:
		expr := n.(ast.Expr)
		if text, ok := textOf(expr); ok {
			p.take(expr, text)
			for _, part := range variables(expr) {
				ast.Walk(p, part)
			}
			return nil
		}
	}
	p.stack = append(p.stack, n)
	return p
}

// variables are the parts of a sum that are no literals.
func variables(e ast.Expr) []ast.Expr {
	switch e := e.(type) {
	case *ast.BasicLit:
		return nil
	case *ast.ParenExpr:
		return variables(e.X)
	case *ast.BinaryExpr:
		return append(variables(e.X), variables(e.Y)...)
	}
	return []ast.Expr{e}
}

func (p *parsed) take(at ast.Expr, text string) {
	shown := asShown(text)
	m := message{text: core(shown), full: shown, raw: text, file: p.file, line: p.fset.Position(at.Pos()).Line}
	whole := true
	for _, outer := range slices.Backward(p.stack) {
		if _, function := outer.(*ast.FuncDecl); !function && !whole {
			continue
		}
		switch n := outer.(type) {
		case *ast.CallExpr:
			name := callee(n)
			m.in = append(m.in, name)
			if (name == "failed" || name == "warning") && len(n.Args) > 1 && n.Args[1] == at {
				m.says, m.then = true, p.advice(n.Args[0])
			}
		case *ast.KeyValueExpr:
			if key, ok := n.Key.(*ast.Ident); ok {
				m.in = append(m.in, key.Name+":")
			}
		case *ast.GenDecl:
			m.in = append(m.in, n.Tok.String())
		case *ast.FuncDecl:
			m.in = append(m.in, "func "+n.Name.Name)
		case *ast.FuncLit, *ast.BlockStmt:
			whole = false // what is around is no part of the sentence
		}
	}
	if m.then != "" || twoWords.MatchString(m.text) {
		p.messages = append(p.messages, m)
	}
}

// advice is what a line of check says is to be done, as far as the code tells.
func (p *parsed) advice(e ast.Expr) string {
	if text, ok := textOf(e); ok && core(text) != "" {
		return asShown(text)
	}
	switch e := e.(type) {
	case *ast.Ident:
		return asShown(p.consts[e.Name])
	case *ast.CallExpr:
		var parts []string
		for _, arg := range e.Args {
			if text := p.advice(arg); text != "" {
				parts = append(parts, text)
			}
		}
		if strings.HasSuffix(callee(e), "adviceOf") {
			parts = append([]string{"what the line says of the error"}, parts...)
		}
		return strings.Join(parts, ", else: ")
	case *ast.BinaryExpr:
		return p.advice(e.X)
	}
	return ""
}

// inSource are the messages of one Go file.
func inSource(name string, source []byte) ([]message, error) {
	p := &parsed{fset: token.NewFileSet(), file: name, consts: map[string]string{}}
	tree, err := parser.ParseFile(p.fset, name, source, parser.SkipObjectResolution)
	if err == nil {
		ast.Walk(p, tree)
	}
	return p.messages, err
}

func readFile(t *testing.T, name string) []byte {
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// inGo are the messages of the driver's Go files.
func inGo(t *testing.T) []message {
	var all []message
	for _, dir := range packages {
		files, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no Go files in %s: %v", dir, err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			found, err := inSource(dir+"/"+filepath.Base(file), readFile(t, file))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, found...)
		}
	}
	return all
}

// What a script inside the group says: the last word of fail and die, what note writes
// for helper's first log, and sentences that are kept in a variable for several of these.
var (
	said     = regexp.MustCompile(`(?:\bfail (?:final|again) |\bdie |\bnote |\becho |\b[a-z]+=)"([^"]*)"`)
	toFile   = regexp.MustCompile(`^ *(1<>|>"|>\$)`)
	variable = regexp.MustCompile(`\$\{?\w+\}?|\$\([^)]*\)|\$[*@]`)
)

// inScripts are the messages of the sh scripts of internal/remote.
func inScripts(t *testing.T) []message {
	files, err := filepath.Glob(filepath.Join(root, "internal/remote/*.sh"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts in internal/remote: %v", err)
	}
	var all []message
	for _, file := range files {
		for i, line := range strings.Split(string(readFile(t, file)), "\n") {
			for _, at := range said.FindAllStringSubmatchIndex(line, -1) {
				if toFile.MatchString(line[at[1]:]) {
					continue
				}
				full := asShown(variable.ReplaceAllString(line[at[2]:at[3]], "…"))
				if twoWords.MatchString(core(full)) {
					all = append(all, message{text: core(full), full: full, raw: line[at[2]:at[3]], file: "internal/remote/" + filepath.Base(file), line: i + 1, in: []string{"sh"}})
				}
			}
		}
	}
	return all
}
