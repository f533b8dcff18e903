package stages

import (
	"encoding/base64"
	"encoding/json"

	"github.com/eci-executor/eci-executor/internal/config"
)

// The registry secret is the logins of the driver's [[registry]] as a config.json
// inside build, for tools that push images. It comes there as the files of volumes do.
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
