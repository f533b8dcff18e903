package packaging

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The policy allows each action that pkg/eci calls, and no other.
func TestPolicy(t *testing.T) {
	var policy struct {
		Version   string
		Statement []struct {
			Effect, Resource string
			Action           any
			Condition        map[string]map[string][]string
		}
	}
	if err := json.Unmarshal([]byte(read(t, "packaging/ram-policy.json")), &policy); err != nil {
		t.Fatal(err)
	}
	var allowed []string
	for _, action := range policy.Statement[0].Action.([]any) {
		allowed = append(allowed, action.(string))
	}
	called := calledActions(t)
	if len(called) < 10 {
		t.Fatalf("pkg/eci calls %v: that can't be all", called)
	}
	if diff := cmp.Diff(called, allowed); diff != "" {
		t.Errorf("called (-) and allowed (+):\n%s", diff)
	}
}

// calledActions are the actions of every call{...} in pkg/eci and every Ask of
// pkg/check, as RAM names them. Who the caller is may be asked without a permission.
func calledActions(t *testing.T) []string {
	t.Helper()
	var called []string
	for _, pattern := range []string{"../pkg/eci/*.go", "../pkg/check/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(parsed, func(n ast.Node) bool {
				if action := actionOf(n); action != "" && action != "GetCallerIdentity" {
					called = append(called, "eci:"+action)
				}
				return true
			})
		}
	}
	slices.Sort(called)
	return slices.Compact(called)
}

// actionOf is the text of the first field, or of the field action, of a literal of type
// call, and of the second argument of Ask.
func actionOf(n ast.Node) string {
	switch n := n.(type) {
	case *ast.CompositeLit:
		if name, ok := n.Type.(*ast.Ident); !ok || name.Name != "call" || len(n.Elts) == 0 {
			return ""
		}
		for i, element := range n.Elts {
			field, keyed := element.(*ast.KeyValueExpr)
			if keyed && field.Key.(*ast.Ident).Name == "action" {
				return text(field.Value)
			}
			if !keyed && i == 0 {
				return text(element)
			}
		}
	case *ast.CallExpr:
		if method, ok := n.Fun.(*ast.SelectorExpr); ok && method.Sel.Name == "Ask" && len(n.Args) > 1 {
			return text(n.Args[1])
		}
	}
	return ""
}

func text(e ast.Expr) string {
	literal, ok := e.(*ast.BasicLit)
	if !ok {
		return ""
	}
	unquoted, _ := strconv.Unquote(literal.Value)
	return unquoted
}
