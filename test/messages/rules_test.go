package messages

import (
	"regexp"
	"slices"
	"strings"
)

// Where a text of the code is to be found.
const (
	byHand    = ""          // in the tables of docs/troubleshooting.md
	nowhere   = "nowhere"   // no person meets it as a message
	file      = "file"      // generated: mistakes in the driver's file
	relations = "relations" // generated: what check says of the runner's config.toml
	lines     = "lines"     // generated: lines of check, with what to do
	told      = "told"      // generated: what goes on, and asks for nothing
)

// program is text for a shell, or of the protocol with the scripts in the group.
var program = regexp.MustCompile(`[<>]&|2>|>/|&& |\$\(|\$\{|#fail|#sync|#ok|"\$@"|^echo |\becho \w+ *>?$|^rows … cols|^end of a file of`)

// key is one of the driver's file, as it stands inside a sentence.
var key = regexp.MustCompile(`^\[\w+\] \w+$`)

// place is where a message must be found. Each rule names a place in the code, and
// why its texts are not in the tables by hand.
func place(m message) string {
	name := m.file[strings.LastIndexByte(m.file, '/')+1:]
	is := func(names ...string) bool { return slices.Contains(names, name) }
	under := func(dir string) bool { return strings.HasPrefix(m.file, dir+"/") }
	switch {
	case m.inside("Usage:", "Description:", "ArgsUsage:", "DefaultText:", "Name:") && under("cmd/eci-executor"):
		return nowhere // --help
	case m.inside("const") && under("cmd/eci-executor"):
		return nowhere // --help, and the files that demo and sim write
	case m.inside("regexp.MustCompile", "pattern.Lazy", "strings.Contains", "strings.HasPrefix", "strings.NewReplacer", "fmt.Sscanf", "sha256.Sum256"):
		return nowhere // is looked for, not said
	case m.inside(".Debug", "panic"):
		return nowhere // for who has the code beside it
	case m.inside("Help:"), is("exposition.go"):
		return nowhere // of a metric
	case program.MatchString(m.full):
		return nowhere // for a shell in the group
	case under("pkg/check") && m.inside("sh", "l.answer", "l.script", "l.call", "l.open", "l.await", "Ask"):
		return nowhere // for a shell in the group
	case key.MatchString(m.full):
		return nowhere // a name, not a sentence
	case m.inside("What:"):
		return nowhere // docs/check.md has what is looked at
	}
	switch {
	case under("internal/config") && m.inside("v.add", "d.add", "d.wrong"), is("decode.go", "size.go"),
		under("internal/config") && strings.HasPrefix(name, "validate"),
		m.file == "pkg/nasmount/check.go":
		return file
	case m.file == "internal/config/runner.go" && m.inside("Fix:", "Name:"):
		return relations
	case under("pkg/check") && m.inside("failed", "warning"):
		return lines
	case under("pkg/check") && !m.inside("fmt.Errorf", "errors.New"):
		return told
	case m.inside(".Info", "log.Info", ".Log"):
		return told // by the operator's log
	case m.inside("out.Wait", "func teller", "s.printf", "openStory", "k.say", "o.note", "d.printf", "fmt.Fprintf", "fmt.Fprint", "io.WriteString") && !m.inside("errors.New"):
		return told
	case is("version.go"), is("redacted.go") && under("pkg/eci"), m.inside("func announce"):
		return told
	case under("pkg/stages") && is("story.go", "cost.go", "choice.go", "ps.go", "reap.go", "reap_judge.go", "reap_files.go", "imagecache.go", "imagecache_plan.go", "dryrun.go") && !m.inside("fmt.Errorf", "errors.New"):
		return told
	}
	return byHand
}
