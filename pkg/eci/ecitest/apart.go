package ecitest

import (
	"path/filepath"

	"github.com/eci-executor/eci-executor/internal/passthrough"
)

// showApart stands a file system of its own between each container and its EmptyDirs
// where Switches.FIFOsApart asks for that, and one between all and those in memory for
// Switches.MemoryDirUncounted. It fills shownTo of the volumes below dir. Where FUSE
// can't be used both switches are without effect, which is told.
func (s *Server) showApart(dir string, g *groupSpec, volumes map[string]volume) *passthrough.Server {
	var mounts []passthrough.Mount
	shown := map[string]map[string]string{}
	known := map[string]bool{}
	for _, v := range g.Volumes {
		uncounted := v.Medium == "Memory" && s.opts.Switches.MemoryDirUncounted
		if v.Type != "EmptyDirVolume" || !uncounted && !s.opts.Switches.FIFOsApart {
			continue
		}
		shown[v.Name] = map[string]string{}
		for _, c := range g.Containers {
			// Names of volumes have no dot.
			target := filepath.Join(".shown", v.Name)
			if s.opts.Switches.FIFOsApart {
				target = filepath.Join(".apart", c.Name, v.Name)
			}
			if c.mounts(v.Name) && !known[target] {
				mounts = append(mounts, passthrough.Mount{Source: v.Name, Target: target})
				known[target] = true
			}
			shown[v.Name][c.Name] = filepath.Join(dir, target)
		}
	}
	if len(mounts) == 0 {
		return nil
	}
	server, err := passthrough.Start(dir, mounts)
	if err != nil {
		s.opts.Log("ecitest: FIFOsApart and MemoryDirUncounted have no effect: %v", err)
		return nil
	}
	for name, to := range shown {
		v := volumes[name]
		v.shownTo = to
		volumes[name] = v
	}
	return server
}

// mounts tells whether the container mounts a volume.
func (c *containerSpec) mounts(volume string) bool {
	for _, m := range c.Mounts {
		if m.Volume == volume {
			return true
		}
	}
	return false
}
