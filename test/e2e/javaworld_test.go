package e2e

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/eci-executor/eci-executor/internal/gitserver"
	"github.com/eci-executor/eci-executor/internal/testimage"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

const registryPassword = "of-the-registry"

// javaWorld is where the pipelines of the Java demo run: a project with two branches,
// images of Debian's packages, and stand-ins for Maven Central, a registry with a login,
// and a cluster.
type javaWorld struct {
	*env
	maven    *mavenRepository
	registry *testimage.Registry
	kube     *kubeAPI
	commits  map[string]string // by branch: main, feature
}

// javaWorldSetup is what differs between two of them.
type javaWorldSetup struct {
	m2 string // the NAS path of /root/.m2
	// files makes a branch's files out of the example's, for a registry.
	files func(files map[string]string, registry string)
}

func newJavaWorld(t *testing.T, setup javaWorldSetup) *javaWorld {
	t.Helper()
	needContainers(t)
	java := testimage.Debian(t, "openjdk-17-jdk-headless", "maven", "libmaven-clean-plugin-java", "libmaven-resources-plugin-java",
		"libmaven-compiler-plugin-java", "libsurefire-java", "libmaven-war-plugin-java")
	w := &javaWorld{maven: newMavenRepository(t, java), registry: testimage.NewRegistry(t, false, "ci", registryPassword), kube: newKubeAPI(t)}
	w.registry.Push(t, "hub/library/tomcat:9-jre17", testimage.Busybox(t, map[string]string{"usr/local/tomcat/webapps/README": "empty\n"}, nil))
	w.env = newDriverEnv(t, driverSetup{
		concurrent: 2, images: w.images(t, java),
		forward: []string{w.registry.Host, strings.TrimPrefix(w.maven.url, "http://"), w.kube.server.Listener.Addr().String()},
		file: fmt.Sprintf("[[nas]]\nname = \"m2\"\nserver = %q\npath = %q\nmount_path = \"/root/.m2\"\ncontainers = [\"build\"]\n"+
			"[[registry]]\nserver = %q\nusername = \"ci\"\npassword = %q\n", nasServer, setup.m2, w.registry.Host, registryPassword),
	})
	branches := map[string]map[string]string{}
	for _, branch := range []string{gitserver.Branch, "feature"} {
		files, err := gitserver.FilesOf(javaDemo)
		if err != nil {
			t.Fatal(err)
		}
		files["src/main/webapp/branch.txt"] = branch
		// Debian's is a later one, which Maven Central has not; all others are the same.
		files["pom.xml"] = strings.ReplaceAll(files["pom.xml"], "<version>2.22.2</version>", "<version>2.22.3</version>")
		if setup.files != nil {
			setup.files(files, w.registry.Host)
		}
		branches[branch] = files
	}
	w.commits = w.addRepository("demo/java", branches)
	return w
}

// images are those of the example and of the original, by the names that those call.
func (w *javaWorld) images(t *testing.T, java string) map[string]ecitest.Image {
	t.Helper()
	jdk, err := filepath.Glob(filepath.Join(java, "usr/lib/jvm/java-17-openjdk-*"))
	if err != nil || len(jdk) == 0 {
		t.Fatalf("no JDK in %s: %v", java, err)
	}
	env := []string{"PATH=/kaniko:/usr/share/maven/bin:/usr/bin:/bin", "JAVA_HOME=" + strings.TrimPrefix(jdk[0], java),
		"MAVEN_OPTS=-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"} // short runs
	maven := layer(t, map[string]string{"etc/maven/settings.xml": w.maven.settings()})
	buildah := testimage.Debian(t, "buildah")
	kaniko, kanikoEnv := w.kaniko(t)
	return map[string]ecitest.Image{
		"maven:3-eclipse-temurin-17":             {Layers: []string{maven, java}, Env: env},
		"ghcr.io/osscontainertools/kaniko:debug": {Layers: []string{kaniko, buildah}, Env: append(kanikoEnv, env[0])},
		// The original's has Maven too.
		"registry.cn-hangzhou.aliyuncs.com/eci/kaniko:1.0":  {Layers: []string{kaniko, maven, buildah, java}, Env: append(kanikoEnv, env...)},
		"registry.cn-hangzhou.aliyuncs.com/eci/kubectl:1.0": {Layers: []string{testimage.Debian(t, "kubernetes-client")}, Env: env[:1]},
	}
}

// kaniko is a layer with kaniko's executor and what it is to know of the registry, where
// docker.io is to be found too; and variables. The executor is testdata/kaniko.sh, because
// kaniko is not to be had by the package registries that CI reaches; or the one that
// ECI_EXECUTOR_TEST_KANIKO names, to see the same with the real one.
func (w *javaWorld) kaniko(t *testing.T) (dir string, env []string) {
	t.Helper()
	executor := os.Getenv("ECI_EXECUTOR_TEST_KANIKO")
	if executor == "" {
		executor = filepath.Join("testdata", "kaniko.sh")
	}
	content, err := os.ReadFile(executor)
	if err != nil {
		t.Fatal(err)
	}
	return layer(t, map[string]string{
		"kaniko/executor": string(content), "kaniko/kaniko": string(content),
		"etc/containers/registries.conf.d/test.conf": fmt.Sprintf("[[registry]]\nlocation = %q\ninsecure = true\n"+
			"[[registry]]\nprefix = \"docker.io\"\nlocation = %q\ninsecure = true\n", w.registry.Host, w.registry.Host+"/hub"),
	}), []string{"KANIKO_REGISTRY_MAP=index.docker.io=" + w.registry.Host + "/hub", "USER=root"}
}

// layer is a directory with files by their path, all of which may be run.
func layer(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// branchIn tells which branch's application is in an image that was pushed: what
// branch.txt of its demo.war says.
func (w *javaWorld) branchIn(image string) string {
	w.Helper()
	repository, ok := strings.CutPrefix(image, w.registry.Host+"/")
	if !ok {
		w.Fatalf("%s is not in the registry %s", image, w.registry.Host)
	}
	img, err := remote.Image(w.registry.Reference(w.T, repository), remote.WithAuth(&authn.Basic{Username: "ci", Password: registryPassword}))
	if err != nil {
		w.Fatal(err)
	}
	files := mutate.Extract(img)
	defer files.Close()
	war, err := fromTar(files, "usr/local/tomcat/webapps/demo.war")
	if err != nil {
		w.Fatalf("%s: %v", image, err)
	}
	archive, err := zip.NewReader(bytes.NewReader(war), int64(len(war)))
	if err != nil {
		w.Fatal(err)
	}
	content, err := readAll(archive.Open("branch.txt"))
	if err != nil {
		w.Fatal(err)
	}
	return string(content)
}

// fromTar is the content of one file of an archive.
func fromTar(r io.Reader, name string) ([]byte, error) {
	for archive := tar.NewReader(r); ; {
		header, err := archive.Next()
		if err != nil {
			return nil, fmt.Errorf("look for %s: %w", name, err)
		}
		if strings.TrimPrefix(header.Name, "/") == name {
			return io.ReadAll(archive)
		}
	}
}

func readAll(r io.ReadCloser, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(r)
	return content, errors.Join(err, r.Close())
}
