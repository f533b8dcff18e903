package main

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestBuiltFrom(t *testing.T) {
	platform := "go1.26.5, " + runtime.GOOS + "/" + runtime.GOARCH
	revision := debug.BuildSetting{Key: "vcs.revision", Value: "0123abcd"}
	time := debug.BuildSetting{Key: "vcs.time", Value: "2026-11-26T10:00:00Z"}
	tests := []struct {
		name     string
		settings []debug.BuildSetting
		want     string
	}{
		{"a commit", []debug.BuildSetting{revision, time, {Key: "vcs.modified", Value: "false"}}, "commit 0123abcd, 2026-11-26T10:00:00Z, " + platform},
		{"a changed tree", []debug.BuildSetting{revision, time, {Key: "vcs.modified", Value: "true"}}, "commit 0123abcd+changes, 2026-11-26T10:00:00Z, " + platform},
		{"without version control", nil, platform},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := builtFrom(&debug.BuildInfo{GoVersion: "go1.26.5", Settings: tt.settings}); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}
