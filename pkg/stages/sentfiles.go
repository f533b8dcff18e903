package stages

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/eci-executor/eci-executor/internal/config"
)

// sentFile is a secret file for the job's containers. It is not part of the create request,
// which every describe call would show: helper's first scripts write it into a volume in
// memory.
type sentFile struct {
	dir, name string // dir is one of helper; name needs no quoting
	content   []byte
}

// filesMost bounds the files of all volumes together, in bytes, as Kubernetes bounds
// one secret: they are sent with each job.
const filesMost = 1 << 20

// sentFiles are those of a job: its registry secret, and the files of volumes, read
// on this host.
func sentFiles(cfg *config.Config, job *Job) ([]sentFile, error) {
	var files []sentFile
	if secret := registrySecret(cfg, job); secret != nil {
		files = append(files, sentFile{secretDir, "config.json", append(secret, '\n')})
	}
	more, err := volumeFiles(cfg)
	return append(files, more...), err
}

// ReadVolumeFiles reads the files of volumes as each job does, and counts them.
func ReadVolumeFiles(cfg *config.Config) (int, error) {
	files, err := volumeFiles(cfg)
	return len(files), err
}

// volumeFiles are the files of volumes, or the first that can't be read.
func volumeFiles(cfg *config.Config) ([]sentFile, error) {
	var files []sentFile
	room := int64(filesMost)
	for _, v := range cfg.Volumes {
		for _, name := range sortedKeys(v.Files) {
			content, err := readFile(v.Files[name], room)
			if err != nil {
				return nil, fmt.Errorf("files.%q of [[volume]] %q in the driver's file: %w", name, v.Name, err)
			}
			room -= int64(len(content))
			files = append(files, sentFile{inHelper(v), name, content})
		}
	}
	return files, nil
}

// readFile reads a file of at most so many bytes.
func readFile(path string, most int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(io.LimitReader(file, most+1))
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, err
	}
	if int64(len(content)) > most {
		return nil, fmt.Errorf("%s is too big: the files of all volumes together may have %d KiB; keep large ones on a [[nas]] or in the image", path, filesMost>>10)
	}
	return content, nil
}

// withFiles puts the writing of the job's files before a script of one of the sub-stages
// with which every job begins.
func withFiles(cfg *config.Config, job *Job, subStage string, script []byte) ([]byte, error) {
	if subStage != "prepare_script" && subStage != "get_sources" {
		return script, nil
	}
	files, err := sentFiles(cfg, job)
	if err != nil {
		return nil, err
	}
	var with []byte
	for _, f := range files {
		with = append(with, f.writing()...)
	}
	return append(with, script...), nil
}

// endOfFile is the line that ends a file's content in a script.
const endOfFile = "end of a file of eci-executor"

// writing is a piece of shell script that writes the file. It is written under the name
// ..new, which no file may have (internal/config), and then renamed: so it is whole or not
// there.
func (f sentFile) writing() []byte {
	read, text := "cat", f.content
	if !plain(text) {
		read, text = "base64 -d", append(base64.StdEncoding.AppendEncode(nil, text), '\n')
	}
	dir := "'" + strings.ReplaceAll(f.dir, "'", `'\''`) + "'"
	return fmt.Appendf(nil, "(umask 022; %[1]s >%[2]s/..new && mv %[2]s/..new %[2]s/%[3]s) <<'%[4]s' || exit 1\n%[5]s%[4]s\n",
		read, dir, f.name, endOfFile, text)
}

// plain tells whether text can stand in a script as it is, whatever the shell: whole lines of
// UTF-8 without control characters, none of which is endOfFile. Any other goes as base64.
func plain(text []byte) bool {
	odd := func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }
	return utf8.Valid(text) && !bytes.ContainsFunc(text, odd) &&
		(len(text) == 0 || text[len(text)-1] == '\n') &&
		!slices.ContainsFunc(bytes.Split(text, []byte("\n")), func(line []byte) bool { return string(line) == endOfFile })
}
