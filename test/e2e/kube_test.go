package e2e

import (
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"sync"
	"testing"
)

const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// kubeAPI stands in for a cluster's API server: Deployments and Services that kubectl
// makes and changes, behind TLS and a bearer token. Nothing comes of them.
type kubeAPI struct {
	server *httptest.Server
	token  string

	mu      sync.Mutex
	objects map[string]map[string]any // by path
}

func newKubeAPI(t *testing.T) *kubeAPI {
	t.Helper()
	k := &kubeAPI{token: "token-of-the-deployer", objects: map[string]map[string]any{}}
	mux := http.NewServeMux()
	for at, body := range map[string]string{
		"/api":          `{"kind": "APIVersions", "versions": ["v1"]}`,
		"/apis":         `{"kind": "APIGroupList", "apiVersion": "v1", "groups": [{"name": "apps", "versions": [{"groupVersion": "apps/v1", "version": "v1"}], "preferredVersion": {"groupVersion": "apps/v1", "version": "v1"}}]}`,
		"/api/v1":       `{"kind": "APIResourceList", "groupVersion": "v1", "resources": [{"name": "services", "kind": "Service", "namespaced": true, "verbs": ["create", "get", "patch"]}]}`,
		"/apis/apps/v1": `{"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "apps/v1", "resources": [{"name": "deployments", "kind": "Deployment", "namespaced": true, "verbs": ["create", "get", "patch"]}]}`,
	} {
		mux.HandleFunc("GET "+at, func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, json.RawMessage(body)) })
	}
	// A document without a schema: the client then checks no field.
	mux.HandleFunc("GET /openapi/v2", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/com.github.proto-openapi.spec.v2.v1.0+protobuf")
	})
	for _, kind := range []string{"/api/v1/namespaces/default/services", "/apis/apps/v1/namespaces/default/deployments"} {
		mux.HandleFunc("POST "+kind, k.create)
		mux.HandleFunc("GET "+kind+"/{name}", k.get)
		mux.HandleFunc("PATCH "+kind+"/{name}", k.patch)
	}
	k.server = httptest.NewUnstartedServer(k.guard(mux))
	k.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	k.server.StartTLS()
	t.Cleanup(k.server.Close)
	return k
}

// config is a kubeconfig for it, in base64 as the variable KUBE_CONFIG has it.
func (k *kubeAPI) config() string {
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: k.server.Certificate().Raw})
	return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters:
- name: production
  cluster: {server: %q, certificate-authority-data: %s}
users:
- name: deployer
  user: {token: %s}
contexts:
- name: production
  context: {cluster: production, user: deployer}
current-context: production
`, k.server.URL, base64.StdEncoding.EncodeToString(ca), k.token))
}

// image is that of the only container of a Deployment.
func (k *kubeAPI) image(t *testing.T, deployment string) string {
	t.Helper()
	k.mu.Lock()
	object, err := json.Marshal(k.objects["/apis/apps/v1/namespaces/default/deployments/"+deployment])
	k.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Spec struct {
			Template struct {
				Spec struct{ Containers []struct{ Image string } }
			}
		}
	}
	if err := json.Unmarshal(object, &d); err != nil || len(d.Spec.Template.Spec.Containers) != 1 {
		t.Fatalf("the cluster has no Deployment %s with one container: %s", deployment, object)
	}
	return d.Spec.Template.Spec.Containers[0].Image
}

func (k *kubeAPI) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte("Bearer "+k.token)) != 1 {
			refuse(w, http.StatusUnauthorized, "Unauthorized")
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (k *kubeAPI) get(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	object, ok := k.objects[r.URL.Path]
	if !ok {
		refuse(w, http.StatusNotFound, "NotFound")
		return
	}
	answer(w, http.StatusOK, object)
}

func (k *kubeAPI) create(w http.ResponseWriter, r *http.Request) {
	var object map[string]any
	if err := json.NewDecoder(r.Body).Decode(&object); err != nil {
		refuse(w, http.StatusBadRequest, "BadRequest")
		return
	}
	metadata, _ := object["metadata"].(map[string]any)
	name, _ := metadata["name"].(string)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.objects[path.Join(r.URL.Path, name)] = object
	answer(w, http.StatusCreated, object)
}

// patch takes the whole object from the annotation that kubectl apply changes with
// every patch, instead of merging by the rules of each field.
func (k *kubeAPI) patch(w http.ResponseWriter, r *http.Request) {
	var patch struct {
		Metadata struct{ Annotations map[string]string }
	}
	var object map[string]any
	err := json.NewDecoder(r.Body).Decode(&patch)
	applied := patch.Metadata.Annotations[lastApplied]
	if err != nil || json.Unmarshal([]byte(applied), &object) != nil {
		refuse(w, http.StatusBadRequest, "BadRequest")
		return
	}
	object["metadata"].(map[string]any)["annotations"] = map[string]string{lastApplied: applied}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.objects[r.URL.Path] = object
	answer(w, http.StatusOK, object)
}

func refuse(w http.ResponseWriter, code int, reason string) {
	answer(w, code, map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code, "message": strings.ToLower(reason)})
}

func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body) // a client that went away says so itself
}
