package stages_test

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/eci-executor/eci-executor/internal/testdoc"
	"github.com/eci-executor/eci-executor/pkg/stages"
)

// docs/operating.md has the fields of ps --json and image-cache list --json, which
// others' programs read, in their order.
func TestJSONDocument(t *testing.T) {
	page, err := os.ReadFile("../../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	for heading, listed := range map[string]any{"## What runs: ps": stages.Listed{}, "## Images on a disk: image-cache": stages.ListedCache{}} {
		_, section, _ := strings.Cut(string(page), heading)
		m := regexp.MustCompile(`array of objects with ([^.;]*)[.;]`).FindStringSubmatch(section)
		if m == nil {
			t.Errorf("%s names no fields", heading)
			continue
		}
		if diff := cmp.Diff(fieldsOf(reflect.TypeOf(listed)), testdoc.Code(m[1])); diff != "" {
			t.Errorf("%s: fields in the code (-) and on the page (+):\n%s", heading, diff)
		}
	}
}

// fieldsOf are the names in JSON, those of a struct inside behind its own.
func fieldsOf(of reflect.Type) (names []string) {
	for field := range of.Fields() {
		names = append(names, field.Tag.Get("json"))
		if inner := field.Type; inner.Kind() == reflect.Pointer && inner.Elem() == reflect.TypeFor[stages.Spent]() {
			names = append(names, fieldsOf(inner.Elem())...)
		}
	}
	return names
}
