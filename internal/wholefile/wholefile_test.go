package wholefile

import (
	"os"
	"path/filepath"
	"testing"
)

func TestWrite(t *testing.T) {
	for name, write := range map[string]func(string, []byte, os.FileMode) error{"at once": Write, "durably": WriteDurably} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "a.json")
			for _, text := range []string{"a long first content", "second"} {
				if err := write(path, []byte(text), 0o640); err != nil {
					t.Fatal(err)
				}
				got, err := os.ReadFile(path)
				info, statErr := os.Stat(path)
				if err != nil || statErr != nil || string(got) != text || info.Mode() != 0o640 {
					t.Errorf("%q, %v, %v, %v", got, info, err, statErr)
				}
			}
			// A directory can't be replaced by a file.
			if err := os.MkdirAll(filepath.Join(dir, "d", "e"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := write(filepath.Join(dir, "d"), nil, 0o600); err == nil {
				t.Error("a directory was replaced")
			}
			entries, err := os.ReadDir(dir)
			if err != nil || len(entries) != 2 {
				t.Errorf("left %v, %v, want the file and the directory", entries, err)
			}
			if err := write(filepath.Join(dir, "absent", "a"), nil, 0o600); err == nil {
				t.Error("a directory was made")
			}
		})
	}
}
