// Package pipeline makes the coordinator's jobs out of a .gitlab-ci.yml, so that the
// examples that people read are the files that the tests run.
//
// It knows the keywords that those use, as GitLab documents them, and refuses all
// others. Jobs of a stage run at once, the next stage begins when all have passed:
// that is up to the caller.
package pipeline

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/eci-executor/eci-executor/test/e2e/coordinator"
)

// Stage has the jobs of a stage, in the order of the file; at least one.
type Stage struct {
	Name string
	Jobs []coordinator.Job
}

// file is what may stand beside jobs.
type file struct {
	Stages    []string          `yaml:"stages"`
	Variables map[string]string `yaml:"variables"`
	Default   defaults          `yaml:"default"`
	defaults  `yaml:",inline"`  // the older form of the same
}

// defaults are what jobs have unless they say otherwise.
type defaults struct {
	Image        image  `yaml:"image"`
	BeforeScript lines  `yaml:"before_script"`
	AfterScript  lines  `yaml:"after_script"`
	Cache        caches `yaml:"cache"`
}

// job is one job. What GitLab keeps to itself when it hands a job out is read and left
// alone.
type job struct {
	defaults  `yaml:",inline"`
	Stage     string            `yaml:"stage"`
	Script    lines             `yaml:"script"`
	Variables map[string]string `yaml:"variables"`
	Artifacts *artifacts        `yaml:"artifacts"`

	Tags          []string `yaml:"tags"`
	ResourceGroup string   `yaml:"resource_group"`
	Environment   string   `yaml:"environment"`
}

type artifacts struct {
	Paths    []string `yaml:"paths"`
	ExpireIn string   `yaml:"expire_in"`
}

type cache struct {
	Key    string   `yaml:"key"`
	Paths  []string `yaml:"paths"`
	Policy string   `yaml:"policy"`
	When   string   `yaml:"when"`
}

// Read expands the file at path.
func Read(path string) ([]Stage, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read pipeline: %w", err)
	}
	stages, err := parse(content)
	if err != nil {
		return nil, fmt.Errorf("read pipeline %s: %w", path, err)
	}
	return stages, nil
}

func parse(content []byte) ([]Stage, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(content, &doc); err != nil {
		return nil, err
	}
	if len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		return nil, errors.New("it is not a mapping")
	}
	root := doc.Content[0]
	global := yaml.Node{Kind: yaml.MappingNode}
	var names []string
	jobs := map[string]*yaml.Node{}
	for i := 0; i < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		if slices.Contains([]string{"stages", "variables", "default", "image", "before_script", "after_script", "cache"}, key.Value) {
			global.Content = append(global.Content, key, value)
			continue
		}
		names = append(names, key.Value)
		jobs[key.Value] = value
	}
	var f file
	if err := strict(&global, &f); err != nil {
		return nil, err
	}
	common := f.Default.over(f.defaults)
	if f.Stages == nil {
		f.Stages = []string{"build", "test", "deploy"} // as GitLab has it
	}
	var stages []Stage
	for _, name := range f.Stages {
		stages = append(stages, Stage{Name: name})
	}
	for _, name := range names {
		var j job
		if err := strict(jobs[name], &j); err != nil {
			return nil, fmt.Errorf("job %s: %w", name, err)
		}
		at := slices.IndexFunc(stages, func(s Stage) bool { return s.Name == j.Stage })
		if at < 0 || len(j.Script) == 0 {
			return nil, fmt.Errorf("job %s: it needs a script and one of the stages %v", name, f.Stages)
		}
		stages[at].Jobs = append(stages[at].Jobs, j.expand(name, common, f.Variables))
	}
	return slices.DeleteFunc(stages, func(s Stage) bool { return len(s.Jobs) == 0 }), nil
}

// strict decodes a node, and refuses keys that the value has no field for.
func strict(node *yaml.Node, value any) error {
	content, err := yaml.Marshal(node)
	if err != nil {
		return err
	}
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	decoder.KnownFields(true)
	return decoder.Decode(value)
}

// over is d with what it leaves out taken from below.
func (d defaults) over(below defaults) defaults {
	if d.Image.Name == "" {
		d.Image = below.Image
	}
	if d.BeforeScript == nil {
		d.BeforeScript = below.BeforeScript
	}
	if d.AfterScript == nil {
		d.AfterScript = below.AfterScript
	}
	if d.Cache == nil {
		d.Cache = below.Cache
	}
	return d
}

func (j job) expand(name string, common defaults, variables map[string]string) coordinator.Job {
	d := j.over(common)
	out := coordinator.Job{
		Name: name, Stage: j.Stage, Image: coordinator.Image(d.Image),
		Script: slices.Concat(d.BeforeScript, j.Script), AfterScript: d.AfterScript,
	}
	all := maps.Clone(variables)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, j.Variables)
	for _, key := range slices.Sorted(maps.Keys(all)) {
		out.Variables = append(out.Variables, coordinator.Variable{Key: key, Value: all[key], Public: true})
	}
	for _, c := range d.Cache {
		out.Cache = append(out.Cache, c.expand())
	}
	if a := j.Artifacts; a != nil {
		out.Artifacts = []coordinator.Artifacts{{Paths: a.Paths, ExpireIn: a.ExpireIn}}
	}
	return out
}

func (c cache) expand() coordinator.Cache {
	out := coordinator.Cache{Key: c.Key, Paths: c.Paths, Policy: c.Policy, When: c.When}
	for field, value := range map[*string]string{&out.Key: "default", &out.Policy: "pull-push", &out.When: "on_success"} {
		if *field == "" {
			*field = value
		}
	}
	return out
}

// image is a name, or a mapping with one.
type image coordinator.Image

func (i *image) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.ScalarNode {
		return node.Decode(&i.Name)
	}
	var full struct {
		Name       string   `yaml:"name"`
		Entrypoint []string `yaml:"entrypoint"`
	}
	if err := strict(node, &full); err != nil {
		return err
	}
	i.Name, i.Entrypoint = full.Name, full.Entrypoint
	return nil
}

// lines are a line of a script, or a list of them.
type lines []string

func (l *lines) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.ScalarNode {
		*l = lines{""}
		return node.Decode(&(*l)[0])
	}
	return node.Decode((*[]string)(l))
}

// caches are a cache, or a list of them.
type caches []cache

func (c *caches) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.MappingNode {
		*c = caches{{}}
		return strict(node, &(*c)[0])
	}
	return strict(node, (*[]cache)(c))
}
