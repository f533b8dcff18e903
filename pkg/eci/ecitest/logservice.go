package ecitest

import (
	"cmp"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// logAgentPrefix begins the variables by which a container tells ECI's log agent what to
// collect: aliyun_logs_<name>, and aliyun_logs_<name>_project and so on (sources.md: log-service).
const logAgentPrefix = "aliyun_logs_"

// Collected is what the log agent has taken to Log Service from one source.
type Collected struct {
	Group, Container string // names
	Source           string // stdout, or the file in the container
	Text             string
}

// Collected is what a logstore has of groups that have ended. The agent is never late
// here, and misses nothing but what a log no longer shows.
func (s *Server) Collected(project, logstore string) []Collected {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Collected(nil), s.collected[[2]string{project, logstore}]...)
}

// collect takes the logs of the group, whose containers have ended, while its volumes
// are still there.
func (g *group) collect() {
	g.mu.Lock()
	volumes := g.volumes
	g.mu.Unlock()
	for _, c := range g.containers {
		env := map[string]string{}
		for _, v := range c.spec.Env {
			env[v.Key] = v.Value
		}
		for key, source := range env {
			name, ok := strings.CutPrefix(key, logAgentPrefix)
			if !ok || isAgentSetting(key, env) {
				continue
			}
			to := [2]string{env[key+"_project"], cmp.Or(env[key+"_logstore"], name)}
			texts := c.collectFiles(source, volumes)
			if !strings.HasPrefix(source, "/") {
				texts = c.collectOutput(source)
			}
			g.s.mu.Lock()
			g.s.collected[to] = append(g.s.collected[to], texts...)
			g.s.mu.Unlock()
		}
	}
}

// isAgentSetting tells whether a variable says more about another one.
func isAgentSetting(key string, env map[string]string) bool {
	for _, setting := range []string{"_project", "_logstore", "_machinegroup", "_shard", "_ttl", "_tags"} {
		if base, ok := strings.CutSuffix(key, setting); ok && env[base] != "" {
			return true
		}
	}
	return false
}

func (c *container) collectOutput(source string) []Collected {
	c.g.mu.Lock()
	log := c.log
	c.g.mu.Unlock()
	if log == nil {
		return nil
	}
	return []Collected{{c.g.spec.Name, c.spec.Name, source, log.end(maxTail, maxLogKept)}}
}

// collectFiles reads what a pattern finds on an EmptyDir of the container, the only
// place where the agent looks for files. Through os.Root: a job may have left links.
func (c *container) collectFiles(pattern string, volumes map[string]volume) []Collected {
	var found []Collected
	for _, m := range c.spec.Mounts {
		rel, err := filepath.Rel(m.Path, pattern)
		if err != nil || !filepath.IsLocal(rel) || !c.g.isEmptyDir(m.Volume) {
			continue
		}
		root, err := os.OpenRoot(filepath.Join(volumes[m.Volume].dir, m.SubPath))
		if err != nil {
			continue
		}
		names, _ := fs.Glob(root.FS(), rel) // a bad pattern finds nothing
		for _, name := range names {
			if text, err := fs.ReadFile(root.FS(), name); err == nil {
				found = append(found, Collected{c.g.spec.Name, c.spec.Name, filepath.Join(m.Path, name), string(text)})
			}
		}
		_ = root.Close()
	}
	return found
}

func (g *group) isEmptyDir(name string) bool {
	for _, v := range g.spec.Volumes {
		if v.Name == name {
			return v.Type == "EmptyDirVolume"
		}
	}
	return false
}
