package ecitest

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"time"
)

// createdBy is what a client token has made.
type createdBy struct {
	params [sha256.Size]byte
	id     string
}

// createContainerGroup answers with an id at once; the group follows by itself.
func (s *Server) createContainerGroup(p *params) (map[string]any, *apiError) {
	token := p.clientToken()
	spec := s.parseGroup(p)
	dryRun := p.boolean("DryRun", false)
	if p.err != nil {
		return nil, p.err
	}
	if dryRun {
		return nil, invalid("DryRunOperation", "Request validation has been passed with DryRun flag set.")
	}
	digest := paramsDigest(p.v)
	s.mu.Lock()
	if made, ok := s.tokens[token]; ok && token != "" {
		s.mu.Unlock()
		if made.params != digest {
			return nil, invalid("IdempotentParameterMismatch", "the client token was used with other parameters")
		}
		return map[string]any{"ContainerGroupId": made.id}, nil
	}
	s.seq++
	g := newGroup(s, s.seq, spec)
	s.groups[g.id] = g
	if token != "" {
		s.tokens[token] = createdBy{digest, g.id}
	}
	s.mu.Unlock()
	g.meet(p.v)
	if !s.start(g.run) {
		return nil, &apiError{503, "ServiceUnavailable", "the server is closing"}
	}
	return map[string]any{"ContainerGroupId": g.id}, nil
}

// paramsDigest is over all that the caller decides, not what each attempt signs anew.
func paramsDigest(v url.Values) [sha256.Size]byte {
	own := url.Values{}
	for name, values := range v {
		if !slices.Contains(strings.Fields(commonParams), name) {
			own[name] = values
		}
	}
	return sha256.Sum256([]byte(own.Encode()))
}

func newGroupID() string {
	return "eci-2ze" + strings.ToLower(rand.Text()[:17])
}

// parseGroup reads and checks a whole request; p.err holds what is wrong.
func (s *Server) parseGroup(p *params) *groupSpec {
	g := &groupSpec{
		Name: p.required("ContainerGroupName"), RegionID: p.str("RegionId"), ZoneID: p.str("ZoneId"),
		SecurityGroupID: p.str("SecurityGroupId"), InstanceType: p.str("InstanceType"),
		RestartPolicy:   p.oneOf("RestartPolicy", "Always", "Always", "Never", "OnFailure"),
		SpotStrategy:    p.oneOf("SpotStrategy", "NoSpot", "NoSpot", "SpotAsPriceGo", "SpotWithPriceLimit"),
		CPU:             p.float("Cpu"),
		MemoryGiB:       p.float("Memory"),
		Deadline:        time.Duration(p.integer("ActiveDeadlineSeconds", 0, 1)) * time.Second,
		HostName:        p.str("HostName"),
		Hosts:           p.hostAliases(),
		Tags:            p.tags(),
		ImageSnapshotID: p.str("ImageSnapshotId"), AutoMatchImageCache: p.boolean("AutoMatchImageCache", false),
	}
	grace := s.opts.Switches.DefaultGracePeriod
	g.Grace = time.Duration(p.integer("TerminationGracePeriodSeconds", int64(grace/time.Second), 0)) * time.Second
	if p.str("TerminationGracePeriodSeconds") == "" {
		g.Grace = grace // not rounded to seconds
	}
	if g.Name != "" && !groupName.MatchString(g.Name) {
		p.fail("InvalidParameter", "ContainerGroupName %q: 2 to 128 of a-z0-9-, no hyphen at either end", g.Name)
	}
	vSwitches := splitList(p.str("VSwitchId"))
	if len(vSwitches) > maxVSwitches {
		p.fail("InvalidParameter", "VSwitchId names %d vSwitches, at most %d are allowed", len(vSwitches), maxVSwitches)
	}
	if len(vSwitches) > 0 {
		g.VSwitchID = vSwitches[0]
	}
	p.oneOf("ScheduleStrategy", "", "VSwitchOrdered", "VSwitchRandom")
	p.oneOf("CpuArchitecture", "", "AMD64", "ARM64")
	if g.SpotStrategy == "SpotWithPriceLimit" && p.float("SpotPriceLimit") == 0 {
		p.fail("MissingParameter", "the parameter SpotPriceLimit is required with SpotWithPriceLimit")
	}
	p.integer("SpotDuration", 1, 0)
	p.integer("EphemeralStorage", 0, 0)
	p.registryCredentials()
	s.parseVolumes(p, g)
	s.parseContainers(p, g)
	p.size(g)
	return g
}

func (s *Server) parseContainers(p *params, g *groupSpec) {
	for _, prefix := range p.list("Container") {
		c := containerSpec{
			Name: p.required(prefix + ".Name"), Image: p.required(prefix + ".Image"),
			PullPolicy: p.oneOf(prefix+".ImagePullPolicy", "IfNotPresent", "Always", "IfNotPresent", "Never"),
			Command:    p.items(prefix+".Command", maxCommand), Args: p.items(prefix+".Arg", maxArgs),
			WorkingDir: p.str(prefix + ".WorkingDir"),
			Env:        p.env(prefix, s.opts.Switches.LongEnvAllowed),
			HideEnv:    p.boolean(prefix+".EnvironmentVarHide", false),
			CPU:        p.float(prefix + ".Cpu"), MemoryGiB: p.float(prefix + ".Memory"),
			User:                   p.user(prefix),
			TerminationMessagePath: p.str(prefix + ".TerminationMessagePath"),
			Mounts:                 p.mounts(prefix, g.Volumes),
		}
		p.oneOf(prefix+".TerminationMessagePolicy", "File", "File", "FallbackToLogsOnError")
		p.capabilities(prefix)
		switch {
		case c.Name != "" && !dnsLabel.MatchString(c.Name):
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
		p.fail("MissingParameter", "the parameter Container.1.Name is required")
	case n > maxContainers:
		p.fail("InvalidParameter", "%d containers, at most %d are allowed", n, maxContainers)
	}
}

// user is RunAsUser[:RunAsGroup]; a group alone goes with uid 0.
func (p *params) user(prefix string) string {
	uid, gid := prefix+".SecurityContext.RunAsUser", prefix+".SecurityContextRunAsGroup"
	p.integer(uid, 0, 0)
	p.integer(gid, 0, 0)
	switch u, g := p.str(uid), p.str(gid); {
	case g == "":
		return u
	case u == "":
		return "0:" + g
	default:
		return u + ":" + g
	}
}

// capabilities refuses those that ECI's list of 2025-09 does not have.
func (p *params) capabilities(prefix string) {
	allowed := strings.Fields(`AUDIT_WRITE CHOWN DAC_OVERRIDE FSETID FOWNER KILL MKNOD NET_ADMIN NET_BIND_SERVICE
		NET_RAW SETGID SETUID SETFCAP SETPCAP SYS_CHROOT SYS_PTRACE`)
	for _, c := range p.strings(prefix + ".SecurityContext.Capability.Add") {
		if !slices.Contains(allowed, c) {
			p.fail("InvalidParameter", "%s: capability %q is not allowed", prefix, c)
		}
	}
}

func (s *Server) parseVolumes(p *params, g *groupSpec) {
	for _, prefix := range p.list("Volume") {
		v := volumeSpec{Name: p.required(prefix + ".Name"), Type: p.required(prefix + ".Type")}
		switch v.Type {
		case "EmptyDirVolume":
			v.Medium = p.str(prefix + ".EmptyDirVolume.Medium")
			if v.Medium != "" && v.Medium != "Memory" && v.Medium != "LocalRaid0" {
				p.fail("InvalidParameter", "%s: medium %q is not known", prefix, v.Medium)
			}
			v.SizeLimit = p.str(prefix + ".EmptyDirVolume.SizeLimit")
			v.SizeBytes = p.quantity(prefix + ".EmptyDirVolume.SizeLimit")
		case "NFSVolume":
			v.Server, v.Path = p.required(prefix+".NFSVolume.Server"), p.required(prefix+".NFSVolume.Path")
			v.ReadOnly = p.boolean(prefix+".NFSVolume.ReadOnly", false)
		case "FlexVolume":
			p.flexVolume(prefix, &v)
		case "ConfigFileVolume":
			v.Files = p.configFiles(prefix+".ConfigFileVolume", s.opts.Switches.ConfigFileLimitsEncoded)
		default:
			p.fail("InvalidParameter", "%s.Type %q is not supported here", prefix, v.Type)
		}
		switch {
		case v.Name != "" && !dnsLabel.MatchString(v.Name):
			p.fail("InvalidParameter", "%s.Name %q is not a DNS label", prefix, v.Name)
		case slices.ContainsFunc(g.Volumes, func(o volumeSpec) bool { return o.Name == v.Name }):
			p.fail("InvalidParameter.DuplicatedVolumeName", "two volumes are named %q", v.Name)
		}
		g.Volumes = append(g.Volumes, v)
	}
	if len(g.Volumes) > maxVolumes {
		p.fail("InvalidParameter", "%d volumes, at most %d are allowed", len(g.Volumes), maxVolumes)
	}
}

// flexVolume reads driver alicloud/nas, whose options are one JSON object of strings.
func (p *params) flexVolume(prefix string, v *volumeSpec) {
	if d := p.required(prefix + ".FlexVolume.Driver"); d != "alicloud/nas" {
		p.fail("InvalidParameter", "%s.FlexVolume.Driver %q is not supported here", prefix, d)
	}
	v.FlexOptions = p.required(prefix + ".FlexVolume.Options")
	var o struct{ Server, Path, Vers, Options string }
	if err := json.Unmarshal([]byte(v.FlexOptions), &o); err != nil {
		p.fail("InvalidParameter", "%s.FlexVolume.Options is not a JSON object of strings: %v", prefix, err)
		return
	}
	if o.Server == "" {
		p.fail("InvalidParameter", "%s.FlexVolume.Options names no server", prefix)
	}
	if o.Vers != "" && o.Vers != "3" && o.Vers != "4.0" && o.Vers != "4" {
		p.fail("InvalidParameter", "%s.FlexVolume.Options: vers %q is not 3 or 4.0", prefix, o.Vers)
	}
	v.Server, v.Path = o.Server, o.Path
	setDefault(&v.Path, "/")
}
