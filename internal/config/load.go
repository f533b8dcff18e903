// Package config reads the driver's own file, a TOML document: every key with its
// default, strictly, and with all mistakes told at once by line.
//
// It also reads what matters here of the runner's own file, config.toml, and holds the
// two to each other (runner.go). It reads neither job variables nor the job response,
// makes no API call, and knows nothing of ECI's table of sizes: whether a size can be
// had is for the API to say.
package config

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// DefaultPath is where the driver's file is when nothing names another place.
const DefaultPath = "/etc/eci-executor/eci-executor.toml"

// secretMax bounds a file with a password in it; a bigger one is the wrong file.
const secretMax = 64 << 10

// Load reads and checks the driver's file at path, and the files with secrets that it
// names. The error, when not about reading the file itself, joins one *Problem for
// each mistake, ordered by line.
func Load(path string) (*Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return Parse(path, data)
}

// Parse is Load for a document already read; name stands for it in errors.
func Parse(name string, data []byte) (*Config, error) {
	doc, err := parseDocument(name, data)
	if err != nil {
		return nil, err
	}
	cfg := Default()
	d := &decoder{doc: doc}
	d.decode(cfg)
	cfg.setContainers()
	v := &validator{doc: doc, cfg: cfg, bad: d.bad}
	v.validate()
	v.readSecrets()
	if err := joinProblems(append(d.problems, v.problems...)); err != nil {
		return nil, err
	}
	return cfg, nil
}

// readSecrets fills in the secrets that stand in files of their own.
func (v *validator) readSecrets() {
	c := &v.cfg.Credentials
	v.readSecret("credentials.access_key_secret_file", c.AccessKeySecretFile, &c.AccessKeySecret)
	for i := range v.cfg.Registries {
		r := &v.cfg.Registries[i]
		v.readSecret(index("registry", i)+".password_file", r.PasswordFile, &r.Password)
	}
}

// readSecret puts what file holds, without the newline at its end, into to, unless the
// secret was given both ways, which is a mistake told already. What the file holds is in
// no error.
func (v *validator) readSecret(key, file string, to *Secret) {
	if file == "" || *to != "" || v.bad[key] || !v.absolute(key, file) {
		return
	}
	text, err := secretFile(file)
	if err != nil {
		v.add(key, "%v", err)
		return
	}
	*to = Secret(text)
}

func secretFile(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	switch {
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%s is not a file", path)
	case info.Mode().Perm()&0o004 != 0:
		return "", fmt.Errorf("%s is readable by everybody; chmod it to 0600", path)
	case info.Size() > secretMax:
		return "", fmt.Errorf("%s is too big for a secret (more than %d bytes)", path, secretMax)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	text := strings.TrimRight(string(data), "\r\n")
	if text == "" {
		return "", errors.New(path + " is empty")
	}
	return text, nil
}
