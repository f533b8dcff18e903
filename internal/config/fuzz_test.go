package config

import (
	"errors"
	"os"
	"strings"
	"testing"
)

// FuzzParse looks for files that make Parse panic, accept what lacks a region, or name a
// line that is not there.
func FuzzParse(f *testing.F) {
	for _, file := range []string{"testdata/mistakes.toml", driverExample, runnerExample} {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	for _, text := range []string{
		"", "a", "region = 1", "[nas]\n[[nas]]", "[[nas]]\n[nas.x]\n[[nas.y]]\n[[nas.y]]", "nas = [[1], {a = {b = [{c = 1}]}}]",
		"a.b.c = 1\n\"a]\".b = 1\n[[\"x]\"]]\n[[\"x]\"]]", "build = 1979-05-27", "timeouts = {ready = 07:32:00}",
		"nas = [{name = \"a\"}, {nam = 1}]", "vswitch_ids = [\n1,\n2,\n]", "build.cpu = inf",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		// A random path must not be opened.
		text = strings.ReplaceAll(text, "_file", "_fil")
		cfg, err := Parse("f", []byte(text))
		if err == nil {
			if cfg.Region == "" {
				t.Error("accepted without a region")
			}
			return
		}
		list := []error{err}
		if joined, ok := err.(interface{ Unwrap() []error }); ok {
			list = joined.Unwrap()
		}
		lines := 1 + strings.Count(text, "\n")
		for _, e := range list {
			p, ok := errors.AsType[*Problem](e)
			if !ok {
				t.Fatalf("%v is no *Problem", e)
			}
			if p.Line < 0 || p.Line > lines {
				t.Errorf("%v: the file has %d lines", p, lines)
			}
			if strings.Contains(p.Error(), "\n") {
				t.Errorf("one mistake in several lines: %q", p.Error())
			}
		}
	})
}
