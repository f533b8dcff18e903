// Package testdata embeds what the demo runs: saved job responses and the scripts
// that a real runner generated for them.
package testdata

import (
	"embed"
	"io/fs"
)

//go:embed jobs demo
var files embed.FS

// Demo is the demo's files: jobs/<job>.json, demo/repo (what the jobs clone) and
// demo/<job>/NN-<sub-stage>.sh.
func Demo() fs.FS { return files }
