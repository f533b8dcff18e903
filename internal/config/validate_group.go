package config

import (
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/distribution/reference"

	"github.com/eci-executor/eci-executor/internal/pattern"
	"github.com/eci-executor/eci-executor/pkg/eci"
)

// strategies are the values of [spot] strategy and of [allow] spot.
var strategies = [...]string{"none", "as-price-go", "price-limit"}

func (v *validator) capacity() {
	c := v.cfg.Capacity
	v.list("capacity.instance_types", c.InstanceTypes, 5)
	if _, ok := eci.GPUsOfAll(c.InstanceTypes); !ok {
		v.add("capacity.instance_types", "has types with GPUs and others, which ECI takes only apart")
	}
	v.storage("capacity.ephemeral_storage", c.EphemeralStorage)
	v.oneOf("capacity.architecture", c.Architecture, "amd64", "arm64")
}

// cacheImagesMax is the 20 images of a cache (sources.md: caches) but the helper's.
const cacheImagesMax = 19

func (v *validator) imageCache() {
	const key = "image_cache.images"
	v.list(key, v.cfg.ImageCache.Images, cacheImagesMax)
	for i, image := range v.cfg.ImageCache.Images {
		if _, err := reference.ParseDockerRef(image); err != nil {
			v.add(index(key, i), "%q is not an image reference: %v", image, err)
		}
	}
}

func (v *validator) spot() {
	s := v.cfg.Spot
	known := v.oneOf("spot.strategy", s.Strategy, strategies[:]...) && !v.bad["spot.strategy"]
	switch {
	case s.PriceLimit < 0:
		v.add("spot.price_limit", "must not be negative")
	case known && s.Strategy == "price-limit" && s.PriceLimit == 0:
		v.add("spot.price_limit", `is required with strategy "price-limit" (price per hour)`)
	case known && s.Strategy != "price-limit" && s.PriceLimit > 0:
		v.add("spot.price_limit", `needs strategy = "price-limit"`)
	case math.Abs(s.PriceLimit*1000-math.Round(s.PriceLimit*1000)) > 1e-6:
		v.add("spot.price_limit", "must have at most 3 decimals")
	}
	v.notNegative("spot.duration", float64(s.Duration))
}

// capabilities are those that ECI lets a container add without a ticket (sources.md: security-context).
var capabilities = [...]string{
	"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "KILL", "MKNOD", "NET_ADMIN",
	"NET_BIND_SERVICE", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP", "SYS_CHROOT", "SYS_PTRACE",
}

var sysctl = pattern.Lazy(`^[a-z0-9_-]+(\.[A-Za-z0-9_*-]+)+$`)

func (v *validator) group() {
	g := v.cfg.Group
	v.tags(g.Tags)
	v.each("group.capabilities", g.Capabilities, capabilities[:]...)
	for name := range g.Sysctls {
		if !sysctl().MatchString(name) {
			v.add("group.sysctls."+name, `is no name of a kernel parameter such as "net.core.somaxconn"`)
		}
	}
	for name := range g.Request {
		if why := ownParameter(name); why != "" {
			v.add("group.request."+name, "%s", why)
		}
	}
}

// reservedTags are the driver's own; cleanup and reap find groups by them.
var reservedTags = [...]string{
	"managed-by", "instance", "runner", "project", "job", "pipeline", "attempt", "expires-at",
}

// tagsMax, tagKeyMax and tagValueMax are ECI's limits of a group (sources.md: create), in
// tags and characters.
const (
	tagsMax     = 20
	tagKeyMax   = 64
	tagValueMax = 128
)

func (v *validator) tags(tags map[string]string) {
	if n := tagsMax - len(reservedTags); len(tags) > n {
		v.add("group.tags", "has %d tags; ECI takes %d, of which the driver needs %d", len(tags), tagsMax, len(reservedTags))
	}
	for key, value := range tags {
		at := "group.tags." + key
		switch {
		case slices.Contains(reservedTags[:], key):
			v.add(at, "is a tag of the driver's own")
		case key == "" || len([]rune(key)) > tagKeyMax:
			v.add(at, "the key must have 1 to %d characters", tagKeyMax)
		case strings.HasPrefix(key, "acs:") || strings.HasPrefix(key, "aliyun") || strings.Contains(key, "http://") || strings.Contains(key, "https://"):
			v.add(at, "the key must not start with acs: or aliyun, nor contain http:// or https://")
		case len([]rune(value)) > tagValueMax:
			v.add(at, "the value must have at most %d characters", tagValueMax)
		case strings.HasPrefix(value, "acs:") || strings.Contains(value, "http://") || strings.Contains(value, "https://"):
			v.add(at, "the value must not start with acs:, nor contain http:// or https://")
		}
	}
}

// ownParameter says why a raw request parameter can't be laid over the driver's: the
// stages would no longer find, own or end the group. "" when it can.
func ownParameter(name string) string {
	switch name {
	case "":
		return "the name must not be empty"
	case "Action", "Version", "Format", "AccessKeyId", "SecurityToken", "Timestamp", "RegionId",
		"ClientToken", "ContainerGroupName", "RestartPolicy", "ActiveDeadlineSeconds", "DryRun":
		return "is the driver's own parameter and can't be overlaid"
	}
	for _, prefix := range []string{"Signature", "Tag."} {
		if strings.HasPrefix(name, prefix) {
			return "is the driver's own parameter and can't be overlaid"
		}
	}
	return ""
}

// logServiceName keeps the names of the variables that ECI's log agent reads.
var logServiceName = pattern.Lazy(`^[a-z0-9_]{1,63}$`)

// logService checks what is known of ECI's log agent (sources.md: log-service).
func (v *validator) logService() {
	settings := v.cfg.Group.LogService
	for key, value := range settings {
		at := "group.log_service." + key
		known := v.oneOf(at, key, "name", "project", "logstore", "machinegroup", "shard", "ttl", "tags")
		switch n := utf8.RuneCountInString(value); {
		case known && n == 0:
			v.add(at, "must not be empty")
		case known && n > EnvValueMax: // the agent reads them from the environment
			v.add(at, "has %d characters; ECI takes values of at most %d", n, EnvValueMax)
		}
	}
	if name, ok := settings["name"]; ok && name != "" && !logServiceName().MatchString(name) {
		v.add("group.log_service.name", "%q must be at most 63 of a-z, 0-9 and _", name)
	}
}

func (v *validator) allow() {
	v.logService()
	a := v.cfg.Allow
	v.globs("allow.images", a.Images)
	v.globs("allow.services", a.Services)
	v.globs("allow.privileged_services", a.PrivilegedServices)
	v.storage("allow.max_ephemeral_storage", a.MaxEphemeralStorage)
	v.list("allow.instance_types", a.InstanceTypes, 0)
	v.each("allow.spot", a.Spot, strategies[:]...)
	v.list("allow.ram_roles", a.RAMRoles, 0)
	for i, user := range a.Users {
		if !numericUser().MatchString(user) {
			v.add(index("allow.users", i), `%q must be numbers, "uid" or "uid:gid": ECI knows no names`, user)
		}
	}
}

var numericUser = pattern.Lazy(`^[0-9]{1,9}(:[0-9]{1,9})?$`)

func (v *validator) timeouts() {
	t := v.cfg.Timeouts
	if t.Ready <= 0 {
		v.add("timeouts.ready", "must be more than 0")
	}
	if t.Delete <= 0 {
		v.add("timeouts.delete", "must be more than 0")
	}
	if t.Call <= 0 {
		v.add("timeouts.call", "must be more than 0")
	}
	if t.DeadlineExtra <= 0 {
		v.add("timeouts.deadline_extra", "must be more than 0")
	}
	v.notNegative("debug.keep_on_failure", v.cfg.Debug.KeepOnFailure.Seconds())
}
