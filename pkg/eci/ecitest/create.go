package ecitest

import (
	"crypto/rand"
	mathrand "math/rand/v2"
	"net/http"
	"strings"
	"time"
)

func createContainerGroupAction() action {
	return action{
		perMinute: 1000, serve: (*Server).createContainerGroup,
		params: groupParams + containerParams + volumeParams,
		refused: `InitContainer.N. Container.N.LivenessProbe. Container.N.ReadinessProbe. Container.N.Lifecycle
			Container.N.SecurityContext.ReadOnlyRootFilesystem CpuOptionsNuma DataCache FixedIp
			PrivateIpAddress Volume.N.DiskVolume. Volume.N.HostPathVolume. Arn.N. VkClientVersion`,
	}
}

// groupParams are the parameters of the group itself. Accepted without an effect
// that a container could see: those of EIPs, bandwidth and IPv6, NTP servers, the
// core pattern, the resource view, CPU options, the GPU driver and sysctls.
const groupParams = `ZoneId VSwitchId SecurityGroupId ScheduleStrategy ContainerGroupName RestartPolicy Cpu Memory
	InstanceType SpotStrategy SpotPriceLimit SpotDuration StrictSpot EipInstanceId AutoCreateEip EipBandwidth EipISP
	EipCommonBandwidthPackage Tag.N.Key Tag.N.Value ResourceGroupId RamRoleName ClientToken ActiveDeadlineSeconds
	TerminationGracePeriodSeconds MaxPendingMinute AutoMatchImageCache ImageSnapshotId ImageAccelerateMode
	ImageRegistryCredential.N.Server ImageRegistryCredential.N.UserName ImageRegistryCredential.N.Password
	AcrRegistryInfo.N.InstanceId AcrRegistryInfo.N.InstanceName AcrRegistryInfo.N.RegionId AcrRegistryInfo.N.Domain.N
	AcrRegistryInfo.N.ArnService AcrRegistryInfo.N.ArnUser PlainHttpRegistry InsecureRegistry EphemeralStorage
	HostAliase.N.Ip HostAliase.N.Hostname.N HostName DnsPolicy DnsConfig.NameServer.N DnsConfig.Search.N
	DnsConfig.Option.N.Name DnsConfig.Option.N.Value NtpServer.N ShareProcessNamespace CorePattern ContainerResourceView
	SecurityContext.Sysctl.N.Name SecurityContext.Sysctl.N.Value HostSecurityContext.Sysctl.N.Name
	HostSecurityContext.Sysctl.N.Value CpuArchitecture ComputeCategory.N CpuOptionsCore CpuOptionsThreadsPerCore OsType GpuDriverVersion
	IngressBandwidth EgressBandwidth Ipv6AddressCount Ipv6GatewayBandwidth Ipv6GatewayBandwidthEnable
	OverheadReservationOption.EnableOverheadReservation DryRun SlsEnable `

// createContainerGroup answers with an id at once; the group follows by itself.
func (s *Server) createContainerGroup(p *params) (map[string]any, *apiError) {
	spec := s.parseGroup(p)
	dryRun := p.boolean("DryRun", false)
	if p.err != nil {
		return nil, p.err
	}
	s.mu.Lock()
	if err := s.checkSnapshot(spec); err != nil {
		s.mu.Unlock()
		return nil, err
	}
	if refusal, late := s.place(spec); refusal != nil {
		if !late || !s.stock.Late {
			s.mu.Unlock()
			return nil, refusal
		}
		spec.NoCapacity = refusal
	}
	if refusal := s.tooMany(); refusal != nil && !dryRun {
		s.mu.Unlock()
		return nil, refusal
	}
	if dryRun {
		s.mu.Unlock()
		return nil, invalid(s.opts.Switches.DryRunCode, "Request validation has been passed with DryRun flag set.")
	}
	g := s.addGroup(spec)
	s.mu.Unlock()
	g.meet(p.v)
	if !s.start(g.run) {
		return nil, &apiError{http.StatusServiceUnavailable, "ServiceUnavailable", "the server is closing"}
	}
	return map[string]any{"ContainerGroupId": g.id}, nil
}

// tooMany refuses one more group while Switches.CreatesAtOnce are on their way. The
// caller holds mu.
func (s *Server) tooMany() *apiError {
	most, starting := s.opts.Switches.CreatesAtOnce, 0
	if most == 0 {
		return nil
	}
	for _, g := range s.groups {
		g.mu.Lock()
		if phase := g.status(); phase == "Scheduling" || phase == "Pending" {
			starting++
		}
		g.mu.Unlock()
	}
	if starting < most {
		return nil
	}
	return invalid(s.opts.Switches.ThrottlingCode, "Request was denied due to user flow control.")
}

// addGroup makes a group that is listed from now on. The caller holds mu.
func (s *Server) addGroup(spec *groupSpec) *group {
	s.seq++
	g := newGroup(s, s.seq, spec)
	s.groups[g.id] = g
	return g
}

// newID is an id as ECI gives them, e.g. eci-2ze....
func newID(prefix string) string {
	return prefix + "-2ze" + strings.ToLower(rand.Text()[:17])
}

// parseGroup reads and checks a whole request; p.err holds what is wrong.
func (s *Server) parseGroup(p *params) *groupSpec {
	g := &groupSpec{
		Name: p.required("ContainerGroupName"), RegionID: p.str("RegionId"), ZoneID: p.str("ZoneId"),
		SecurityGroupID: p.str("SecurityGroupId"),
		RestartPolicy:   p.oneOf("RestartPolicy", "Always", "Always", "Never", "OnFailure"),
		ResourceGroupID: p.str("ResourceGroupId"), RAMRole: p.str("RamRoleName"),
		EphemeralStorage: p.integer("EphemeralStorage", 0, 0, maxEphemeral),
		Deadline:         time.Duration(p.integer("ActiveDeadlineSeconds", 0, 1, maxInt32)) * time.Second,
		MaxPending:       s.maxPending(p),
		Grace:            s.gracePeriod(p),
		HostName:         p.str("HostName"),
		Hosts:            p.hostAliases(),
		DNS:              p.dns(),
		Tags:             p.tags(),
		Sysctls:          p.pairs("SecurityContext.Sysctl"),
		ImageSnapshotID:  p.str("ImageSnapshotId"), AutoMatchImageCache: p.boolean("AutoMatchImageCache", false),
	}
	if g.Name != "" && !groupName().MatchString(g.Name) {
		p.fail("InvalidParameter", "ContainerGroupName %q: 2 to 128 of a-z0-9-, no hyphen at either end", g.Name)
	}
	if g.VSwitches = p.commas("VSwitchId", maxVSwitches); len(g.VSwitches) == 0 {
		g.VSwitches = []string{defaultVSwitch}
	}
	if p.oneOf("ScheduleStrategy", "", "VSwitchOrdered", "VSwitchRandom") == "VSwitchRandom" {
		mathrand.Shuffle(len(g.VSwitches), func(i, j int) {
			g.VSwitches[i], g.VSwitches[j] = g.VSwitches[j], g.VSwitches[i]
		})
	}
	g.ComputeCategory = p.computeCategory()
	p.spot(g)
	p.addresses(g)
	g.Registries = p.registries()
	p.withoutEffect()
	if p.boolean("ShareProcessNamespace", false) {
		p.fail("UnsupportedOperation", "the local ECI does not imitate ShareProcessNamespace")
	}
	if p.oneOf("OsType", "Linux", "Linux", "Windows") == "Windows" {
		p.refuse(forbidden("Forbidden.OnlyForInvitedTest", "Windows instances are open to invited users alone."))
	}
	s.parseVolumes(p, g)
	s.parseContainers(p, g)
	architecture := p.oneOf("CpuArchitecture", "AMD64", "AMD64", "ARM64")
	g.Sizes = p.sizes(g, p.float("Cpu"), p.float("Memory"), architecture)
	if g.SpotStrategy != "NoSpot" {
		p.spotSizes(g.Sizes)
	}
	return g
}

func (s *Server) gracePeriod(p *params) time.Duration {
	if p.str("TerminationGracePeriodSeconds") != "" {
		return time.Duration(p.integer("TerminationGracePeriodSeconds", 0, 0, maxInt32)) * time.Second
	}
	return s.opts.Switches.DefaultGracePeriod
}

// defaultPending is MaxPendingMinute where it is not given.
const defaultPending = 240

// maxPending is how long a group may be Pending. Delays.MaxPending stands for the
// default, so that tests need not wait for minutes.
func (s *Server) maxPending(p *params) time.Duration {
	minutes := p.integer("MaxPendingMinute", defaultPending, 10, 1440)
	if s.opts.Switches.MaxPendingMinuteIgnored {
		minutes = defaultPending
	}
	return s.opts.Delays.MaxPending * time.Duration(minutes) / defaultPending
}

func (p *params) spot(g *groupSpec) {
	g.SpotStrategy, g.SpotPriceLimit = p.spotStrategy("SpotStrategy", "SpotPriceLimit", "SpotDuration")
	g.StrictSpot = p.boolean("StrictSpot", false)
}

// spotStrategy reads the three parameters that several actions have.
func (p *params) spotStrategy(strategyName, limitName, durationName string) (strategy string, limit float64) {
	strategy = p.oneOf(strategyName, "NoSpot", "NoSpot", "SpotAsPriceGo", "SpotWithPriceLimit")
	limit = p.float(limitName)
	if _, decimals, _ := strings.Cut(p.str(limitName), "."); len(decimals) > 3 {
		p.fail("InvalidParameter", "%s is %s: it has at most 3 decimals", limitName, p.str(limitName))
	}
	if strategy == "SpotWithPriceLimit" && limit == 0 {
		p.required(limitName)
	}
	p.integer(durationName, 1, 0, maxInt32)
	return strategy, limit
}

// computeCategory is the first of the categories, which ECI tries in order.
func (p *params) computeCategory() string {
	first := ""
	for _, name := range p.list("ComputeCategory") {
		if c := p.oneOf(name, "", "economy", "general"); first == "" {
			first = c
		}
	}
	return first
}

func (p *params) addresses(g *groupSpec) {
	auto := p.boolean("AutoCreateEip", false)
	g.PublicAddress = auto || p.str("EipInstanceId") != ""
	if auto && p.str("EipInstanceId") != "" {
		p.fail("InvalidParameter", "AutoCreateEip and EipInstanceId exclude each other")
	}
	p.integer("EipBandwidth", 5, 1, maxInt32)
	p.oneOf("EipISP", "BGP", "BGP", "BGP_PRO")
	p.integer("IngressBandwidth", 0, 1, 1<<60)
	p.integer("EgressBandwidth", 0, 1, 1<<60)
	p.integer("Ipv6AddressCount", 0, 1, 1)
	p.integer("Ipv6GatewayBandwidth", 0, 1, 2000)
	p.boolean("Ipv6GatewayBandwidthEnable", false)
}

// withoutEffect checks the form of what changes nothing here.
func (p *params) withoutEffect() {
	p.oneOf("ImageAccelerateMode", "", "nydus", "dadi", "p2p", "imc")
	if strings.HasPrefix(p.str("CorePattern"), "|") {
		p.fail("InvalidParameter", "CorePattern starts no program")
	}
	p.boolean("ContainerResourceView", false)
	p.boolean("OverheadReservationOption.EnableOverheadReservation", false)
	p.boolean("SlsEnable", false)
	p.integer("CpuOptionsCore", 0, 1, 64)
	p.integer("CpuOptionsThreadsPerCore", 0, 1, 2)
	p.strings("NtpServer")
	p.pairs("HostSecurityContext.Sysctl")
}
