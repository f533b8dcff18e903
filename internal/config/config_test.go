package config

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/eci-executor/eci-executor/pkg/nasmount"
)

var update = flag.Bool("update", false, "write golden files")

// The smallest file that is valid.
const minimal = "region = \"ap-northeast-1\"\n"

func TestManyMistakesAtOnce(t *testing.T) {
	data, err := os.ReadFile("testdata/mistakes.toml")
	if err != nil {
		t.Fatal(err)
	}
	_, err = Parse("mistakes.toml", data)
	if err == nil {
		t.Fatal("Parse() accepted the file")
	}
	got := err.Error() + "\n"
	if strings.Contains(got, "hunter2") {
		t.Error("an error gives a secret away")
	}
	const golden = "testdata/mistakes.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-update writes it):\n%s", golden, diff)
	}
}

func TestParseMinimal(t *testing.T) {
	got, err := Parse("f", []byte(minimal))
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Region = "ap-northeast-1"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A file as an editor of another system writes it.
func TestParseMarkAndLineEnds(t *testing.T) {
	if _, err := Parse("f", []byte("\ufeff"+strings.ReplaceAll(minimal+"[build]\ncpu = 4\n", "\n", "\r\n"))); err != nil {
		t.Error(err)
	}
	_, err := Parse("f", []byte("\ufeff"+strings.ReplaceAll(minimal+"[build]\ncpi = 4\n", "\n", "\r\n")))
	if err == nil || err.Error() != "f:3: build.cpi: unknown key; did you mean cpu?" {
		t.Errorf("got %v", err)
	}
}

func TestParseValues(t *testing.T) {
	got, err := Parse("f", []byte(minimal+`
vswitch_ids = ["vsw-1", "vsw-2"]
[build]
cpu = 4
memory = "8Gi"
environment.MAVEN_ARGS = "-q"
[[nas]]
name = "cache"
server = "a.nas.aliyuncs.com"
path = "/ci"
mount_path = "/cache"
[[nas]]
name = "m2"
server = "a.nas.aliyuncs.com"
path = "/m2"
mount_path = "/root/.m2"
options = ""
containers = ["build"]
[spot]
strategy = "price-limit"
price_limit = 0.125
fallback = false
[group]
request = { MaxPendingMinute = 30, StrictSpot = true, NtpServer = "x" }
[network.host_aliases]
"10.0.0.1" = ["git.example.com"]
[timeouts]
ready = "1m30s"
`))
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Region = "ap-northeast-1"
	want.VSwitchIDs = []string{"vsw-1", "vsw-2"}
	want.Build.CPU, want.Build.Memory = 4, 8*GiB
	want.Build.Environment = map[string]string{"MAVEN_ARGS": "-q"}
	cache := nasmount.Default()
	cache.Name, cache.Server, cache.Path, cache.MountPath = "cache", "a.nas.aliyuncs.com", "/ci", "/cache"
	want.NAS = []nasmount.Mount{cache, {Name: "m2", Server: "a.nas.aliyuncs.com", Path: "/m2", MountPath: "/root/.m2", Containers: []string{"build"}}}
	want.Spot = Spot{Strategy: "price-limit", PriceLimit: 0.125, Duration: 1}
	want.Group.Request = Params{"MaxPendingMinute": "30", "StrictSpot": "true", "NtpServer": "x"}
	want.Network.HostAliases = map[string][]string{"10.0.0.1": {"git.example.com"}}
	want.Timeouts.Ready = 90 * time.Second
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}

func TestParseRefuses(t *testing.T) {
	tests := []struct {
		name string
		text string
		want string
	}{
		{"empty file", "", `f: region: is required, for instance "ap-northeast-1"`},
		{"syntax", "region = \"a-b\"\nshell = \n", "f:2: "},
		{"duplicate key", minimal + "shell = \"sh\"\nshell = \"sh\"\n", "f:3: "},
		{"unknown table", minimal + "[buidl]\ncpu = 1\n", "f:2: buidl: unknown key; did you mean build?"},
		{"unknown with nothing near", minimal + "zzz = 1\n", "f:2: zzz: unknown key\n"},
		{"table instead of array", minimal + "[nas]\nname = \"a\"\n", "f:2: nas: must be an array of tables, [[nas]], not a table"},
		{"value instead of table", minimal + "build = 3\n", "f:2: build: must be a table, [build], not a whole number"},
		{"key of another table", minimal + "[helper]\nimages = []\n", "f:3: helper.images: unknown key; did you mean image?"},
		{"key of another table, none near", minimal + "[helper]\nprice_limit = 1\n", "f:3: helper.price_limit: unknown key; did you mean price_limit in [spot]?"},
		{"two letters of a short key exchanged", minimal + "[[nsa]]\nname = \"a\"\n", "f:2: nsa: unknown key; did you mean nas?"},
		{"value instead of a table of an array", minimal + "nas = [\"a\"]\n", "f:2: nas[0]: must be a table, not a string\n"},
		{"builds_dir where the driver's own volumes are", minimal + "builds_dir = \"/.eci/builds\"\n", `f:2: builds_dir: "/.eci/builds" overlaps /.eci, which is reserved`},
		{"cache_dir where no file can be", minimal + "cache_dir = \"/proc\"\n", `f:2: cache_dir: "/proc" overlaps /proc, which is reserved`},
		{"registry secret over the driver's own volumes", minimal + "registry_secret.mount_path = \"/.eci\"\n", `f:2: registry_secret.mount_path: "/.eci" overlaps /.eci, which is reserved`},
		{"in an inline table", minimal + "build = { cpu = 1,\n memori = \"1GiB\" }\n", "f:3: build.memori: unknown key; did you mean memory?"},
		{"in the second table of an array", minimal + "[[nas]]\nname=\"a\"\nserver=\"s\"\npath=\"/a\"\nmount_path=\"/a\"\n[[nas]]\nname=\"b\"\nserver=\"s\"\npath=\"b\"\nmount_path=\"/b\"\n",
			`f:10: nas[1].path: "b" must be absolute`},
		{"builds_dir on a NAS and in memory", minimal + "[build]\nbuilds_medium=\"memory\"\n[[nas]]\nname=\"a\"\nserver=\"s\"\npath=\"/{concurrent_id}\"\nmount_path=\"/builds\"\n",
			`f:3: build.builds_medium: must be left out: builds_dir "/builds" lies on a NAS`},
		{"missing key in a table of an array", minimal + "[[registry]]\nserver = \"r\"\n",
			"f:2: registry[0]: needs one of password, password_file and acr_instance_id, and only one"},
		{"secret without id", minimal + "[credentials]\naccess_key_secret = \"s\"\n", "f:3: credentials.access_key_secret: needs access_key_id"},
		{"price limit missing", minimal + "[spot]\nstrategy = \"price-limit\"\n", `f:2: spot.price_limit: is required with strategy "price-limit"`},
		{"too many decimals", minimal + "[spot]\nstrategy = \"price-limit\"\nprice_limit = 0.1234\n", "f:4: spot.price_limit: must have at most 3 decimals"},
		{"not a number", minimal + "[build]\ncpu = nan\n", "f:3: build.cpu: must be a finite number"},
		{"root as builds_dir", minimal + "builds_dir = \"/\"\n", "f:2: builds_dir: must not be /"},
		{"own parameter", minimal + "group.request.\"Tag.1.Key\" = \"a\"\n", "f:2: group.request.Tag.1.Key: is the driver's own parameter and can't be overlaid"},
		{"control character in a key", minimal + "\"a\\nb\" = 1\n", `f:2: "a\nb": unknown key`},
		{"policy outside the allowed", minimal + "pull.policy = [\"never\"]\n", `f:2: pull.policy[0]: "never" is not in allowed_policies`},
		{"runner service without an image", minimal + "[[runner_service]]\nalias = \"db\"\n", `f:2: runner_service[0].name: "" is no image`},
		{"empty word of a runner service", minimal + "[[runner_service]]\nname = \"redis\"\ncommand = [\"redis-server\", \"--save\", \"\"]\n", "f:4: runner_service[0].command: word 3 of its command is empty, and ECI takes none that is"},
		{"runner service with nothing to run", minimal + "[[runner_service]]\nname = \"redis\"\nentrypoint = [\"\"]\n", "f:4: runner_service[0].entrypoint: it has an empty entrypoint and no command"},
		{"runner services", minimal + strings.Repeat("[[runner_service]]\nname = \"redis\"\n", 19), "f:38: runner_service[18]: is service 19, and a container group has room for 18"},
		{"value of a runner service that is too long", minimal + "[[runner_service]]\nname = \"redis\"\nvariables = { A = \"" + strings.Repeat("가", 257) + "\" }\n", "f:4: runner_service[0].variables.A: ECI takes names"},
		{"value of a variable that is too long", minimal + "[build]\nenvironment = { A = \"" + strings.Repeat("가", 257) + "\" }\n", "f:3: build.environment.A: has 257 characters; ECI takes values of at most 256"},
		{"variable of a runner service", minimal + "[[runner_service]]\nname = \"redis\"\nvariables = { \"A-B\" = \"c\" }\n", "f:4: runner_service[0].variables.A-B: ECI takes names"},
		{"secret on a NAS", minimal + "registry_secret.mount_path = \"root\"\n", "f:2: registry_secret.mount_path: \"root\" must be an absolute path"},
		{"image of a cache", minimal + "image_cache.images = [\"a\", \"B:1\"]\n", "f:2: image_cache.images[1]: \"B:1\" is not an image reference"},
		{"image of a cache twice", minimal + "image_cache.images = [\"a\", \"a\"]\n", "f:2: image_cache.images[1]: \"a\" is given twice"},
		{"images of a cache", minimal + "image_cache.images = [" + `"` + strings.Join(strings.Split("abcdefghijklmnopqrst", ""), `","`) + `"` + "]\n", "f:2: image_cache.images: has 20 items, ECI takes 19"},
		{"log service", minimal + "group.log_service = { a = 1 }\n", `f:2: group.log_service.a: "a" must be one of "name", "project"`},
		{"value of log service that is too long", minimal + "group.log_service = { tags = \"" + strings.Repeat("x", 257) + "\" }\n", "f:2: group.log_service.tags: has 257 characters; ECI takes values of at most 256"},
		{"tag with a URL", minimal + "group.tags = { docs = \"https://example.com\" }\n", "f:2: group.tags.docs: the value must not start with acs:, nor contain http:// or https://"},
		{"log service of no name", minimal + "group.log_service = { name = \"A-B\" }\n", "f:2: group.log_service.name: \"A-B\" must be at most 63"},
		{"textfile", minimal + "metrics.textfile = \"/a\"\n", `f:2: metrics.textfile: "/a" must end with .prom`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("f", []byte(tt.text))
			if err == nil || !strings.Contains(err.Error()+"\n", tt.want) {
				t.Fatalf("got %v, want %s", err, tt.want)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("one mistake makes several errors:\n%v", err)
			}
		})
	}
}

func TestLoadMissingFile(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "none.toml"))
	if !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("Load() = %v, want one that is os.ErrNotExist", err)
	}
}

func TestSecretFiles(t *testing.T) {
	tests := []struct {
		name string
		mode os.FileMode
		text string
		want string
		err  string
	}{
		{"good", 0o600, "hunter2\n", "hunter2", ""},
		{"group may read", 0o640, "hunter2", "hunter2", ""},
		{"spaces stay", 0o600, " a b \r\n", " a b ", ""},
		{"world readable", 0o644, "hunter2\n", "", "is readable by everybody; chmod it to 0600"},
		{"empty", 0o600, "\n", "", "is empty"},
		{"too big", 0o600, strings.Repeat("x", secretMax+1), "", "is too big for a secret"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			secret := filepath.Join(dir, "secret")
			if err := os.WriteFile(secret, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(secret, tt.mode); err != nil { // whatever the umask is
				t.Fatal(err)
			}
			file := filepath.Join(dir, "driver.toml")
			text := fmt.Sprintf("%s[credentials]\naccess_key_id = \"id\"\naccess_key_secret_file = %q\n[[registry]]\nserver = \"r\"\nusername = \"u\"\npassword_file = %q\n", minimal, secret, secret)
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			cfg, err := Load(file)
			if tt.err != "" {
				if err == nil || strings.Count(err.Error(), tt.err) != 2 || strings.Contains(err.Error(), "hunter2") {
					t.Fatalf("got %v, want %q for both files", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := string(cfg.Credentials.AccessKeySecret); got != tt.want {
				t.Errorf("access key secret %q, want %q", got, tt.want)
			}
			if got := string(cfg.Registries[0].Password); got != tt.want {
				t.Errorf("password %q, want %q", got, tt.want)
			}
		})
	}
}

func TestSecretHidesItself(t *testing.T) {
	c := Credentials{AccessKeyID: "id", AccessKeySecret: "hunter2"}
	asJSON, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{fmt.Sprint(c), fmt.Sprintf("%+v %#v", c, c), fmt.Sprintf("%q", c.AccessKeySecret), string(asJSON)} {
		if strings.Contains(s, "hunter2") || !strings.Contains(s, "(hidden)") {
			t.Errorf("printed as %s", s)
		}
	}
}

func TestParseSize(t *testing.T) {
	tests := []struct {
		name, in string
		want     Size
		err      string
	}{
		{"GiB", "4GiB", 4 * GiB, ""},
		{"MiB", "512MiB", 512 * MiB, ""},
		{"Kubernetes binary", "4Gi", 4 * GiB, ""},
		{"Kubernetes decimal", "4G", 4e9, ""},
		{"SI", "4GB", 4e9, ""},
		{"fraction", "1.5GiB", 1536 * MiB, ""},
		{"no unit", "4", 0, "has no unit"},
		{"unit alone", "GiB", 0, "is no size"},
		{"milli", "4m", 0, "is no size"},
		{"negative", "-1GiB", 0, "is no size"},
		{"space", "4 GiB", 0, "is no size"},
		{"two dots", "1.2.3GiB", 0, "is no size"},
		{"too big", "99999999TiB", 0, "is no size"},
		{"empty", "", 0, "is no size"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseSize(tt.in)
			if (err != nil) != (tt.err != "") || (err != nil && !strings.Contains(err.Error(), tt.err)) {
				t.Fatalf("error %v, want %q", err, tt.err)
			}
			if got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

func TestSizeReadsBackAsItself(t *testing.T) {
	for _, s := range []Size{0, 1, 1000, 4e9, 512 * MiB, 3 * GiB} {
		text, err := s.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		got := Size(-1)
		if err := got.UnmarshalText(text); err != nil || got != s {
			t.Errorf("%d is written %q and read as %d, %v", s, text, got, err)
		}
	}
}

func TestSizeGiB(t *testing.T) {
	if got := (512 * MiB).GiB(); got != 0.5 {
		t.Errorf("got %v, want 0.5", got)
	}
}

func TestImageFor(t *testing.T) {
	h := Helper{Image: "helper:{arch}-v{runner_version}"}
	tests := []struct{ name, arch, version, want string }{
		{"amd64", "amd64", "19.4.0", "helper:x86_64-v19.4.0"},
		{"arm64", "arm64", "19.4.0", "helper:arm64-v19.4.0"},
		{"version with v", "amd64", "v19.4.0", "helper:x86_64-v19.4.0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := h.ImageFor(tt.arch, tt.version); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// What is left in another region is asked for there, where the endpoint tells how.
func TestEndpointInAnotherRegion(t *testing.T) {
	tests := []struct{ name, endpoint, want string }{
		{"default", "", "https://eci-vpc.ap-northeast-1.aliyuncs.com"},
		{"public", "https://eci.cn-hangzhou.aliyuncs.com/", "https://eci.ap-northeast-1.aliyuncs.com"},
		{"of no region", "http://127.0.0.1:9300", ""},
		{"of some other region", "https://eci.cn-hangzhou-2.aliyuncs.com", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := Config{Region: "cn-hangzhou", Endpoint: tt.endpoint}
			other := c.In("ap-northeast-1")
			if got := other != nil; got != (tt.want != "") {
				t.Fatalf("it can be told: %t", got)
			}
			if other != nil && (other.EndpointURL() != tt.want || other.Region != "ap-northeast-1") {
				t.Errorf("%s in %s, want %s", other.EndpointURL(), other.Region, tt.want)
			}
			if c.Region != "cn-hangzhou" || c.Endpoint != tt.endpoint {
				t.Error("the file itself was changed")
			}
		})
	}
}

func TestEndpointURL(t *testing.T) {
	tests := []struct{ name, endpoint, want string }{
		{"default", "", "https://eci-vpc.cn-hangzhou.aliyuncs.com"},
		{"given", "http://127.0.0.1:9300", "http://127.0.0.1:9300"},
		{"trailing slash", "https://eci.cn-hangzhou.aliyuncs.com/", "https://eci.cn-hangzhou.aliyuncs.com"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := Config{Region: "cn-hangzhou", Endpoint: tt.endpoint}
			if got := c.EndpointURL(); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
