package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/urfave/cli/v2"
)

// version is that of the module as the go command stamped it: a tag, or a
// pseudo-version that names the commit.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

// builtFrom is the commit and its date, where the go command stamped them
// (-buildvcs), then what compiled it for what.
func builtFrom(info *debug.BuildInfo) string {
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	var parts []string
	if commit := settings["vcs.revision"]; commit != "" {
		if settings["vcs.modified"] == "true" {
			commit += "+changes"
		}
		parts = append(parts, "commit "+commit, settings["vcs.time"])
	}
	return strings.Join(append(parts, info.GoVersion, runtime.GOOS+"/"+runtime.GOARCH), ", ")
}

func (c commands) version() *cli.Command {
	return &cli.Command{
		Name:   "version",
		Usage:  "print the version, its commit and date",
		Before: noArguments,
		Action: func(*cli.Context) error {
			info, ok := debug.ReadBuildInfo()
			if !ok { // built without modules
				info = &debug.BuildInfo{GoVersion: runtime.Version()}
			}
			_, err := fmt.Fprintf(c.stdout, "eci-executor %s (%s)\n", version(), builtFrom(info))
			return err
		},
	}
}
