package ecitest

import (
	"path"
	"path/filepath"
	"slices"
	"strings"
)

const containerParams = `Container.N.Name Container.N.Image Container.N.ImagePullPolicy Container.N.Command.N Container.N.Arg.N
	Container.N.WorkingDir Container.N.Cpu Container.N.Memory Container.N.Gpu Container.N.Stdin Container.N.StdinOnce Container.N.Tty
	Container.N.EnvironmentVar.N.Key Container.N.EnvironmentVar.N.Value
	Container.N.EnvironmentVar.N.FieldRef.FieldPath Container.N.EnvironmentVarHide
	Container.N.VolumeMount.N.Name Container.N.VolumeMount.N.MountPath Container.N.VolumeMount.N.SubPath
	Container.N.VolumeMount.N.ReadOnly Container.N.VolumeMount.N.MountPropagation
	Container.N.Port.N.Port Container.N.Port.N.Protocol
	Container.N.SecurityContext.Capability.Add.N Container.N.SecurityContext.RunAsUser
	Container.N.SecurityContextRunAsGroup Container.N.SecurityContextRunAsNonRoot Container.N.SecurityContextPrivileged
	Container.N.TerminationMessagePath Container.N.TerminationMessagePolicy `

func (s *Server) parseContainers(p *params, g *groupSpec) {
	for _, prefix := range p.list("Container") {
		c := containerSpec{
			Name: p.required(prefix + ".Name"), Image: p.required(prefix + ".Image"),
			PullPolicy: p.oneOf(prefix+".ImagePullPolicy", "IfNotPresent", "Always", "IfNotPresent", "Never"),
			Command:    s.words(p, prefix+".Command", maxCommand), Args: s.words(p, prefix+".Arg", maxArgs),
			WorkingDir: p.str(prefix + ".WorkingDir"),
			Env:        p.env(prefix, s.opts.Switches),
			HideEnv:    p.boolean(prefix+".EnvironmentVarHide", false),
			Ports:      p.ports(prefix),
			CPU:        p.float(prefix + ".Cpu"), MemoryGiB: p.float(prefix + ".Memory"), GPU: int(p.integer(prefix+".Gpu", 0, 0, maxInt32)),
			User: p.id(prefix + ".SecurityContext.RunAsUser"), Group: p.id(prefix + ".SecurityContextRunAsGroup"),
			Capabilities: p.capabilities(prefix),
			Stdin:        p.boolean(prefix+".Stdin", false), StdinOnce: p.boolean(prefix+".StdinOnce", false),
			TTY:                    p.boolean(prefix+".Tty", false),
			TerminationMessagePath: p.str(prefix + ".TerminationMessagePath"),
			Mounts:                 p.mounts(prefix, g.Volumes),
		}
		c.MessageFromLog = p.oneOf(prefix+".TerminationMessagePolicy", "File", "File", "FallbackToLogsOnError") != "File"
		if c.Privileged = p.boolean(prefix+".SecurityContextPrivileged", false); c.Privileged && !s.opts.Privileged {
			p.refuse(forbidden("FeatureAccessRestricted", "Access to this feature:[privileged] is restricted. Please contact Alibaba Cloud ECI support to request access."))
		}
		if p.boolean(prefix+".SecurityContextRunAsNonRoot", false) {
			p.fail("UnsupportedOperation", "the local ECI does not imitate %s.SecurityContextRunAsNonRoot", prefix)
		}
		switch {
		case c.Name != "" && !dnsLabel().MatchString(c.Name):
			p.fail("InvalidParameter", "%s.Name %q is not a DNS label", prefix, c.Name)
		case len(c.Image) > maxImage:
			p.fail("InvalidParameter", "%s.Image has more than %d characters", prefix, maxImage)
		case slices.ContainsFunc(g.Containers, func(o containerSpec) bool { return o.Name == c.Name }):
			p.fail("InvalidParameter.DuplicatedName", "two containers are named %q", c.Name)
		}
		g.Containers = append(g.Containers, c)
	}
	switch n := len(g.Containers); {
	case n == 0:
		p.required("Container.1.Name")
	case n > maxContainers:
		p.fail("InvalidParameter", "%d containers, at most %d are allowed", n, maxContainers)
	}
}

// words reads a list of at most n words of a command line.
func (s *Server) words(p *params, prefix string, n int) []string {
	words := p.strings(prefix)
	if !s.opts.Switches.LongCommandAllowed {
		p.checkWords(prefix, words, n)
	}
	return words
}

// env reads a container's variables.
func (p *params) env(prefix string, sw Switches) []tag {
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
		case len(key) > maxEnvKey || !envKey().MatchString(key):
			p.fail("InvalidParameter", "%s.Key %q: 1 to %d of 0-9A-Za-z_, no digit first", e, key, maxEnvKey)
		case value == "" && sw.EmptyEnvRefused:
			p.refuse(missing(e + ".Value"))
		case len([]rune(value)) > maxEnvValue && !sw.LongEnvAllowed:
			p.fail("InvalidParameter.ValueExceeded", "%s.Value has more than %d characters", e, maxEnvValue)
		}
		env = append(env, tag{key, value})
	}
	if len(env) > maxEnv {
		p.fail("InvalidParameter", "%s.EnvironmentVar has %d items, at most %d are allowed", prefix, len(env), maxEnv)
	}
	return env
}

func (p *params) ports(prefix string) []portSpec {
	var ports []portSpec
	for _, name := range p.list(prefix + ".Port") {
		p.required(name + ".Port")
		port := p.integer(name+".Port", 0, 1, 65535)
		if slices.Contains(systemPorts(), int(port)) {
			p.fail("InvalidParameter", "%s.Port is %d, which the system uses", name, port)
		}
		ports = append(ports, portSpec{port, p.oneOf(name+".Protocol", "TCP", "TCP", "UDP")})
	}
	return ports
}

// systemPorts are taken in each group: for exec, logs and metrics.
func systemPorts() []int { return []int{111, 10250, 10255} }

// id is a user's or a group's number, "" when absent.
func (p *params) id(name string) string {
	p.integer(name, 0, 0, maxInt32)
	return p.str(name)
}

// capabilities refuses those that ECI's list of 2025-09 does not have.
func (p *params) capabilities(prefix string) []string {
	allowed := strings.Fields(`AUDIT_WRITE CHOWN DAC_OVERRIDE FSETID FOWNER KILL MKNOD NET_ADMIN NET_BIND_SERVICE
		NET_RAW SETGID SETUID SETFCAP SETPCAP SYS_CHROOT SYS_PTRACE`)
	added := p.strings(prefix + ".SecurityContext.Capability.Add")
	for _, c := range added {
		if !slices.Contains(allowed, c) {
			p.fail("InvalidParameter", "%s: capability %q is not allowed", prefix, c)
		}
	}
	return added
}

func (p *params) mounts(prefix string, volumes []volumeSpec) []mountSpec {
	var mounts []mountSpec
	seen := map[string]bool{}
	for _, m := range p.list(prefix + ".VolumeMount") {
		mount := mountSpec{
			Volume: p.required(m + ".Name"), Path: p.required(m + ".MountPath"),
			SubPath: p.str(m + ".SubPath"), ReadOnly: p.boolean(m+".ReadOnly", false),
			Propagation: p.oneOf(m+".MountPropagation", "None", "None", "HostToContainer", "HostToCotainer", "Bidirectional"),
		}
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
