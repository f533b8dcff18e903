package stages

import (
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/eci-executor/eci-executor/internal/config"
)

// The registry secret is the logins of the driver's [[registry]] as a config.json
// inside build, for tools that push images. It is no parameter of the request, which
// describe calls would show: helper's first scripts write it into a volume in memory.
const (
	volumeSecret = "registry-secret"
	secretDir    = "/.eci/registry" // the volume in helper
	secretSize   = "1Mi"
)

// registrySecret is the config.json of a job's build, nil where it gets none.
func registrySecret(cfg *config.Config, job *Job) []byte {
	if cfg.RegistrySecret.MountPath == "" || cfg.RegistrySecret.ProtectedOnly && !job.RefProtected {
		return nil
	}
	type login struct {
		Auth string `json:"auth"`
	}
	auths := map[string]login{}
	for _, r := range cfg.Registries {
		if r.ACRInstanceID == "" {
			auths[dockerServer(r.Server)] = login{base64.StdEncoding.EncodeToString([]byte(r.Username + ":" + string(r.Password)))}
		}
	}
	if len(auths) == 0 {
		return nil
	}
	file, _ := json.Marshal(map[string]any{"auths": auths}) // strings always encode
	return file
}

// dockerServer is the key that docker's tools have for a registry: the hub's is a URL.
func dockerServer(server string) string {
	if server = registryServer(server); server == "docker.io" {
		return "https://index.docker.io/v1/"
	}
	return server
}

// withRegistrySecret is a script with the writing of the secret before it: of the
// sub-stages that come first in every job.
func (s *Stage) withRegistrySecret(subStage string, script []byte) []byte {
	secret := registrySecret(s.Config, s.Job)
	if secret == nil || subStage != "prepare_script" && subStage != "get_sources" {
		return script
	}
	// No line of JSON is the one that ends the text. The file is whole or not there.
	prologue := fmt.Appendf(nil, "(umask 022; cat >%[1]s/.new && mv %[1]s/.new %[1]s/config.json) <<'end of config.json' || exit 1\n%[2]s\nend of config.json\n", secretDir, secret)
	return append(prologue, script...)
}
