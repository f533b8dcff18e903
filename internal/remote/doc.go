// Package remote runs a job's scripts inside a container group: the sh script
// that is PID 1 of helper and build (eci-remote.sh), and the Go side that talks
// to it through execs.
//
// The connection of an exec carries bytes and decides nothing. A script is
// uploaded with its length and a nonce behind it, started once for its run id,
// detached from any connection, and its log and exit status are files of the group.
// What comes back are records with offsets; a lost connection is answered by a new
// exec that reads on at the last complete offset, and a run ends only with an end
// record whose length and digests agree with every byte that was sent and written out.
// Where no WebSocket can be opened, Sync gets the same records as answers of execs.
//
// The package knows neither the ECI API nor GitLab: the caller opens execs, says
// whether the group still lives, and makes an exit status of the outcome.
package remote

import _ "embed"

//go:embed eci-remote.sh
var script []byte

//go:embed eci-remote-attach.sh
var attachScript []byte

//go:embed eci-remote-sync.sh
var syncScript []byte

// ScriptFile is one file of the volume at ScriptDir.
type ScriptFile struct {
	Name    string
	Content []byte
}

// Scripts are the files that helper and build find at ScriptDir.
func Scripts() []ScriptFile {
	return []ScriptFile{{scriptName, script}, {scriptName + "-attach", attachScript}, {scriptName + "-sync", syncScript}}
}

// Where the group mounts what the script needs. Script and its two volumes are
// found relative to each other, so they must keep this common parent.
const (
	ScriptDir  = "/.eci/remote"  // the scripts' config-file volume
	scriptName = "eci-remote"    // the first of them there
	ControlDir = "/.eci/control" // scripts, claims, exit records, FIFOs: a small memory EmptyDir
	LogDir     = "/.eci/logs"    // logs: an EmptyDir on disk
	scriptPath = ScriptDir + "/" + scriptName
)

// Role names the container whose PID 1 runs a script.
type Role string

// The two containers that run scripts.
const (
	Helper Role = "helper"
	Build  Role = "build"
)

// HelperCommand is PID 1 of helper, which makes buildsDir usable by any uid, and
// those of nasDirs, directories of helper, that hold nothing yet.
func HelperCommand(buildsDir string, nasDirs ...string) []string {
	return append([]string{"sh", scriptPath, "helper", buildsDir}, nasDirs...)
}

// BuildCommand is PID 1 of build.
func BuildCommand() []string { return []string{"sh", scriptPath, "build"} }
