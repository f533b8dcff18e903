package config

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/eci-executor/eci-executor/internal/pattern"
	"github.com/eci-executor/eci-executor/pkg/nasmount"
)

// validator checks the values of a decoded file. Keys that did not decode are left
// out, and what would stand in them: they have their problem already.
type validator struct {
	doc      *document
	cfg      *Config
	bad      map[string]bool
	problems []*Problem
}

func (v *validator) add(key, format string, args ...any) {
	for at := key; at != ""; at = around(at) {
		if v.bad[at] {
			return
		}
	}
	v.problems = append(v.problems, v.doc.problem(key, format, args...))
}

func (v *validator) validate() {
	v.top()
	v.credentials()
	v.build()
	v.sizes()
	v.runnerServices()
	v.pull()
	v.nas()
	v.volumes()
	v.registries()
	v.imageCache()
	v.capacity()
	v.spot()
	v.network()
	v.group()
	v.allow()
	v.timeouts()
	v.exec()
	v.metrics()
}

func (v *validator) exec() {
	v.oneOf("exec.transport", v.cfg.Exec.Transport, "auto", "websocket", "sync")
}

func (v *validator) metrics() {
	file := v.cfg.Metrics.Textfile
	if file != "" && v.absolute("metrics.textfile", file) && path.Ext(file) != ".prom" {
		v.add("metrics.textfile", "%q must end with .prom: node exporter reads no other file", file)
	}
}

var (
	regionID = pattern.Lazy(`^[a-z]+(-[a-z0-9]+)+$`)
	runner   = pattern.Lazy(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)
)

// runnerNameMax keeps ci-<runner>-p<project>-j<job>-a<attempt> within the 128
// characters of a group's name.
const runnerNameMax = 63

func (v *validator) top() {
	c := v.cfg
	switch {
	case c.Region == "":
		v.add("region", `is required, for instance "ap-northeast-1"`)
	case !regionID().MatchString(c.Region):
		v.add("region", `%q is no region id such as "ap-northeast-1"`, c.Region)
	}
	v.endpoint()
	v.list("vswitch_ids", c.VSwitchIDs, 10)
	v.oneOf("vswitch_strategy", c.VSwitchStrategy, "ordered", "random")
	if n := c.RunnerName; n != "" && (len(n) > runnerNameMax || !runner().MatchString(n)) {
		v.add("runner_name", "%q must be at most %d of a-z, 0-9 and -, with no - at either end", n, runnerNameMax)
	}
	v.absolute("state_dir", c.StateDir)
	v.oneOf("shell", c.Shell, "bash", "sh")
	okay := v.directory("builds_dir", c.BuildsDir)
	okay = v.directory("cache_dir", c.CacheDir) && okay
	if okay && c.BuildsDir == c.CacheDir {
		v.add("cache_dir", "%q must not be builds_dir too", c.CacheDir)
	}
}

func (v *validator) endpoint() {
	if v.cfg.Endpoint == "" {
		return
	}
	u, err := url.Parse(v.cfg.Endpoint)
	// The value is not repeated: a URL may hold a password.
	switch {
	case err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Hostname() == "":
		v.add("endpoint", `must be a URL such as "https://eci.%s.aliyuncs.com"`, v.cfg.Region)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "":
		v.add("endpoint", "must be scheme and host alone, without user, path or query")
	}
}

func (v *validator) credentials() {
	for key := range v.bad {
		if strings.HasPrefix(key, "credentials.") {
			return // what is missing may be what did not decode
		}
	}
	c := v.cfg.Credentials
	secret := c.AccessKeySecret != ""
	file := c.AccessKeySecretFile != ""
	id := c.AccessKeyID != ""
	switch {
	case secret && file:
		v.add("credentials.access_key_secret_file", "excludes access_key_secret; give one of them")
	case id && !secret && !file:
		v.add("credentials.access_key_id", "needs access_key_secret or access_key_secret_file")
	case !id && secret:
		v.add("credentials.access_key_secret", "needs access_key_id")
	case !id && file:
		v.add("credentials.access_key_secret_file", "needs access_key_id")
	}
	if c.SecurityToken != "" && !id {
		v.add("credentials.security_token", "needs access_key_id")
	}
	if c.ECSRAMRole != "" && (id || secret || file) {
		v.add("credentials.ecs_ram_role", "excludes an access key; give one of them")
	}
}

var envName = pattern.Lazy(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)

// EnvName tells whether ECI takes the name of a variable (sources.md: create).
func EnvName(name string) bool { return envName().MatchString(name) }

// EnvValueMax is how many characters it takes as the value of one.
const EnvValueMax = 256

func (v *validator) build() {
	b := v.cfg.Build
	if b.CPU <= 0 {
		v.add("build.cpu", "must be more than 0")
	}
	if b.Memory <= 0 {
		v.add("build.memory", "must be more than 0")
	}
	v.oneOf("build.builds_medium", b.BuildsMedium, "disk", "memory")
	for name, value := range b.Environment {
		if !EnvName(name) {
			v.add("build.environment."+name, "the name must be at most 128 of A-Z, a-z, 0-9 and _, with no digit first")
		}
		if n := utf8.RuneCountInString(value); n > EnvValueMax {
			v.add("build.environment."+name, "has %d characters; ECI takes values of at most %d", n, EnvValueMax)
		}
	}
	if v.cfg.Helper.Image == "" {
		v.add("helper.image", "must not be empty; leave it out for the runner's own image")
	}
	rest := strings.NewReplacer("{arch}", "", "{runner_version}", "").Replace(v.cfg.Helper.Image)
	if strings.ContainsAny(rest, "{}") {
		v.add("helper.image", "has no placeholders but {arch} and {runner_version}")
	}
}

func (v *validator) sizes() {
	v.notNegative("helper.cpu", v.cfg.Helper.CPU)
	v.notNegative("service.cpu", v.cfg.Service.CPU)
	v.notNegative("allow.max_cpu", v.cfg.Allow.MaxCPU)
	v.notNegative("allow.max_services", float64(v.cfg.Allow.MaxServices))
}

// storageMax is what the API's machine description allows, in GiB (sources.md: metadata).
const storageMax = 5000

func (v *validator) storage(key string, gib int) {
	if gib < 0 || gib > storageMax {
		v.add(key, "must be 0 to %d (GiB)", storageMax)
	}
}

func (v *validator) pull() {
	for prefix, mirror := range v.cfg.Pull.Mirrors {
		if !strings.HasSuffix(prefix, "/") || !strings.HasSuffix(mirror, "/") || strings.Contains(prefix+mirror, "://") {
			v.add("pull.mirrors."+prefix, `write host and path with a / at the end and no scheme, such as "docker.io/" = "mirror.example.com/docker.io/"`)
		}
	}
	policies := []string{"always", "if-not-present", "never"}
	allowed := v.cfg.Pull.AllowedPolicies
	v.each("pull.allowed_policies", allowed, policies...)
	if v.each("pull.policy", v.cfg.Pull.Policy, policies...) && len(allowed) > 0 {
		for i, p := range v.cfg.Pull.Policy {
			if !slices.Contains(allowed, p) {
				v.add(index("pull.policy", i), "%q is not in allowed_policies", p)
			}
		}
	}
	for i, s := range v.cfg.Pull.PlainHTTP {
		v.registryHost(index("pull.plain_http", i), s)
	}
	for i, s := range v.cfg.Pull.Insecure {
		v.registryHost(index("pull.insecure", i), s)
	}
}

var hostPort = pattern.Lazy(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?$`)

// registryHost checks host[:port]; what else stands there, perhaps a password, is not
// repeated.
func (v *validator) registryHost(key, s string) {
	if s == "" {
		v.add(key, "is required")
	} else if !hostPort().MatchString(s) {
		v.add(key, "must be host or host:port, without scheme, user or path")
	}
}

func (v *validator) nas() {
	builds := v.cfg.BuildsDir
	if v.bad["builds_dir"] {
		builds = ""
	}
	if nasmount.At(v.cfg.NAS, v.cfg.BuildsDir) != nil && v.cfg.Build.BuildsMedium == "memory" {
		v.add("build.builds_medium", "must be left out: builds_dir %q lies on a NAS", v.cfg.BuildsDir)
	}
	err := nasmount.Check(v.cfg.NAS, builds)
	if err == nil {
		return
	}
	list, ok := err.(interface{ Unwrap() []error })
	if !ok {
		v.add("nas", "%v", err)
		return
	}
	for _, err := range list.Unwrap() {
		if e, ok := errors.AsType[*nasmount.Error](err); ok {
			v.add(index("nas", e.Index)+"."+e.Key, "%s", e.Text)
		} else {
			v.add("nas", "%v", err)
		}
	}
}

func (v *validator) registrySecret() {
	path := v.cfg.RegistrySecret.MountPath
	switch {
	case path == "":
	case !v.directory("registry_secret.mount_path", path):
	case path == v.cfg.BuildsDir || path == v.cfg.CacheDir || nasmount.At(v.cfg.NAS, path) != nil:
		v.add("registry_secret.mount_path", "%q is mounted already; \"\" leaves the secret out", path)
	}
}

func (v *validator) registries() {
	v.registrySecret()
	seen := map[string]int{}
	for i, r := range v.cfg.Registries {
		at := index("registry", i)
		v.registryHost(at+".server", r.Server)
		if j, ok := seen[r.Server]; ok && r.Server != "" {
			v.add(at+".server", "is also the server of registry %d", j+1)
		}
		seen[r.Server] = i
		v.registryLogin(at, r)
	}
}

func (v *validator) registryLogin(at string, r Registry) {
	if v.bad[at+".password"] || v.bad[at+".password_file"] || v.bad[at+".acr_instance_id"] {
		return
	}
	ways := 0
	for _, given := range []bool{r.Password != "", r.PasswordFile != "", r.ACRInstanceID != ""} {
		if given {
			ways++
		}
	}
	switch {
	case ways != 1:
		v.add(at, "needs one of password, password_file and acr_instance_id, and only one")
	case r.ACRInstanceID != "" && r.Username != "":
		v.add(at+".username", "goes with a password, not with acr_instance_id")
	case r.ACRInstanceID == "" && r.Username == "":
		v.add(at+".username", "is required with a password")
	}
}

func (v *validator) network() {
	n := v.cfg.Network
	if n.AutoEIP && n.EIPID != "" {
		v.add("network.eip_id", "excludes auto_eip; give one of them")
	}
	if n.EIPBandwidth <= 0 {
		v.add("network.eip_bandwidth", "must be more than 0 (Mbit/s)")
	}
	for i, s := range n.DNSServers {
		if _, err := netip.ParseAddr(s); err != nil {
			v.add(index("network.dns_servers", i), "%q is no IP address", s)
		}
	}
	for ip, names := range n.HostAliases {
		key := "network.host_aliases." + ip
		if _, err := netip.ParseAddr(ip); err != nil {
			v.add(key, `%q is no IP address; write { "10.0.0.1" = ["name"] }`, ip)
		}
		if len(names) == 0 || slices.Contains(names, "") {
			v.add(key, "needs at least one host name, and no empty one")
		}
	}
}

// The checks below serve several keys; they tell whether all is well.

func (v *validator) oneOf(key, value string, allowed ...string) bool {
	if slices.Contains(allowed, value) {
		return true
	}
	v.add(key, "%q must be one of %s", value, quoteAll(allowed))
	return false
}

// each checks every item of a list against what is allowed, and for repetition.
func (v *validator) each(key string, list []string, allowed ...string) bool {
	okay := true
	for i, s := range list {
		okay = v.oneOf(index(key, i), s, allowed...) && okay
		if slices.Contains(list[:i], s) {
			v.add(index(key, i), "%q is given twice", s)
			okay = false
		}
	}
	return okay
}

// list checks ids that are sent to the API as one comma list; limit 0 is none.
func (v *validator) list(key string, list []string, limit int) {
	if limit > 0 && len(list) > limit {
		v.add(key, "has %d items, ECI takes %d", len(list), limit)
	}
	for i, s := range list {
		switch {
		case s == "" || strings.ContainsAny(s, ", \t\n"):
			v.add(index(key, i), "%q must be one id, neither empty nor with a comma or space", s)
		case slices.Contains(list[:i], s):
			v.add(index(key, i), "%q is given twice", s)
		}
	}
}

func (v *validator) notNegative(key string, n float64) {
	if n < 0 {
		v.add(key, "must not be negative")
	}
}

func (v *validator) absolute(key, dir string) bool {
	switch {
	case !path.IsAbs(dir):
		v.add(key, "%q must be an absolute path", dir)
	case path.Clean(dir) != dir:
		v.add(key, "%q must be written %q", dir, path.Clean(dir))
	case dir == "/":
		v.add(key, "must not be /")
	default:
		return true
	}
	return false
}

// directory checks a directory inside the containers.
func (v *validator) directory(key, dir string) bool {
	if !v.absolute(key, dir) {
		return false
	}
	if reserved := nasmount.Reserved(dir); reserved != "" {
		v.add(key, "%q overlaps %s, which is reserved", dir, reserved)
		return false
	}
	return true
}

// globs checks patterns of the runner's kind.
func (v *validator) globs(key string, list []string) {
	for i, s := range list {
		if !doublestar.ValidatePattern(s) || s == "" {
			v.add(index(key, i), "%q is no valid pattern", s)
		}
	}
}

func quoteAll(list []string) string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = fmt.Sprintf("%q", s)
	}
	return strings.Join(quoted, ", ")
}
