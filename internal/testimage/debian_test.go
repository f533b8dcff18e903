package testimage

import (
	"os"
	"path/filepath"
	"testing"
)

// A root of packages has their files, those of what they depend on, a shell and users.
func TestDebian(t *testing.T) {
	root := Debian(t, "mawk")
	for _, name := range []string{"usr/bin/mawk", "bin/sh", "bin/bash", "lib64/ld-linux-x86-64.so.2", "etc/passwd"} {
		if _, err := os.Stat(filepath.Join(root, name)); err != nil {
			t.Error(err)
		}
	}
	if again := Debian(t, "mawk"); again != root {
		t.Errorf("asked again, it is in %s, before in %s", again, root)
	}
}
