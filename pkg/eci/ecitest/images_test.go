package ecitest_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/eci-executor/eci-executor/internal/testimage"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

// report prints what a container got of its image: ids, directory, variables, arguments.
const report = `echo $(id -u):$(id -g):$(id -G) $(pwd) $HOME A=$A B=$B "$0" "$@"`

// people are the names that the test images know.
func people() map[string]string {
	return map[string]string{
		"etc/passwd": "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n",
		"etc/group":  "root:x:0:\napp:x:1001:\nmail:x:8:\nextra:x:2000:other,app\n",
	}
}

// needIDs skips where users of an image can't be had: in a user namespace with a
// single id.
func needIDs(t *testing.T) {
	t.Helper()
	if m, err := os.ReadFile("/proc/self/uid_map"); err != nil || !strings.Contains(string(m), "4294967295") {
		t.Skip("run as root: this user namespace has one user")
	}
}

// simple is a group of one container "build" from an image, with nothing but what
// more says.
func simple(image string, more ...string) map[string]string {
	return with(pairs("ContainerGroupName", "ci-test", "RestartPolicy", "Never", "Container.1.Name", "build", "Container.1.Image", image), pairs(more...))
}

// An image's configuration counts as it does under a kubelet.
func TestImageConfig(t *testing.T) {
	needIDs(t)
	const command, arg, user, group = "Container.1.Command.", "Container.1.Arg.", "Container.1.SecurityContext.RunAsUser", "Container.1.SecurityContextRunAsGroup"
	entry := func(c *v1.Config) {
		c.Entrypoint, c.Cmd = []string{"sh", "-c", report, "entry"}, []string{"c1", "c 2"}
		c.Env = append(c.Env, "A=image", "B=image")
	}
	as := func(user string) func(*v1.Config) {
		return func(c *v1.Config) { entry(c); c.User = user }
	}
	dir := t.TempDir()
	refs := map[string]v1.Image{}
	for name, change := range map[string]func(*v1.Config){
		"entry": entry, "cmd": func(c *v1.Config) { c.Cmd = []string{"sh", "-c", report, "cmd"} },
		"dir":  func(c *v1.Config) { entry(c); c.WorkingDir = "/made/by/it" },
		"home": func(c *v1.Config) { entry(c); c.Env = append(c.Env, "HOME=/h") },
		"path": func(c *v1.Config) { c.Env, c.Cmd = []string{"PATH=/none"}, []string{"sh"} },
		"bare": func(c *v1.Config) { c.Env, c.Cmd = nil, []string{"sh", "-c", "echo $PATH"} },
		"none": func(c *v1.Config) { c.Cmd = nil },
		"app":  as("app"), "app-mail": as("app:mail"), "uid": as("1000"), "stranger": as("4321"), "stranger-gid": as("4321:8"), "nobody": as("nobody"), "no-group": as("app:nobody"),
	} {
		refs["images.example/"+name+":1"] = testimage.Busybox(t, people(), change)
	}
	testimage.WriteLayout(t, dir, refs)
	s := start(t, ecitest.Options{Layouts: []ecitest.Layout{{Dir: dir}}})
	const root = "0:0:0 / /root A=image B=image "
	for _, tt := range []struct {
		name, image string
		change      []string
		want        string // printed, or a part of the failed start's message
	}{
		{"entrypoint and cmd", "entry", nil, root + "entry c1 c 2\n"},
		{"args replace cmd", "entry", []string{arg + "1", "a1"}, root + "entry a1\n"},
		{"a command replaces both", "entry", []string{command + "1", "sh", command + "2", "-c", command + "3", report}, root + "sh\n"},
		{"a command with args", "entry", []string{command + "1", "sh", command + "2", "-c", arg + "1", report, arg + "2", "x"}, root + "x\n"},
		{"cmd alone", "cmd", nil, "0:0:0 / /root A= B= cmd\n"},
		{"args replace cmd alone", "cmd", []string{arg + "1", "echo", arg + "2", "hi"}, "hi\n"},
		{"neither", "none", nil, "no command"},
		{"not on the image's path", "path", nil, "executable file not found in $PATH"},
		{"no path", "bare", nil, "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"},
		{"variables are laid over", "entry", []string{"Container.1.EnvironmentVar.1.Key", "B", "Container.1.EnvironmentVar.1.Value", "mine"}, "0:0:0 / /root A=image B=mine entry c1 c 2\n"},
		{"working directory", "dir", nil, "0:0:0 /made/by/it /root A=image B=image entry c1 c 2\n"},
		{"the container's working directory", "dir", []string{"Container.1.WorkingDir", "/other"}, "0:0:0 /other /root A=image B=image entry c1 c 2\n"},
		{"the image's HOME", "home", nil, "0:0:0 / /h A=image B=image entry c1 c 2\n"},
		{"a user's name", "app", nil, "1000:1001:1001 2000 / /home/app A=image B=image entry c1 c 2\n"},
		{"a name and a group", "app-mail", nil, "1000:8:8 2000 / /home/app A=image B=image entry c1 c 2\n"},
		{"a number with a name", "uid", nil, "1000:1001:1001 2000 / /home/app A=image B=image entry c1 c 2\n"},
		{"a number without", "stranger", nil, "4321:0:0 / / A=image B=image entry c1 c 2\n"},
		{"numbers without names", "stranger-gid", nil, "4321:8:8 / / A=image B=image entry c1 c 2\n"},
		{"a name that is none", "nobody", nil, `user "nobody" is not in the image's /etc/passwd`},
		{"a group that is none", "no-group", nil, `group "nobody" is not in the image's /etc/group`},
		{"the container's user", "app", []string{user, "4321"}, "4321:0:0 / / A=image B=image entry c1 c 2\n"},
		{"the container's user, known", "entry", []string{user, "1000"}, "1000:1001:1001 2000 / /home/app A=image B=image entry c1 c 2\n"},
		{"root by the container", "app", []string{user, "0"}, root + "entry c1 c 2\n"},
		{"the container's user and group", "app", []string{user, "4321", group, "77"}, "4321:77:77 / / A=image B=image entry c1 c 2\n"},
		{"the container's group with the image's user", "app-mail", []string{group, "77"}, "1000:77:77 2000 / /home/app A=image B=image entry c1 c 2\n"},
		{"the container's group alone", "entry", []string{group, "77"}, "0:77:77 / /root A=image B=image entry c1 c 2\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id := create(t, s, simple("images.example/"+tt.image+":1", tt.change...))
			g := await(t, s, id, func(g map[string]any) bool { return state(g, 0)["State"] == "Terminated" })
			got := logs(t, s, id)
			if !strings.HasSuffix(tt.want, "\n") {
				got = fmt.Sprint(state(g, 0)["Message"])
			}
			if !strings.Contains(got, tt.want) || strings.HasSuffix(tt.want, "\n") && got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	t.Run("an exec is the same user in the same directory", func(t *testing.T) {
		id := create(t, s, simple("images.example/app:1", "Container.1.WorkingDir", "/w", "TerminationGracePeriodSeconds", "0", command+"1", "sleep", command+"2", "1000"))
		await(t, s, id, status("Running"))
		if got := syncOutput(t, s, id, report); got != "1000:1001:1001 2000 /w /home/app A=image B=image /bin/sh\n" {
			t.Errorf("got %q", got)
		}
	})
}

// STOPSIGNAL ends a container where it is not TERM.
func TestStopSignal(t *testing.T) {
	dir := t.TempDir()
	for _, signal := range []string{"SIGINT", "INT", "2"} {
		t.Run(signal, func(t *testing.T) {
			img := testimage.Busybox(t, nil, func(c *v1.Config) {
				c.StopSignal, c.Cmd = signal, []string{"sh", "-c", "trap '' TERM; trap 'echo stopped >/nas/it; exit 0' INT; touch /ready; while :; do sleep 0.02; done"}
			})
			at := filepath.Join(dir, signal)
			testimage.WriteLayout(t, at, map[string]v1.Image{"x": img})
			s := start(t, ecitest.Options{Layouts: []ecitest.Layout{{Dir: at}}})
			id := create(t, s, simple("x", "TerminationGracePeriodSeconds", "30", "Volume.1.Name", "nas", "Volume.1.Type", "FlexVolume",
				"Volume.1.FlexVolume.Driver", "alicloud/nas", "Volume.1.FlexVolume.Options", `{"server":"nas.example","path":"/x"}`,
				"Container.1.VolumeMount.1.Name", "nas", "Container.1.VolumeMount.1.MountPath", "/nas"))
			await(t, s, id, status("Running"))
			syncOutput(t, s, id, "until [ -e /ready ]; do sleep 0.01; done")
			remove(t, s, id)
			gone(t, s, id)
			if b, err := os.ReadFile(filepath.Join(s.NASDir("nas.example", "/x"), "it")); err != nil || string(b) != "stopped\n" {
				t.Errorf("%q, %v", b, err)
			}
		})
	}
}

// text is an image that prints it.
func text(t *testing.T, content string) v1.Image {
	t.Helper()
	return testimage.Busybox(t, map[string]string{"text": content}, func(c *v1.Config) { c.Cmd = []string{"cat", "/text"} })
}

// pulling is what happened to a group's images, as events tell it.
func pulling(g map[string]any) string {
	var reasons []string
	for _, e := range g["Events"].([]any) {
		e := e.(map[string]any)
		switch reason := e["Reason"].(string); {
		case strings.Contains(e["Message"].(string), "already present"):
			reasons = append(reasons, "present")
		case strings.HasPrefix(reason, "Pull"):
			reasons = append(reasons, reason)
		case strings.HasPrefix(reason, "ErrImage"), strings.HasPrefix(reason, "InvalidImage"):
			reasons = append(reasons, reason)
		}
	}
	return strings.Join(reasons, " ")
}

const registryPassword = "pa55-of-the-registry"

// logins are the parameters that log in to hosts, in pairs of host and password.
func logins(p ...string) map[string]string {
	m := map[string]string{}
	for i := 0; i < len(p); i += 2 {
		prefix := fmt.Sprintf("ImageRegistryCredential.%d.", i/2+1)
		maps.Copy(m, pairs(prefix+"Server", p[i], prefix+"UserName", "ci", prefix+"Password", p[i+1]))
	}
	return m
}

// A registry's refusals come as the events that ECI shows, and a password goes to
// its own host and nowhere else.
func TestPullFromRegistries(t *testing.T) {
	open, closed := testimage.NewRegistry(t, false, "", ""), testimage.NewRegistry(t, false, "ci", registryPassword)
	secure := testimage.NewRegistry(t, true, "", "")
	img := text(t, "pulled\n")
	openRef, closedRef, secureRef := open.Push(t, "a/b:1", img), closed.Push(t, "a/b:1", img), secure.Push(t, "a/b:1", img)
	plain := "PlainHttpRegistry"
	hosts := open.Host + "," + closed.Host + ",127.0.0.1:1"
	var mu sync.Mutex
	var said []string
	s := start(t, ecitest.Options{Pull: true, Log: func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		said = append(said, fmt.Sprintf(format, args...))
	}})
	for _, tt := range []struct {
		name, image  string
		change       map[string]string
		want, reason string // in the events; "" where it comes
	}{
		{"without credentials", openRef, pairs(plain, hosts), "", ""},
		{"with credentials", closedRef, with(pairs(plain, hosts), logins("other.example", "x", closed.Host, registryPassword)), "", ""},
		{"a certificate that is not checked", secureRef, pairs("InsecureRegistry", secure.Host), "", ""},
		{"image not found", open.Host + "/a/b:2", pairs(plain, hosts), "code = NotFound desc = failed to pull and unpack image", "ErrImagePull"},
		{"no login", closedRef, pairs(plain, hosts), "pull access denied", "ErrImagePull"},
		{"a login for another host", closedRef, with(pairs(plain, hosts), logins(open.Host, registryPassword)), "pull access denied", "ErrImagePull"},
		{"a wrong login", closedRef, with(pairs(plain, hosts), logins(closed.Host, "not-"+registryPassword)), "failed to authorize", "ErrImagePull"},
		{"a registry that can't be reached", "127.0.0.1:1/a:1", pairs(plain, hosts), "connect: connection refused", "ErrImagePull"},
		{"plain HTTP without leave", openRef, nil, "server gave HTTP response to HTTPS client", "ErrImagePull"},
		{"a certificate that nobody knows", secureRef, nil, "x509: certificate signed by unknown authority", "ErrImagePull"},
		{"no reference", "A:B:C", nil, "couldn't parse image name", "InvalidImageName"},
		{"never pulled", openRef, pairs(plain, hosts, "Container.1.ImagePullPolicy", "Never"), "is not present with pull policy of Never", "ErrImageNeverPull"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := len(open.Requests())
			id := create(t, s, with(simple(tt.image), tt.change))
			if tt.want == "" {
				await(t, s, id, status("Succeeded"))
				if got := logs(t, s, id); got != "pulled\n" {
					t.Errorf("log %q", got)
				}
			} else {
				g := await(t, s, id, func(g map[string]any) bool { return strings.Contains(fmt.Sprint(g["Events"]), "Error: "+tt.reason) })
				if events := fmt.Sprint(g["Events"]); !strings.Contains(events, tt.want) || g["Status"] != "Pending" {
					t.Errorf("status %v, events %s", g["Status"], events)
				}
			}
			if strings.Contains(fmt.Sprint(describe(t, s, id)), registryPassword) {
				t.Error("the group's description tells the password")
			}
			for _, r := range open.Requests()[before:] {
				if r.Username != "" {
					t.Errorf("a login reached a host that it is not for: %+v", r)
				}
			}
		})
	}
	mu.Lock()
	defer mu.Unlock()
	if strings.Contains(strings.Join(said, "\n"), registryPassword) || strings.Contains(fmt.Sprintf("%+v", s.Calls()), registryPassword) {
		t.Error("the server's log or its record of calls tells the password")
	}
	if !slices.ContainsFunc(closed.Requests(), func(r testimage.Request) bool { return r.Password == registryPassword }) {
		t.Error("the password did not reach its host")
	}
}

// What is asked of the registry follows the pull policy, and what is unpacked is
// shared by all groups.
func TestPullPolicy(t *testing.T) {
	r := testimage.NewRegistry(t, false, "", "")
	ref := r.Push(t, "app:latest", text(t, "old\n"))
	dir := t.TempDir()
	s := start(t, ecitest.Options{Pull: true, Dir: dir})
	plain := pairs("PlainHttpRegistry", r.Host)
	two := func(policy string) map[string]string {
		return with(plain, pairs("Container.1.ImagePullPolicy", policy, "Container.2.ImagePullPolicy", policy, "Container.2.Name", "second", "Container.2.Image", ref))
	}
	answer, code := call(t, s, "CreateImageCache", with(plain, pairs("ImageCacheName", "cache", "Image.1", ref)))
	if code != "" {
		t.Fatal(code)
	}
	cache := answer["ImageCacheId"].(string)
	awaitCache(t, s, cache, "Ready")
	cached := func(policy string) map[string]string { return with(two(policy), pairs("ImageSnapshotId", cache)) }
	r.Push(t, "app:latest", text(t, "new\n")) // the cache has the old one
	for _, tt := range []struct {
		name   string
		change map[string]string
		events string
		log    string
		asked  int // requests for manifests
	}{
		{"IfNotPresent, for the group's second container too", two("IfNotPresent"), "Pulling Pulled present", "new\n", 1},
		{"Always", two("Always"), "Pulling Pulled Pulling Pulled", "new\n", 2},
		{"another group asks for itself", two("IfNotPresent"), "Pulling Pulled present", "new\n", 1},
		{"from a cache", cached("IfNotPresent"), "present present", "old\n", 0},
		{"from a cache, never", cached("Never"), "present present", "old\n", 0},
		{"from a cache, always", cached("Always"), "Pulling Pulled Pulling Pulled", "new\n", 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := len(r.Requests())
			id := create(t, s, with(simple(ref), tt.change))
			g := await(t, s, id, status("Succeeded"))
			if got := pulling(g); got != tt.events {
				t.Errorf("events %q, want %q", got, tt.events)
			}
			if got := logs(t, s, id); got != tt.log {
				t.Errorf("log %q, want %q", got, tt.log)
			}
			asked := 0
			for _, req := range r.Requests()[before:] {
				if strings.Contains(req.Path, "/manifests/") {
					asked++
				}
			}
			if asked != tt.asked {
				t.Errorf("the registry was asked for a manifest %d times, want %d", asked, tt.asked)
			}
		})
	}
	if unpacked, err := os.ReadDir(filepath.Join(dir, "images")); err != nil || len(unpacked) != 2 {
		t.Errorf("%d images were unpacked, want the old and the new one (%v)", len(unpacked), err)
	}
}

// A layout that can't be read keeps the server from starting.
func TestLayoutIsChecked(t *testing.T) {
	if _, err := ecitest.Start(ecitest.Options{Dir: t.TempDir(), Layouts: []ecitest.Layout{{Dir: t.TempDir()}}}); err == nil || !strings.Contains(err.Error(), "OCI layout") {
		t.Errorf("error %v", err)
	}
}

// Capabilities that ECI lists come to root when they are asked for, and to an exec.
func TestCapabilitiesAsked(t *testing.T) {
	s := start(t, ecitest.Options{})
	for _, tt := range []struct {
		name, want string
		change     []string
	}{
		{"none", "00000000a80425fb", nil},
		{"two", "00000000a80c35fb", []string{"Container.1.SecurityContext.Capability.Add.1", "NET_ADMIN", "Container.1.SecurityContext.Capability.Add.2", "SYS_PTRACE"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id := create(t, s, script("exec sleep 60", tt.change...))
			await(t, s, id, status("Running"))
			if got := syncOutput(t, s, id, "grep CapBnd /proc/1/status; grep CapBnd /proc/self/status"); strings.Count(got, tt.want) != 2 {
				t.Errorf("%s, want %s twice", got, tt.want)
			}
		})
	}
}
