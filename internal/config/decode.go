package config

import (
	"encoding"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// decoder fills a struct from a document and notes every key that does not fit. It
// stands where go-toml's strict decoder would, which stops at the first value of a
// wrong type and so can't tell all mistakes at once.
type decoder struct {
	doc      *document
	problems []*Problem
	bad      map[string]bool // keys with a problem; they keep their defaults
}

func (d *decoder) decode(cfg *Config) {
	d.bad = map[string]bool{}
	d.table("", d.doc.tree, reflect.ValueOf(cfg).Elem())
}

func (d *decoder) add(key, format string, args ...any) {
	d.bad[key] = true
	d.problems = append(d.problems, d.doc.problem(key, format, args...))
}

// wrong notes a value of the wrong type. It names the type alone: the value may be a
// password.
func (d *decoder) wrong(key, want string, got any) {
	d.add(key, "must be %s, not %s", want, kindOf(got))
}

func (d *decoder) table(path string, tree map[string]any, to reflect.Value) {
	fields := fieldsOf(to.Type())
	for _, key := range slices.Sorted(maps.Keys(tree)) {
		at := join(path, key)
		field, ok := fields[key]
		if !ok {
			d.add(at, "unknown key%s", suggest(path, key, to.Type()))
			continue
		}
		d.value(at, tree[key], to.Field(field))
	}
}

// fieldsOf maps toml keys to the numbers of the fields.
func fieldsOf(t reflect.Type) map[string]int {
	fields := map[string]int{}
	for i := range t.NumField() {
		fields[t.Field(i).Tag.Get("toml")] = i
	}
	return fields
}

// value decodes one value into a field of any type that the configuration has.
func (d *decoder) value(at string, v any, to reflect.Value) {
	if u, ok := reflect.TypeAssert[encoding.TextUnmarshaler](to.Addr()); ok {
		d.text(at, v, u)
		return
	}
	if to.Type() == reflect.TypeFor[time.Duration]() {
		d.duration(at, v, to)
		return
	}
	switch to.Kind() {
	case reflect.Struct:
		tree, ok := v.(map[string]any)
		if !ok {
			want := "a table"
			if !strings.HasSuffix(at, "]") { // in an array no header has it as its name
				want = "a table, [" + at + "]"
			}
			d.wrong(at, want, v)
			return
		}
		d.table(at, tree, to)
	case reflect.Slice:
		d.slice(at, v, to)
	case reflect.Map:
		d.dict(at, v, to)
	default:
		d.scalar(at, v, to)
	}
}

func (d *decoder) text(at string, v any, to encoding.TextUnmarshaler) {
	s, ok := v.(string)
	if !ok {
		d.wrong(at, `a string with a unit, such as "4GiB"`, v)
		return
	}
	if err := to.UnmarshalText([]byte(s)); err != nil {
		d.add(at, "%q %v", s, err)
	}
}

func (d *decoder) duration(at string, v any, to reflect.Value) {
	s, ok := v.(string)
	if !ok {
		d.wrong(at, `a string with a unit, such as "10m" or "30s"`, v)
		return
	}
	n, err := time.ParseDuration(s)
	if err != nil {
		d.add(at, `%q is no duration; write for instance "10m", "30s" or "1h30m"`, s)
		return
	}
	to.SetInt(int64(n))
}

func (d *decoder) scalar(at string, v any, to reflect.Value) {
	switch to.Kind() {
	case reflect.String:
		if s, ok := v.(string); ok {
			to.SetString(s)
			return
		}
		d.wrong(at, "a string", v)
	case reflect.Bool:
		if b, ok := v.(bool); ok {
			to.SetBool(b)
			return
		}
		d.wrong(at, "true or false", v)
	case reflect.Int:
		if n, ok := v.(int64); ok {
			to.SetInt(n)
			return
		}
		d.wrong(at, "a whole number", v)
	case reflect.Float64:
		switch n := v.(type) {
		case int64:
			to.SetFloat(float64(n))
			return
		case float64:
			if math.IsNaN(n) || math.IsInf(n, 0) {
				d.add(at, "must be a finite number")
				return
			}
			to.SetFloat(n)
			return
		}
		d.wrong(at, "a number", v)
	default:
		panic(fmt.Sprintf("config: field %s has the unexpected type %s", at, to.Type()))
	}
}

// slice decodes an array of strings or of tables.
func (d *decoder) slice(at string, v any, to reflect.Value) {
	elem := to.Type().Elem()
	list, ok := v.([]any)
	if !ok {
		if elem.Kind() == reflect.Struct {
			d.wrong(at, "an array of tables, [["+at+"]]", v)
		} else {
			d.wrong(at, "an array of strings", v)
		}
		return
	}
	out := reflect.MakeSlice(to.Type(), 0, len(list))
	for i, item := range list {
		e := newElement(elem)
		d.value(index(at, i), item, e)
		out = reflect.Append(out, e)
	}
	to.Set(out)
}

// dict decodes a table whose keys are the user's.
func (d *decoder) dict(at string, v any, to reflect.Value) {
	tree, ok := v.(map[string]any)
	if !ok {
		d.wrong(at, "a table", v)
		return
	}
	out := reflect.MakeMapWithSize(to.Type(), len(tree))
	loose := to.Type() == reflect.TypeFor[Params]()
	for _, key := range slices.Sorted(maps.Keys(tree)) {
		item := tree[key]
		if s, ok := scalarText(item); ok && loose {
			item = s
		}
		e := reflect.New(to.Type().Elem()).Elem()
		d.value(join(at, key), item, e)
		out.SetMapIndex(reflect.ValueOf(key), e)
	}
	to.Set(out)
}

// scalarText is the text of a number or boolean as a request parameter.
func scalarText(v any) (string, bool) {
	switch n := v.(type) {
	case int64:
		return strconv.FormatInt(n, 10), true
	case float64:
		return strconv.FormatFloat(n, 'f', -1, 64), true
	case bool:
		return strconv.FormatBool(n), true
	}
	return "", false
}

func kindOf(v any) string {
	switch v := v.(type) {
	case string:
		return "a string"
	case int64:
		return "a whole number"
	case float64:
		return "a number with a fraction"
	case bool:
		return "true or false"
	case map[string]any:
		return "a table"
	case []any:
		if len(v) > 0 {
			if _, ok := v[0].(map[string]any); ok {
				return "an array of tables"
			}
		}
		return "an array"
	}
	return "a date or time"
}

// suggest names the key that was perhaps meant: the nearest one of the table of type t,
// else a table elsewhere in the file that has the very key; "" when neither is near.
func suggest(path, key string, t reflect.Type) string {
	best, distance := "", 1+max(1, (len(key)+1)/3)
	for _, name := range slices.Sorted(maps.Keys(fieldsOf(t))) {
		if n := edits(strings.ToLower(key), name); n < distance {
			best, distance = name, n
		}
	}
	if best != "" {
		return fmt.Sprintf("; did you mean %s?", best)
	}
	root := reflect.TypeFor[Config]()
	for f := range root.Fields() {
		table, open, shut := f.Type, "[", "]"
		if table.Kind() == reflect.Slice {
			table, open, shut = table.Elem(), "[[", "]]"
		}
		if table.Kind() != reflect.Struct {
			if path != "" && f.Tag.Get("toml") == key {
				return fmt.Sprintf("; %s stands above the first table", key)
			}
			continue
		}
		if _, ok := fieldsOf(table)[key]; ok {
			return fmt.Sprintf("; did you mean %s in %s%s%s?", key, open, f.Tag.Get("toml"), shut)
		}
	}
	return ""
}

// edits is the number of characters to insert, delete, replace or exchange with the next
// one to get from a to b.
func edits(a, b string) int {
	rows := make([][]int, len(a)+1) // of the beginnings of a
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
		for j := 1; j <= len(b); j++ {
			if i == 0 {
				rows[0][j] = j
				continue
			}
			replaced := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				replaced++
			}
			rows[i][j] = min(replaced, rows[i-1][j]+1, rows[i][j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
