package stages_test

import (
	"testing"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

// The logins of [[registry]] are a config.json inside build, of the jobs that may
// have them.
func TestRegistrySecret(t *testing.T) {
	t.Parallel()
	const auth = `{"auths":{"https://index.docker.io/v1/":{"auth":"aHViOmh1Yi1wYXNz"},"registry.example.com":{"auth":"Y2k6cmVnaXN0cnktcGFzcw=="}}}`
	tests := []struct {
		name      string
		secret    config.RegistrySecret
		protected bool
		image     string
		look      string
		want      string
	}{
		{"everywhere", config.RegistrySecret{MountPath: "/root/.docker"}, false, "host", "/root/.docker", auth},
		{"for an image of another user", config.RegistrySecret{MountPath: "/kaniko/.docker"}, false, "user:1", "/kaniko/.docker", auth},
		{"nowhere", config.RegistrySecret{}, true, "host", "/root/.docker", "none"},
		{"protected", config.RegistrySecret{MountPath: "/root/.docker", ProtectedOnly: true}, true, "host", "/root/.docker", auth},
		{"not protected", config.RegistrySecret{MountPath: "/root/.docker", ProtectedOnly: true}, false, "host", "/root/.docker", "none"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, ecitest.Options{})
			w.config.RegistrySecret = tt.secret
			w.config.Registries = []config.Registry{{Server: "docker.io", Username: "hub", Password: "hub-pass"},
				{Server: "registry.example.com", Username: "ci", Password: "registry-pass"}, {Server: "acr.example.com", ACRInstanceID: "cri-1"}}
			w.job(t, map[string]any{"git_info": map[string]any{"repo_url": "https://gitlab.example.com/group/app.git", "protected": tt.protected},
				"image": map[string]any{"name": tt.image}})
			if out, err := w.prepare(t); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if log, err := w.run(t, "get_sources", "#!/usr/bin/env bash\necho sources"); err != nil || log != "sources\n" {
				t.Errorf("get_sources says %q, %v", log, err)
			}
			log, err := w.run(t, "step_script", "cat "+tt.look+"/config.json 2>/dev/null || echo none")
			if err != nil || log != tt.want+"\n" {
				t.Errorf("build has %q, %v", log, err)
			}
			if err := w.cleanup(t); err != nil {
				t.Fatal(err)
			}
		})
	}
}
