package packaging

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// What CI, the Dockerfile and CONTRIBUTING.md call is there.
func TestWhatIsCalledIsThere(t *testing.T) {
	targets := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^([a-z]+):`).FindAllStringSubmatch(read(t, "Makefile"), -1) {
		targets[m[1]] = true
	}
	var ci map[string]any
	if err := yaml.Unmarshal([]byte(read(t, ".gitlab-ci.yml")), &ci); err != nil {
		t.Fatal(err)
	}
	for _, job := range []string{"test", "vulnerabilities", "packages", "release"} {
		steps := ci[job].(map[string]any)["script"].([]any)
		if len(steps) == 0 {
			t.Errorf("%s has no script", job)
		}
		for _, step := range steps {
			word, rest, _ := strings.Cut(step.(string), " ")
			switch {
			case word == "make":
				if !targets[rest] {
					t.Errorf("%s: no target %q in the Makefile", job, rest)
				}
			case strings.Contains(word, "/"):
				if info, err := os.Stat(filepath.Join("..", word)); err != nil || info.Mode()&0o111 == 0 {
					t.Errorf("%s: %s is no program: %v", job, word, err)
				}
			}
		}
	}
	// GitLab makes a release by glab, which has an image of its own.
	for name, job := range ci {
		if job, ok := job.(map[string]any); ok && job["release"] != nil && !strings.Contains(fmt.Sprint(job["image"]), "/cli:") {
			t.Errorf("%s has the keyword release, and an image without glab: %v", name, job["image"])
		}
	}
	contributing := read(t, "CONTRIBUTING.md")
	for _, m := range regexp.MustCompile("`make ([a-z]+)`").FindAllStringSubmatch(contributing, -1) {
		if !targets[m[1]] {
			t.Errorf("CONTRIBUTING.md: no target %q in the Makefile", m[1])
		}
	}
	for _, m := range regexp.MustCompile("`([a-zA-Z./-]+/[a-zA-Z./-]+|[A-Za-z]+\\.md)`").FindAllStringSubmatch(contributing, -1) {
		if _, err := os.Stat(filepath.Join("..", m[1])); err != nil {
			t.Errorf("CONTRIBUTING.md: %v", err)
		}
	}
}

// The Dockerfile copies examples of this repository, and a binary under the name that
// a release gives it.
func TestDockerfile(t *testing.T) {
	const binary = "dist/eci-executor-linux-"
	if !strings.Contains(read(t, "packaging/release"), `"`+binary+`$arch"`) {
		t.Errorf("a release has no %s*", binary)
	}
	copies := 0
	for line := range strings.SplitSeq(read(t, "packaging/Dockerfile"), "\n") {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] != "COPY" {
			continue
		}
		copies++
		for _, source := range words[1 : len(words)-1] {
			if strings.HasPrefix(source, binary) {
				continue
			}
			if _, err := os.Stat(filepath.Join("..", source)); err != nil {
				t.Error(err)
			}
		}
	}
	if copies == 0 {
		t.Error("the Dockerfile copies nothing")
	}
}

func TestRenovate(t *testing.T) {
	d := json.NewDecoder(bytes.NewReader([]byte(read(t, "renovate.json"))))
	d.DisallowUnknownFields()
	var settings struct {
		Schema            string   `json:"$schema"`
		Extends           []string `json:"extends"`
		PostUpdateOptions []string `json:"postUpdateOptions"`
		PackageRules      []struct {
			Description       string   `json:"description"`
			MatchPackageNames []string `json:"matchPackageNames"`
			MatchFileNames    []string `json:"matchFileNames"`
			GroupName         string   `json:"groupName"`
			Schedule          []string `json:"schedule"`
			AllowedVersions   string   `json:"allowedVersions"`
		} `json:"packageRules"`
	}
	if err := d.Decode(&settings); err != nil {
		t.Fatal(err)
	}
	modules := read(t, "go.mod") + read(t, "tools/go.mod")
	for _, rule := range settings.PackageRules {
		for _, name := range rule.MatchPackageNames {
			if !strings.Contains(modules, name+" ") {
				t.Errorf("no go.mod has %s", name)
			}
		}
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
