package nasmount

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/eci-executor/eci-executor/internal/pattern"
)

// placeholder is a name in braces; what stands between them is the first group.
var placeholder = pattern.Lazy(`\{([^{}]*)\}`)

// known are the placeholders that Expand fills in.
func known() []string { return []string{"project_path", "project_id", "ref_protected", concurrentID} }

// concurrentID is the placeholder of the slot that a group has for itself.
const concurrentID = "concurrent_id"

// NeedSlot tells whether a path of the mounts depends on {concurrent_id}.
func NeedSlot(mounts []Mount) bool { return slices.ContainsFunc(mounts, Mount.needsSlot) }

func (m Mount) needsSlot() bool { return slices.Contains(placeholders(m.Path+m.SubPath), concurrentID) }

// placeholders lists the names of the placeholders in p.
func placeholders(p string) []string {
	var names []string
	for _, m := range placeholder().FindAllStringSubmatch(p, -1) {
		names = append(names, m[1])
	}
	return names
}

// Values are what placeholders stand for. They must come from the job response's
// job_info and git_info, which GitLab writes, and from the driver's own state, never
// from job variables, which the job's author writes.
type Values struct {
	ProjectPath  string // {project_path}, e.g. "group/sub/project"
	ProjectID    string // {project_id}, decimal
	RefProtected bool   // {ref_protected}, "true" or "false" as CI_COMMIT_REF_PROTECTED
	ConcurrentID string // {concurrent_id}, a slot that no other group has while this one lives
}

// Expand returns the mounts with the placeholders of their paths filled in; the
// mounts given are left as they are. A value that is used and would leave its place
// in the path (empty, absolute, with "." or ".." or an empty part) is an error: an
// empty project path must not make one job's cache everybody's.
func Expand(mounts []Mount, v Values) ([]Mount, error) {
	out := slices.Clone(mounts)
	var errs []error
	for i := range out {
		m := &out[i]
		for _, field := range []struct {
			key   string
			value *string
		}{{"path", &m.Path}, {"sub_path", &m.SubPath}} {
			p, err := v.expand(*field.value)
			if err != nil {
				errs = append(errs, fmt.Errorf("nas %q: %s %q: %w", m.Name, field.key, *field.value, err))
				continue
			}
			*field.value = p
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return out, nil
}

func (v Values) expand(p string) (string, error) {
	var errs []error
	out := placeholder().ReplaceAllStringFunc(p, func(s string) string {
		name := s[1 : len(s)-1]
		value, err := v.lookup(name)
		if err != nil {
			errs = append(errs, fmt.Errorf("{%s}: %w", name, err))
		}
		return value
	})
	return out, errors.Join(errs...)
}

func (v Values) lookup(name string) (string, error) {
	switch name {
	case "project_path":
		return v.ProjectPath, unsafeValue(v.ProjectPath)
	case "project_id":
		return v.ProjectID, unsafePart(v.ProjectID)
	case concurrentID:
		return v.ConcurrentID, unsafePart(v.ConcurrentID)
	case "ref_protected":
		return strconv.FormatBool(v.RefProtected), nil
	}
	return "", errors.New("unknown placeholder")
}

// unsafePart says why value must not become a part of a path between two slashes.
func unsafePart(value string) error {
	if strings.Contains(value, "/") {
		return fmt.Errorf("value %q must not contain a slash", value)
	}
	return unsafeValue(value)
}

// unsafeValue says why value must not become part of a path.
func unsafeValue(value string) error {
	switch {
	case value == "":
		return errors.New("value is empty")
	case strings.HasPrefix(value, "/"):
		return fmt.Errorf("value %q is absolute", value)
	case strings.ContainsFunc(value, unicode.IsControl) || strings.ContainsAny(value, `\{}`):
		return fmt.Errorf("value %q has a character that is not allowed", value)
	}
	for part := range strings.SplitSeq(value, "/") {
		if part == "" || part == "." || part == ".." {
			return fmt.Errorf("value %q has the part %q", value, part)
		}
	}
	return nil
}
