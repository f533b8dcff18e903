package ecitest

import (
	"fmt"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const apiVersion = "2018-08-08"

// commonParams are those of the protocol and of the SDK, allowed in each call.
const commonParams = `AccessKeyId Action Version Format RegionId Timestamp SignatureMethod SignatureVersion
	SignatureType SignatureNonce SecurityToken Signature OwnerId OwnerAccount ResourceOwnerId ResourceOwnerAccount`

// tags and paging are shared by the describe actions.
const filterParams = `Tag.N.Key Tag.N.Value Limit NextToken ZoneId VSwitchId SecurityGroupId ResourceGroupId`

// createGroupParams are those of CreateContainerGroup that this server knows.
// Those marked in create.go have an effect; the others are accepted as ECI does.
const createGroupParams = `ZoneId VSwitchId SecurityGroupId ScheduleStrategy ContainerGroupName RestartPolicy Cpu Memory
	InstanceType SpotStrategy SpotPriceLimit SpotDuration StrictSpot EipInstanceId AutoCreateEip EipBandwidth EipISP
	EipCommonBandwidthPackage Tag.N.Key Tag.N.Value ResourceGroupId RamRoleName ClientToken ActiveDeadlineSeconds
	TerminationGracePeriodSeconds MaxPendingMinute AutoMatchImageCache ImageSnapshotId ImageAccelerateMode
	ImageRegistryCredential.N.Server ImageRegistryCredential.N.UserName ImageRegistryCredential.N.Password
	AcrRegistryInfo.N.InstanceId AcrRegistryInfo.N.InstanceName AcrRegistryInfo.N.RegionId AcrRegistryInfo.N.Domain.N
	AcrRegistryInfo.N.ArnService AcrRegistryInfo.N.ArnUser PlainHttpRegistry InsecureRegistry EphemeralStorage
	HostAliase.N.Ip HostAliase.N.Hostname.N HostName DnsPolicy DnsConfig.NameServer.N DnsConfig.Search.N
	DnsConfig.Option.N.Name DnsConfig.Option.N.Value NtpServer.N ShareProcessNamespace CorePattern ContainerResourceView
	SecurityContext.Sysctl.N.Name SecurityContext.Sysctl.N.Value HostSecurityContext.Sysctl.N.Name
	HostSecurityContext.Sysctl.N.Value CpuArchitecture ComputeCategory.N CpuOptionsCore CpuOptionsThreadsPerCore OsType
	Ipv6AddressCount OverheadReservationOption.EnableOverheadReservation DryRun SlsEnable
	Container.N.Name Container.N.Image Container.N.ImagePullPolicy Container.N.Command.N Container.N.Arg.N
	Container.N.WorkingDir Container.N.Cpu Container.N.Memory Container.N.Stdin Container.N.StdinOnce Container.N.Tty
	Container.N.EnvironmentVar.N.Key Container.N.EnvironmentVar.N.Value
	Container.N.EnvironmentVar.N.FieldRef.FieldPath Container.N.EnvironmentVarHide
	Container.N.VolumeMount.N.Name Container.N.VolumeMount.N.MountPath Container.N.VolumeMount.N.SubPath
	Container.N.VolumeMount.N.ReadOnly Container.N.VolumeMount.N.MountPropagation
	Container.N.Port.N.Port Container.N.Port.N.Protocol
	Container.N.SecurityContext.Capability.Add.N Container.N.SecurityContext.RunAsUser
	Container.N.SecurityContextRunAsGroup Container.N.SecurityContextRunAsNonRoot
	Container.N.TerminationMessagePath Container.N.TerminationMessagePolicy
	Volume.N.Name Volume.N.Type Volume.N.EmptyDirVolume.Medium Volume.N.EmptyDirVolume.SizeLimit
	Volume.N.NFSVolume.Server Volume.N.NFSVolume.Path Volume.N.NFSVolume.ReadOnly
	Volume.N.FlexVolume.Driver Volume.N.FlexVolume.FsType Volume.N.FlexVolume.Options
	Volume.N.ConfigFileVolume.DefaultMode Volume.N.ConfigFileVolume.ConfigFileToPath.N.Path
	Volume.N.ConfigFileVolume.ConfigFileToPath.N.Content Volume.N.ConfigFileVolume.ConfigFileToPath.N.Mode`

// actionParams lists the parameters of an action, numbers written as N; false
// for an action that this server does not have.
func actionParams(action string) ([]string, bool) {
	var own string
	switch action {
	case "CreateContainerGroup":
		own = createGroupParams
	case "DescribeContainerGroups":
		own = filterParams + " ContainerGroupIds ContainerGroupName Status WithEvent ComputeCategory"
	case "DescribeContainerGroupStatus":
		own = filterParams + " ContainerGroupIds SinceSecond"
	case "DescribeContainerGroupEvents":
		own = filterParams + " ContainerGroupIds SinceSecond EventSource"
	case "DescribeContainerGroupPrice":
		own = "Cpu Memory InstanceType ZoneId SpotStrategy SpotPriceLimit SpotDuration EphemeralStorage ComputeCategory"
	case "DeleteContainerGroup":
		own = "ContainerGroupId ClientToken Force"
	case "ExecContainerCommand":
		own = "ContainerGroupId ContainerName Command TTY Stdin Sync"
	default:
		return nil, false
	}
	return strings.Fields(commonParams + " " + own), true
}

var numberPart = regexp.MustCompile(`\.[0-9]+(\.|$)`)

// unknownParam is the first parameter, by name, that is not allowed; "" if none.
func unknownParam(v url.Values, allowed []string) string {
	var unknown []string
	for name := range v {
		if !slices.Contains(allowed, numberPart.ReplaceAllString(name, ".N$1")) {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) == 0 {
		return ""
	}
	return slices.Min(unknown)
}

// params reads typed parameters and keeps the first error.
type params struct {
	v   url.Values
	err *apiError
}

func (p *params) fail(code, format string, args ...any) {
	if p.err == nil {
		p.err = invalid(code, format, args...)
	}
}

func (p *params) str(name string) string { return p.v.Get(name) }

func (p *params) required(name string) string {
	v := p.v.Get(name)
	if v == "" {
		p.fail("MissingParameter", "the parameter %s is required", name)
	}
	return v
}

func (p *params) boolean(name string, def bool) bool {
	switch v := p.v.Get(name); strings.ToLower(v) {
	case "":
		return def
	case "true":
		return true
	case "false":
		return false
	default:
		p.fail("InvalidParameter", "%s is %q, not true or false", name, v)
		return def
	}
}

// integer reads a number of at least least; def when absent.
func (p *params) integer(name string, def, least int64) int64 {
	v := p.v.Get(name)
	if v == "" {
		return def
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < least {
		p.fail("InvalidParameter", "%s is %q, not an integer from %d", name, v, least)
		return def
	}
	return n
}

// float reads a number above zero; 0 when absent.
func (p *params) float(name string) float64 {
	v := p.v.Get(name)
	if v == "" {
		return 0
	}
	f, err := strconv.ParseFloat(v, 64)
	if err != nil || !(f > 0 && f < 1e6) {
		p.fail("InvalidParameter", "%s is %q, not a number above 0", name, v)
		return 0
	}
	return f
}

func (p *params) oneOf(name, def string, values ...string) string {
	v := p.v.Get(name)
	if v == "" {
		return def
	}
	if !slices.Contains(values, v) {
		p.fail("InvalidParameter", "%s is %q, not one of %s", name, v, strings.Join(values, ", "))
	}
	return v
}

// list gives the prefixes of a repeated structure: "Volume" -> "Volume.1", ...
func (p *params) list(prefix string) []string {
	seen := map[int]bool{}
	for name := range p.v {
		rest, ok := strings.CutPrefix(name, prefix+".")
		if !ok {
			continue
		}
		digits, _, _ := strings.Cut(rest, ".")
		n, err := strconv.Atoi(digits)
		if err != nil {
			continue // another parameter, e.g. SecurityContext.Sysctl beside SecurityContext.N
		}
		if n < 1 {
			p.fail("InvalidParameter", "%s: lists are counted from 1", name)
		}
		seen[n] = true
	}
	numbers := make([]int, 0, len(seen))
	for n := range seen {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	prefixes := make([]string, len(numbers))
	for i, n := range numbers {
		prefixes[i] = fmt.Sprintf("%s.%d", prefix, n)
	}
	return prefixes
}

// strings gives the values of a repeated string.
func (p *params) strings(prefix string) []string {
	var values []string
	for _, name := range p.list(prefix) {
		values = append(values, p.v.Get(name))
	}
	return values
}

// mode reads four octal digits.
func (p *params) mode(name string, def os.FileMode) os.FileMode {
	v := p.v.Get(name)
	if v == "" {
		return def
	}
	n, err := strconv.ParseUint(v, 8, 32)
	if err != nil || n > 0o777 {
		p.fail("InvalidParameter", "%s is %q, not a mode such as 0644", name, v)
		return def
	}
	return os.FileMode(n)
}
