package nasmount

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode"

	"github.com/eci-executor/eci-executor/internal/pattern"
)

// Error is one mistake in one table.
type Error struct {
	Index int    // of the table, from 0
	Key   string // toml key, e.g. "mount_path"
	Text  string // what is wrong, without the place
}

// Error names the table by its number, counted from 1 as a reader does.
func (e *Error) Error() string {
	return fmt.Sprintf("nas %d: %s: %s", e.Index+1, e.Key, e.Text)
}

// nameMax leaves room for the prefix of the volume name in a DNS label of 63.
const nameMax = 63 - len(volumePrefix)

var (
	label  = pattern.Lazy(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)
	host   = pattern.Lazy(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$`)
	option = pattern.Lazy(`^[a-z][a-z0-9_]*(=[A-Za-z0-9._/:-]+)?$`)
)

// checker collects the mistakes of all tables.
type checker struct {
	errs []error
	i    int // table in hand
}

func (c *checker) add(key, format string, args ...any) {
	c.errs = append(c.errs, &Error{Index: c.i, Key: key, Text: fmt.Sprintf(format, args...)})
}

// Check tells every mistake in the tables at once, as *Error values joined with
// errors.Join, in the order of the tables. buildsDir is the directory that jobs
// are checked out to, "" when it is not known: a table may lie there, none below it
// or around it.
func Check(mounts []Mount, buildsDir string) error {
	c := &checker{}
	for i, m := range mounts {
		c.i = i
		c.count(i)
		c.name(mounts[:i], m)
		c.server(m)
		c.path(m)
		c.subPath(m)
		c.mountPath(mounts[:i], m, buildsDir)
		c.options(m)
		c.containers(m)
	}
	return errors.Join(c.errs...)
}

func (c *checker) count(i int) {
	if i == Most {
		c.add("name", "is that of table %d, and ECI has room for %d", i+1, Most)
	}
}

func (c *checker) name(before []Mount, m Mount) {
	switch {
	case m.Name == "":
		c.add("name", "is required")
	case len(m.Name) > nameMax || !label().MatchString(m.Name):
		c.add("name", "%q must be at most %d of a-z, 0-9 and -, with no - at either end", m.Name, nameMax)
	default:
		if j := slices.IndexFunc(before, func(o Mount) bool { return o.Name == m.Name }); j >= 0 {
			c.add("name", "%q is also the name of table %d", m.Name, j+1)
		}
	}
}

func (c *checker) server(m Mount) {
	switch {
	case m.Server == "":
		c.add("server", "is required")
	case strings.Contains(m.Server, "://"):
		c.add("server", "%q must be the host alone, without scheme", m.Server)
	case !host().MatchString(m.Server) || strings.Contains(m.Server, ".."):
		c.add("server", "%q must be the host of a mount target, without port or path", m.Server)
	}
}

// extreme tells whether the mount target is one of an Extreme NAS file system,
// whose exports all lie under /share and which speaks NFSv3 alone.
func extreme(m Mount) bool { return strings.Contains(m.Server, ".extreme.") }

func (c *checker) path(m Mount) {
	if m.Path == "" {
		c.add("path", "is required; / is the root of the file system")
		return
	}
	if why := badPath(m.Path); why != "" {
		c.add("path", "%q %s", m.Path, why)
		return
	}
	c.placeholders("path", m.Path)
	if extreme(m) && !within(m.Path, "/share") {
		c.add("path", "%q must start with /share: %s is an Extreme NAS mount target", m.Path, m.Server)
	}
}

func (c *checker) placeholders(key, p string) {
	for _, name := range placeholders(p) {
		if !slices.Contains(known(), name) {
			c.add(key, "{%s} is no placeholder; there are {%s}", name, strings.Join(known(), "}, {"))
		}
	}
	if strings.ContainsAny(placeholder().ReplaceAllString(p, ""), "{}") {
		c.add(key, "%q has a brace that is not part of a placeholder", p)
	}
}

func (c *checker) subPath(m Mount) {
	if m.SubPath == "" {
		return
	}
	if path.IsAbs(m.SubPath) {
		c.add("sub_path", "%q must be relative: it lies below path", m.SubPath)
		return
	}
	if why := badPath("/" + m.SubPath); why != "" {
		c.add("sub_path", "%q %s", m.SubPath, strings.Replace(why, `"/`, `"`, 1))
		return
	}
	c.placeholders("sub_path", m.SubPath)
}

// builds checks a table that is mounted where jobs are checked out.
func (c *checker) builds(m Mount) {
	if !slices.Contains(m.in(), Helper) || !slices.Contains(m.in(), Build) {
		c.add("containers", "must be both helper and build for builds_dir")
	}
	if m.ReadOnly {
		c.add("read_only", "must be false for builds_dir")
	}
	if !m.needsSlot() {
		c.add("path", "%q needs {concurrent_id} for builds_dir, so that no two jobs are checked out into one directory", m.Path)
	}
}

func (c *checker) mountPath(before []Mount, m Mount, buildsDir string) {
	if m.MountPath == "" {
		c.add("mount_path", "is required")
		return
	}
	if why := badPath(m.MountPath); why != "" {
		c.add("mount_path", "%q %s", m.MountPath, why)
		return
	}
	if strings.ContainsAny(m.MountPath, "{}") {
		c.add("mount_path", "%q takes no placeholders, only path does", m.MountPath)
		return
	}
	if m.MountPath == "/" {
		c.add("mount_path", "must not be /")
		return
	}
	if dir := Reserved(m.MountPath); dir != "" {
		c.add("mount_path", "%q overlaps %s, which is reserved", m.MountPath, dir)
	}
	if m.MountPath == buildsDir {
		c.builds(m)
	} else if buildsDir != "" && Overlap(m.MountPath, buildsDir) {
		c.add("mount_path", "%q overlaps builds_dir %q, which has a volume of its own", m.MountPath, buildsDir)
	}
	for j, o := range before {
		if Overlap(m.MountPath, o.MountPath) && shareContainer(m, o) {
			c.add("mount_path", "%q overlaps mount_path %q of table %d", m.MountPath, o.MountPath, j+1)
		}
	}
}

func shareContainer(a, b Mount) bool {
	return slices.ContainsFunc(a.in(), func(name string) bool { return slices.Contains(b.in(), name) })
}

func (c *checker) options(m Mount) {
	if m.Options == "" {
		return
	}
	seen := map[string]bool{}
	for o := range strings.SplitSeq(m.Options, ",") {
		if !option().MatchString(o) {
			c.add("options", "%q must be a word or word=value, with commas between and no spaces", o)
			continue
		}
		key, value, _ := strings.Cut(o, "=")
		if seen[key] {
			c.add("options", "%q is given twice", key)
			continue
		}
		seen[key] = true
		switch {
		case key == "nfsvers":
			c.add("options", "write vers instead of nfsvers")
		case key == "vers" && !slices.Contains([]string{"3", "4", "4.0"}, value):
			c.add("options", "vers=%s must be 3, 4 or 4.0", value)
		case key == "vers" && extreme(m) && value != "3":
			c.add("options", "vers=%s must be 3: %s is an Extreme NAS mount target", value, m.Server)
		}
	}
}

func (c *checker) containers(m Mount) {
	for i, name := range m.Containers {
		switch {
		case !slices.Contains([]string{Helper, Build, Service}, name):
			c.add("containers", "%q must be %s, %s or %s", name, Helper, Build, Service)
		case slices.Contains(m.Containers[:i], name):
			c.add("containers", "%q is given twice", name)
		}
	}
}

// badPath says why p is not a path to mount, "" when it is one.
func badPath(p string) string {
	switch {
	case strings.ContainsFunc(p, unicode.IsControl):
		return "has a control character"
	case !path.IsAbs(p):
		return "must be absolute"
	case slices.Contains(strings.Split(p, "/"), ".."):
		return "must not contain .."
	case path.Clean(p) != p:
		return fmt.Sprintf("must be written %q", path.Clean(p))
	}
	return ""
}

// within tells whether p is dir or lies below it.
func within(p, dir string) bool {
	return p == dir || strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/")
}

// Overlap tells whether two directories are one, or one lies below the other.
func Overlap(a, b string) bool { return within(a, b) || within(b, a) }

// Reserved is the directory of a container that nothing of the operator's may overlap
// and that p overlaps, "" when there is none.
func Reserved(p string) string {
	for _, dir := range []string{ReservedDir, "/dev", "/proc", "/sys"} {
		if Overlap(p, dir) {
			return dir
		}
	}
	return ""
}
