package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

// The images that sim has in any case; its driver's file names them.
const (
	simBuild  = "local/build:1"
	simHelper = "local/helper:1"
)

const simLacks = "sim's helper image has no gitlab-runner: artifacts and cache: need sim --gitlab-runner FILE"

// driverFile is an eci-executor.toml that points at the server.
func (s *sim) driverFile(server *ecitest.Server) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Local ECI at %s, profile %s; Ctrl-C ends it.\n", server.URL(), s.profile)
	if rules := s.options.Faults.Rules; len(rules) > 0 {
		fmt.Fprintf(&b, "# Faults, --seed %d:\n", s.options.Faults.Seed)
		for _, text := range rules.Strings() {
			fmt.Fprintf(&b, "#   %s\n", text)
		}
	}
	fmt.Fprint(&b, "# eci-executor.toml for it:\n")
	b.WriteString(driverFileFor("sim", server.URL(), filepath.Join(s.options.Dir, "driver"), simBuild, simHelper))
	return b.String()
}

// makeImages makes thin layers above the host's root, or takes the root file
// systems that are named, as images.
func (s *sim) makeImages(dir string) (map[string]ecitest.Image, error) {
	host, err := ecitest.HostImage(filepath.Join(dir, "host"))
	if err != nil {
		return nil, err
	}
	images := map[string]ecitest.Image{}
	for ref, root := range s.images {
		image := host
		if root != "" {
			if root, err = filepath.Abs(root); err != nil {
				return nil, err
			}
			image = ecitest.Image{Layers: []string{root}, Cmd: []string{"/bin/sh"}}
		}
		images[ref] = image
	}
	helper, ok := images[simHelper]
	if !ok { // an OCI layout's, with a gitlab-runner-helper of its own
		return images, nil
	}
	images[simHelper], err = s.helperImage(helper, filepath.Join(dir, "helper"))
	return images, err
}

// helperImage puts a gitlab-runner on top of image unless the host's own is there.
func (s *sim) helperImage(image ecitest.Image, dir string) (ecitest.Image, error) {
	if _, err := exec.LookPath("gitlab-runner"); err == nil && s.runner == "" {
		return image, nil
	}
	bin := filepath.Join(dir, "usr", "local", "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return image, err
	}
	path := filepath.Join(bin, "gitlab-runner")
	var err error
	if s.runner == "" {
		err = os.WriteFile(path, standInRunner("sim", simLacks), 0o755) //nolint:gosec // an executable of the image
	} else {
		err = copyProgram(s.runner, path)
	}
	image.Layers = append([]string{dir}, image.Layers...)
	return image, err
}

// copyProgram links a file where that is possible, for it is large.
func copyProgram(from, to string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
