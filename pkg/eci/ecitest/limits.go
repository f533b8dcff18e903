package ecitest

import (
	"net/netip"
	"strings"

	"github.com/eci-executor/eci-executor/internal/images"
	"github.com/eci-executor/eci-executor/internal/pattern"
)

// The documented limits (sources.md: create, limits, metadata). Those that have no
// documented value only keep nonsense out.
const (
	maxContainers   = 20
	maxVolumes      = 20
	maxCommand      = 20
	maxCommandItem  = 256 // characters
	maxArgs         = 10
	maxEnv          = 241
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
	maxEphemeral    = 5000      // GiB
	maxMessages     = 12 << 10  // termination messages of a group
	maxRegistries   = 1 << 10   // not documented
	maxInt32        = 1<<31 - 1 // of integers for which nothing else is documented
)

var (
	groupName = pattern.Lazy(`^[a-z0-9][a-z0-9-]{0,126}[a-z0-9]$`)
	dnsLabel  = pattern.Lazy(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	envKey    = pattern.Lazy(`^[A-Za-z_][0-9A-Za-z_]*$`)
)

// checkWords holds the words of a command line to the documented limits.
func (p *params) checkWords(name string, words []string, n int) {
	if len(words) > n {
		p.fail("InvalidParameter.ValueExceeded", "%s has %d items, at most %d are allowed", name, len(words), n)
	}
	for i, w := range words {
		if len([]rune(w)) > maxCommandItem {
			p.fail("InvalidParameter.ValueExceeded", "item %d of %s has more than %d characters", i+1, name, maxCommandItem)
		}
	}
}

func (p *params) tags() []tag {
	var tags []tag
	seen := map[string]bool{}
	for _, prefix := range p.list("Tag") {
		t := tag{p.required(prefix + ".Key"), p.str(prefix + ".Value")}
		key, value := strings.ToLower(t.Key), strings.ToLower(t.Value)
		switch {
		case len([]rune(t.Key)) > maxTagKey || len([]rune(t.Value)) > maxTagValue:
			p.fail("InvalidParameter", "%s: a tag has at most %d characters, its value %d", prefix, maxTagKey, maxTagValue)
		case strings.HasPrefix(key, "acs:") || strings.HasPrefix(key, "aliyun") || strings.HasPrefix(value, "acs:"):
			p.fail("InvalidParameter", "%s: acs: and aliyun are reserved", prefix)
		case strings.Contains(key+" "+value, "http://") || strings.Contains(key+" "+value, "https://"):
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
		p.address(prefix+".Ip", ip)
		if len(names) == 0 {
			p.required(prefix + ".Hostname.1")
		}
		hosts[ip] = append(hosts[ip], names...)
	}
	return hosts
}

func (p *params) address(name, ip string) {
	if _, err := netip.ParseAddr(ip); err != nil {
		p.fail("InvalidParameter", "%s is %q, not an address", name, ip)
	}
}

func (p *params) dns() dnsSpec {
	d := dnsSpec{
		Policy:      p.oneOf("DnsPolicy", "Default", "Default", "None"),
		NameServers: p.strings("DnsConfig.NameServer"), Searches: p.strings("DnsConfig.Search"),
		Options: p.pairs("DnsConfig.Option"),
	}
	for _, ip := range d.NameServers {
		p.address("DnsConfig.NameServer", ip)
	}
	return d
}

// pairs reads a list of Name and Value.
func (p *params) pairs(prefix string) []tag {
	var pairs []tag
	for _, name := range p.list(prefix) {
		pairs = append(pairs, tag{p.required(name + ".Name"), p.str(name + ".Value")})
	}
	return pairs
}

// registries checks what says how images are pulled, and returns it.
func (p *params) registries() images.Registries {
	var r images.Registries
	for _, prefix := range p.list("ImageRegistryCredential") {
		l := images.Login{Server: p.required(prefix + ".Server"), Username: p.required(prefix + ".UserName"), Password: p.required(prefix + ".Password")}
		p.noScheme(prefix+".Server", l.Server)
		r.Logins = append(r.Logins, l)
	}
	for _, prefix := range p.list("AcrRegistryInfo") {
		p.required(prefix + ".InstanceId")
		p.strings(prefix + ".Domain")
		if (p.str(prefix+".ArnService") == "") != (p.str(prefix+".ArnUser") == "") {
			p.fail("InvalidParameter", "%s: another account's instance needs both ArnService and ArnUser", prefix)
		}
	}
	r.PlainHTTP, r.Insecure = p.hosts("PlainHttpRegistry"), p.hosts("InsecureRegistry")
	return r
}

func (p *params) hosts(name string) []string {
	hosts := p.commas(name, maxRegistries)
	for _, host := range hosts {
		p.noScheme(name, host)
	}
	return hosts
}

func (p *params) noScheme(name, host string) {
	if strings.Contains(host, "://") {
		p.fail("InvalidParameter", "%s is %q: it takes no scheme", name, host)
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
