package ecitest

import (
	"encoding/base64"
	"net/netip"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The documented limits; sources stand in eci-api.md section 2.
const (
	maxContainers   = 20
	maxVolumes      = 20
	maxCommand      = 20
	maxCommandItem  = 256 // characters
	maxArgs         = 10
	maxEnvKey       = 128
	maxEnvValue     = 256
	maxTags         = 20
	maxTagKey       = 64
	maxTagValue     = 128
	maxVSwitches    = 10
	maxInstanceType = 5
	maxImage        = 255
	maxToken        = 64
	maxConfigFile   = 32 << 10
	maxConfigFiles  = 60 << 10
)

var (
	groupName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,126}[a-z0-9]$`)
	dnsLabel  = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	envKey    = regexp.MustCompile(`^[A-Za-z_][0-9A-Za-z_]*$`)
	gibType   = regexp.MustCompile(`^([0-9.]+)-([0-9.]+)Gi$`)
)

// sizes is the table of vCPU -> GiB that ECI bills (eci-api.md 2.2).
func sizes() []struct {
	cpu    float64
	memory []float64
} {
	return []struct {
		cpu    float64
		memory []float64
	}{
		{0.25, []float64{0.5, 1}}, {0.5, []float64{1, 2}}, {1, []float64{2, 4, 8}},
		{2, []float64{1, 2, 4, 8, 16}}, {4, []float64{2, 4, 8, 16, 32}}, {8, []float64{4, 8, 16, 32, 64}},
		{12, []float64{12, 24, 48, 96}}, {16, []float64{16, 32, 64, 128}}, {24, []float64{24, 48, 96, 192}},
		{32, []float64{32, 64, 128, 256}}, {52, []float64{96, 192, 384}}, {64, []float64{128, 256, 512}},
	}
}

// roundUp gives the smallest size of the table that holds cpu and memory: fewest
// vCPU first. An unset value is the least that the other allows.
func roundUp(cpu, memory float64) (float64, float64, bool) {
	for _, s := range sizes() {
		if s.cpu < cpu {
			continue
		}
		for _, m := range s.memory {
			if m >= memory {
				return s.cpu, m, true
			}
		}
	}
	return 0, 0, false
}

// size settles the group's vCPU and GiB from group, containers or InstanceType.
func (p *params) size(g *groupSpec) {
	var cpu, memory float64
	for _, c := range g.Containers {
		ignored := slices.Contains(c.Env, tag{"__ECI_RESOURCE_IGNORE__", "TRUE"}) && g.CPU == 0 && g.MemoryGiB == 0
		if !ignored {
			cpu, memory = cpu+c.CPU, memory+c.MemoryGiB
		}
	}
	if (g.CPU > 0 && cpu > g.CPU) || (g.MemoryGiB > 0 && memory > g.MemoryGiB) {
		p.fail("InvalidParameter.CPU.Memory", "the containers' %g vCPU and %g GiB exceed the group's %g and %g", cpu, memory, g.CPU, g.MemoryGiB)
		return
	}
	types := splitList(g.InstanceType)
	if len(types) > maxInstanceType {
		p.fail("InvalidParameter", "InstanceType names %d types, at most %d are allowed", len(types), maxInstanceType)
		return
	}
	if g.CPU == 0 && g.MemoryGiB == 0 {
		if g.CPU, g.MemoryGiB = cpu, memory; cpu == 0 && memory == 0 {
			g.CPU, g.MemoryGiB = 2, 4
		}
	}
	if len(types) > 0 {
		if m := gibType.FindStringSubmatch(types[0]); m != nil {
			g.CPU, _ = strconv.ParseFloat(m[1], 64)
			g.MemoryGiB, _ = strconv.ParseFloat(m[2], 64)
		}
	}
	c, m, ok := roundUp(g.CPU, g.MemoryGiB)
	if !ok {
		p.fail("InvalidParameter.CPU.Memory", "no size holds %g vCPU and %g GiB", g.CPU, g.MemoryGiB)
		return
	}
	g.CPU, g.MemoryGiB = c, m
}

func splitList(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

func (p *params) tags() []tag {
	var tags []tag
	seen := map[string]bool{}
	for _, prefix := range p.list("Tag") {
		t := tag{p.required(prefix + ".Key"), p.str(prefix + ".Value")}
		low := strings.ToLower(t.Key)
		switch {
		case len([]rune(t.Key)) > maxTagKey || len([]rune(t.Value)) > maxTagValue:
			p.fail("InvalidParameter", "%s: a tag has at most %d characters, its value %d", prefix, maxTagKey, maxTagValue)
		case strings.HasPrefix(low, "acs:") || strings.HasPrefix(low, "aliyun") || strings.HasPrefix(strings.ToLower(t.Value), "acs:"):
			p.fail("InvalidParameter", "%s: acs: and aliyun are reserved", prefix)
		case strings.Contains(low, "http://") || strings.Contains(low, "https://"):
			p.fail("InvalidParameter", "%s: a tag contains no URL", prefix)
		case seen[t.Key]:
			p.fail("InvalidParameter", "%s: key %s is given twice", prefix, t.Key)
		}
		seen[t.Key] = true
		tags = append(tags, t)
	}
	if len(tags) > maxTags {
		p.fail("InvalidParameter", "%d tags, at most %d are allowed", len(tags), maxTags)
	}
	return tags
}

func (p *params) hostAliases() map[string][]string {
	hosts := map[string][]string{}
	for _, prefix := range p.list("HostAliase") {
		ip := p.required(prefix + ".Ip")
		names := p.strings(prefix + ".Hostname")
		if _, err := netip.ParseAddr(ip); err != nil {
			p.fail("InvalidParameter", "%s.Ip is %q, not an address", prefix, ip)
		}
		if len(names) == 0 {
			p.fail("MissingParameter", "the parameter %s.Hostname.1 is required", prefix)
		}
		hosts[ip] = append(hosts[ip], names...)
	}
	return hosts
}

// registryCredentials checks what this server has no further use for.
func (p *params) registryCredentials() {
	for _, prefix := range p.list("ImageRegistryCredential") {
		server := p.required(prefix + ".Server")
		p.required(prefix + ".UserName")
		p.required(prefix + ".Password")
		if strings.Contains(server, "://") {
			p.fail("InvalidParameter", "%s.Server is %q: it takes no scheme", prefix, server)
		}
	}
}

func (p *params) clientToken() string {
	token := p.str("ClientToken")
	ascii := !strings.ContainsFunc(token, func(r rune) bool { return r > 126 || r < 32 })
	if len(token) > maxToken || !ascii {
		p.fail("InvalidParameter", "ClientToken has at most %d ASCII characters", maxToken)
	}
	return token
}

// env reads a container's variables.
func (p *params) env(prefix string, longAllowed bool) []tag {
	var env []tag
	for _, e := range p.list(prefix + ".EnvironmentVar") {
		key, value := p.required(e+".Key"), p.str(e+".Value")
		switch ref := p.str(e + ".FieldRef.FieldPath"); ref {
		case "":
		case "status.podIP":
			value = localIP
		default:
			p.fail("InvalidParameter", "%s.FieldRef.FieldPath is %q, only status.podIP is supported", e, ref)
		}
		switch {
		case len(key) > maxEnvKey || !envKey.MatchString(key):
			p.fail("InvalidParameter", "%s.Key %q: 1 to %d of 0-9A-Za-z_, no digit first", e, key, maxEnvKey)
		case len([]rune(value)) > maxEnvValue && !longAllowed:
			p.fail("InvalidParameter.ValueExceeded", "%s.Value has more than %d characters", e, maxEnvValue)
		}
		env = append(env, tag{key, value})
	}
	return env
}

// items reads a list of at most n strings of at most maxCommandItem characters.
func (p *params) items(prefix string, n int) []string {
	items := p.strings(prefix)
	if len(items) > n {
		p.fail("InvalidParameter.ValueExceeded", "%s has %d items, at most %d are allowed", prefix, len(items), n)
	}
	for _, item := range items {
		if len([]rune(item)) > maxCommandItem {
			p.fail("InvalidParameter.ValueExceeded", "an item of %s has more than %d characters", prefix, maxCommandItem)
		}
	}
	return items
}

func (p *params) mounts(prefix string, volumes []volumeSpec) []mountSpec {
	var mounts []mountSpec
	seen := map[string]bool{}
	for _, m := range p.list(prefix + ".VolumeMount") {
		mount := mountSpec{
			Volume: p.required(m + ".Name"), Path: p.required(m + ".MountPath"),
			SubPath: p.str(m + ".SubPath"), ReadOnly: p.boolean(m+".ReadOnly", false),
		}
		p.oneOf(m+".MountPropagation", "None", "None", "HostToContainer", "HostToCotainer", "Bidirectional")
		switch {
		case !slices.ContainsFunc(volumes, func(v volumeSpec) bool { return v.Name == mount.Volume }):
			p.fail("InvalidParameter", "%s: there is no volume %q", m, mount.Volume)
		case !path.IsAbs(mount.Path) || path.Clean(mount.Path) == "/":
			p.fail("InvalidParameter", "%s.MountPath is %q, not an absolute path below /", m, mount.Path)
		case mount.SubPath != "" && !filepath.IsLocal(mount.SubPath):
			p.fail("InvalidParameter", "%s.SubPath is %q, not a relative path inside the volume", m, mount.SubPath)
		case seen[path.Clean(mount.Path)]:
			p.fail("InvalidParameter", "%s: %s is mounted twice", m, mount.Path)
		}
		seen[path.Clean(mount.Path)] = true
		mounts = append(mounts, mount)
	}
	return mounts
}

// configFiles reads a ConfigFileVolume. Mode is read as octal digits; whether
// ECI does so is not documented.
func (p *params) configFiles(prefix string, encoded bool) []configFile {
	var files []configFile
	total := 0
	mode := p.mode(prefix+".DefaultMode", 0o644)
	for _, f := range p.list(prefix + ".ConfigFileToPath") {
		file := configFile{Path: p.required(f + ".Path"), Mode: p.mode(f+".Mode", mode)}
		text := p.str(f + ".Content")
		var err error
		if file.Content, err = base64.StdEncoding.DecodeString(text); err != nil {
			p.fail("InvalidParameter", "%s.Content is not base64: %v", f, err)
		}
		if !filepath.IsLocal(file.Path) {
			p.fail("InvalidParameter", "%s.Path is %q, not a relative path", f, file.Path)
		}
		size := len(file.Content)
		if encoded {
			size = len(text)
		}
		if total += size; size > maxConfigFile || total > maxConfigFiles {
			p.fail("InvalidParameter.ValueExceeded", "%s: config files have at most 32 KB each and 60 KB together", f)
		}
		files = append(files, file)
	}
	if len(files) == 0 {
		p.fail("MissingParameter", "the parameter %s.ConfigFileToPath.1.Path is required", prefix)
	}
	return files
}
