package ecitest_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

func pairs(p ...string) map[string]string {
	m := map[string]string{}
	for i := 0; i < len(p); i += 2 {
		m[p[i]] = p[i+1]
	}
	return m
}

func TestCreateContainerGroup(t *testing.T) {
	const (
		bad      = "400 InvalidParameter"
		none     = "400 MissingParameter"
		exceeded = "400 InvalidParameter.ValueExceeded"
		local    = "400 UnsupportedOperation"
	)
	x := func(n int) string { return strings.Repeat("x", n) }
	tests := []actionTest{
		{"the base", nil, "200"},
		{"no name", pairs("ContainerGroupName", ""), none},
		{"longest name", pairs("ContainerGroupName", x(128)), "200"},
		{"long name", pairs("ContainerGroupName", x(129)), bad},
		{"short name", pairs("ContainerGroupName", "x"), bad},
		{"capital in the name", pairs("ContainerGroupName", "Job"), bad},
		{"hyphen at the end of the name", pairs("ContainerGroupName", "job-"), bad},
		{"no region", pairs("RegionId", ""), none},
		{"unknown region", pairs("RegionId", "xx-nowhere-1"), bad},
		{"unknown parameter", pairs("Containers.1.Name", "x"), bad},
		{"wrong boolean", pairs("DryRun", "yes"), bad},
		{"dry run", pairs("DryRun", "true"), "400 DryRunOperation"},
		{"dry run of what is wrong", pairs("DryRun", "true", "Cpu", "-1"), bad},
		{"restart policy", pairs("RestartPolicy", "Sometimes"), bad},
		{"longest token", pairs("ClientToken", x(64)), "200"},
		{"long token", pairs("ClientToken", x(65)), bad},
		{"token not ASCII", pairs("ClientToken", "é"), bad},
		{"10 vSwitches", pairs("VSwitchId", "v"+strings.Repeat(",v", 9)), "200"},
		{"11 vSwitches", pairs("VSwitchId", "v"+strings.Repeat(",v", 10)), bad},
		{"empty vSwitch", pairs("VSwitchId", "v,,v"), bad},
		{"strategy", pairs("ScheduleStrategy", "VSwitchRandom"), "200"},
		{"unknown strategy", pairs("ScheduleStrategy", "Best"), bad},
		{"deadline of 0", pairs("ActiveDeadlineSeconds", "0"), bad},
		{"grace period below 0", pairs("TerminationGracePeriodSeconds", "-1"), bad},
		{"pending for 10 min", pairs("MaxPendingMinute", "10"), "200"},
		{"pending for 9 min", pairs("MaxPendingMinute", "9"), bad},
		{"pending for a day and a minute", pairs("MaxPendingMinute", "1441"), bad},
		{"most scratch", pairs("EphemeralStorage", "5000"), "200"},
		{"too much scratch", pairs("EphemeralStorage", "5001"), bad},
		{"accelerate mode", pairs("ImageAccelerateMode", "nydus"), "200"},
		{"unknown accelerate mode", pairs("ImageAccelerateMode", "fast"), bad},
		{"DNS", pairs("DnsPolicy", "None", "DnsConfig.NameServer.1", "10.0.0.1", "DnsConfig.Option.1.Name", "ndots", "DnsConfig.Option.1.Value", "2"), "200"},
		{"DNS server by name", pairs("DnsConfig.NameServer.1", "dns.example"), bad},
		{"host alias", pairs("HostAliase.1.Ip", "127.0.0.1", "HostAliase.1.Hostname.1", "db"), "200"},
		{"host alias without a name", pairs("HostAliase.1.Ip", "127.0.0.1"), none},
		{"host alias without an address", pairs("HostAliase.1.Ip", "db", "HostAliase.1.Hostname.1", "db"), bad},
		{"registry", pairs("ImageRegistryCredential.1.Server", "r", "ImageRegistryCredential.1.UserName", "u", "ImageRegistryCredential.1.Password", "p"), "200"},
		{"registry with a scheme", pairs("ImageRegistryCredential.1.Server", "https://r", "ImageRegistryCredential.1.UserName", "u", "ImageRegistryCredential.1.Password", "p"), bad},
		{"registry without a password", pairs("ImageRegistryCredential.1.Server", "r", "ImageRegistryCredential.1.UserName", "u"), none},
		{"ACR without an instance", pairs("AcrRegistryInfo.1.RegionId", "cn-hangzhou"), none},
		{"ACR of another account, half", pairs("AcrRegistryInfo.1.InstanceId", "cri-1", "AcrRegistryInfo.1.ArnUser", "acs:ram::1:role/r"), bad},
		{"plain HTTP registry with a scheme", pairs("PlainHttpRegistry", "http://r:5000"), bad},
		{"EIP", pairs("AutoCreateEip", "true", "EipISP", "BGP_PRO", "EipBandwidth", "10"), "200"},
		{"two EIPs", pairs("AutoCreateEip", "true", "EipInstanceId", "eip-1"), bad},
		{"unknown ISP", pairs("EipISP", "DSL"), bad},
		{"two IPv6 addresses", pairs("Ipv6AddressCount", "2"), bad},
		{"core pattern", pairs("CorePattern", "|/bin/x"), bad},
		{"compute category", pairs("ComputeCategory.1", "economy"), "200"},
		{"unknown compute category", pairs("ComputeCategory.1", "cheap"), bad},
		{"Windows", pairs("OsType", "Windows"), "403 Forbidden.OnlyForInvitedTest"},
		{"unknown cache", pairs("ImageSnapshotId", "imc-none"), "404 ImageSnapshot.NotFound"},

		{"20 tags", numbered(20, "Tag.%d.Key", "k%d", "Tag.%d.Value", x(128)), "200"},
		{"21 tags", numbered(21, "Tag.%d.Key", "k%d"), bad},
		{"tag key of 64", pairs("Tag.1.Key", x(64)), "200"},
		{"tag key of 65", pairs("Tag.1.Key", x(65)), bad},
		{"tag value of 129", pairs("Tag.1.Key", "k", "Tag.1.Value", x(129)), bad},
		{"tag twice", pairs("Tag.1.Key", "k", "Tag.2.Key", "k"), bad},
		{"reserved tag", pairs("Tag.1.Key", "aliyun-x"), bad},
		{"reserved tag value", pairs("Tag.1.Key", "k", "Tag.1.Value", "acs:x"), bad},
		{"URL as a tag", pairs("Tag.1.Key", "k", "Tag.1.Value", "see https://x"), bad},
		{"gap in a list", pairs("Tag.1.Key", "a", "Tag.3.Key", "b"), bad},

		{"init container", pairs("InitContainer.1.Name", "x"), local},
		{"the SDK's probe", pairs("Container.1.LivenessProbe.Exec.Command", "<[]string Value>"), local},
		{"lifecycle handler", pairs("Container.1.LifecyclePreStopHandlerExec.1", "x"), local},
		{"shared PIDs", pairs("ShareProcessNamespace", "true"), local},
		{"disk", pairs("Volume.1.Name", "v", "Volume.1.Type", "DiskVolume"), local},
		{"OSS", pairs("Volume.1.Name", "v", "Volume.1.Type", "FlexVolume", "Volume.1.FlexVolume.Driver", "alicloud/oss", "Volume.1.FlexVolume.Options", `{"bucket":"b","url":"oss.example","ramRole":"r"}`), "200"},
		{"OSS without a bucket", pairs("Volume.1.Name", "v", "Volume.1.Type", "FlexVolume", "Volume.1.FlexVolume.Driver", "alicloud/oss", "Volume.1.FlexVolume.Options", "{}"), bad},
		{"a disk by FlexVolume", pairs("Volume.1.Name", "v", "Volume.1.Type", "FlexVolume", "Volume.1.FlexVolume.Driver", "alicloud/disk", "Volume.1.FlexVolume.Options", "{}"), local},

		{"20 containers", numbered(20, "Container.%d.Name", "c%d", "Container.%d.Image", "host"), "200"},
		{"21 containers", numbered(21, "Container.%d.Name", "c%d", "Container.%d.Image", "host"), bad},
		{"no container name", pairs("Container.1.Name", ""), none},
		{"no image", pairs("Container.1.Image", ""), none},
		{"longest image", pairs("Container.1.Image", x(255)), "200"},
		{"long image", pairs("Container.1.Image", x(256)), bad},
		{"container name", pairs("Container.1.Name", "Build"), bad},
		{"two of a name", pairs("Container.2.Name", "build", "Container.2.Image", "host"), "400 InvalidParameter.DuplicatedName"},
		{"pull policy", pairs("Container.1.ImagePullPolicy", "Often"), bad},
		{"a port of the system: rpcbind", pairs("Container.1.Port.1.Port", "111"), bad},
		{"a port of the system: exec", pairs("Container.1.Port.1.Port", "10250"), bad},
		{"a port of the system: metrics", pairs("Container.1.Port.1.Port", "10255"), bad},
		{"a port beside it", pairs("Container.1.Port.1.Port", "10251"), "200"},
		{"20 words", numbered(20, "Container.1.Command.%d", "true"), "200"},
		{"21 words", numbered(21, "Container.1.Command.%d", "true"), exceeded},
		{"word of 256", pairs("Container.1.Command.3", ": "+x(254)), "200"},
		{"word of 257", pairs("Container.1.Command.3", ": "+x(255)), exceeded},
		{"10 arguments", numbered(10, "Container.1.Arg.%d", "x"), "200"},
		{"11 arguments", numbered(11, "Container.1.Arg.%d", "x"), exceeded},
		{"variable", pairs("Container.1.EnvironmentVar.1.Key", x(128), "Container.1.EnvironmentVar.1.Value", x(256)), "200"},
		{"241 variables", numbered(241, "Container.1.EnvironmentVar.%d.Key", "A%d"), "200"},
		{"242 variables", numbered(242, "Container.1.EnvironmentVar.%d.Key", "A%d"), bad},
		{"long variable name", pairs("Container.1.EnvironmentVar.1.Key", x(129)), bad},
		{"digit first in a variable name", pairs("Container.1.EnvironmentVar.1.Key", "1x"), bad},
		{"long value", pairs("Container.1.EnvironmentVar.1.Key", "A", "Container.1.EnvironmentVar.1.Value", x(257)), exceeded},
		{"unknown field", pairs("Container.1.EnvironmentVar.1.Key", "A", "Container.1.EnvironmentVar.1.FieldRef.FieldPath", "spec.nodeName"), bad},
		{"port", pairs("Container.1.Port.1.Port", "65535", "Container.1.Port.1.Protocol", "UDP"), "200"},
		{"high port", pairs("Container.1.Port.1.Port", "65536"), bad},
		{"port without a number", pairs("Container.1.Port.1.Protocol", "TCP"), none},
		{"capability", pairs("Container.1.SecurityContext.Capability.Add.1", "NET_ADMIN"), "200"},
		{"SYS_ADMIN", pairs("Container.1.SecurityContext.Capability.Add.1", "SYS_ADMIN"), bad},
		{"privileged", pairs("Container.1.SecurityContextPrivileged", "true"), "403 FeatureAccessRestricted"},
		{"user", pairs("Container.1.SecurityContext.RunAsUser", "-1"), bad},
		{"message policy", pairs("Container.1.TerminationMessagePolicy", "Never"), bad},

		{"20 volumes", numbered(20, "Volume.%d.Name", "v%d", "Volume.%d.Type", "EmptyDirVolume"), "200"},
		{"21 volumes", numbered(21, "Volume.%d.Name", "v%d", "Volume.%d.Type", "EmptyDirVolume"), bad},
		{"two volumes of a name", with(numbered(2, "Volume.%d.Name", "v", "Volume.%d.Type", "EmptyDirVolume"), nil), "400 InvalidParameter.DuplicatedVolumeName"},
		{"no such type", pairs("Volume.1.Name", "v", "Volume.1.Type", "TapeVolume"), bad},
		{"medium", pairs("Volume.1.Name", "v", "Volume.1.Type", "EmptyDirVolume", "Volume.1.EmptyDirVolume.Medium", "Tape"), bad},
		{"size without a unit", pairs("Volume.1.Name", "v", "Volume.1.Type", "EmptyDirVolume", "Volume.1.EmptyDirVolume.SizeLimit", "256"), bad},
		{"parameter of another type", pairs("Volume.1.Name", "v", "Volume.1.Type", "EmptyDirVolume", "Volume.1.NFSVolume.Path", "/"), bad},
		{"relative NFS path", pairs("Volume.1.Name", "v", "Volume.1.Type", "NFSVolume", "Volume.1.NFSVolume.Server", "s", "Volume.1.NFSVolume.Path", "x"), bad},
		{"NAS without a server", pairs("Volume.1.Name", "v", "Volume.1.Type", "FlexVolume", "Volume.1.FlexVolume.Driver", "alicloud/nas", "Volume.1.FlexVolume.Options", `{"path":"/"}`), bad},
		{"NAS options that are no JSON", pairs("Volume.1.Name", "v", "Volume.1.Type", "FlexVolume", "Volume.1.FlexVolume.Driver", "alicloud/nas", "Volume.1.FlexVolume.Options", `server=x`), bad},
		{"Extreme NAS with vers 4", pairs("Volume.1.Name", "v", "Volume.1.Type", "FlexVolume", "Volume.1.FlexVolume.Driver", "alicloud/nas", "Volume.1.FlexVolume.Options", `{"server":"x.extreme.nas.aliyuncs.com","path":"/share","vers":"4.0"}`), bad},
		{"config files of 60 KB", configFiles(30<<10, 30<<10), "200"},
		{"more than 60 KB", configFiles(30<<10, 30<<10, 1), exceeded},
		{"config file of 32 KB", configFiles(32 << 10), "200"},
		{"more than 32 KB", configFiles(32<<10 + 1), exceeded},
		{"config file outside", with(configFiles(1), pairs("Volume.1.ConfigFileVolume.ConfigFileToPath.1.Path", "../x")), bad},
		{"config file not base64", with(configFiles(1), pairs("Volume.1.ConfigFileVolume.ConfigFileToPath.1.Content", "*")), bad},
		{"mode", with(configFiles(1), pairs("Volume.1.ConfigFileVolume.ConfigFileToPath.1.Mode", "0999")), bad},
		{"no such volume", pairs("Container.1.VolumeMount.1.Name", "v", "Container.1.VolumeMount.1.MountPath", "/v"), bad},
		{"mounted on /", with(configFiles(1), pairs("Container.1.VolumeMount.1.Name", "conf", "Container.1.VolumeMount.1.MountPath", "/")), bad},
		{"sub path outside", with(configFiles(1), pairs("Container.1.VolumeMount.1.Name", "conf", "Container.1.VolumeMount.1.MountPath", "/c", "Container.1.VolumeMount.1.SubPath", "../x")), bad},

		{"too large", pairs("Cpu", "65", "Memory", "1"), "400 InvalidParameter.CPU.Memory"},
		{"more in containers than in the group", pairs("Cpu", "2", "Memory", "4", "Container.1.Cpu", "3"), "400 InvalidParameter.CPU.Memory"},
		{"5 types", pairs("InstanceType", "2-4Gi,ecs.c6.large,ecs.g6.xlarge,ecs.r6.2xlarge,4-8Gi"), "200"},
		{"6 types", pairs("InstanceType", "2-4Gi,2-4Gi,2-4Gi,2-4Gi,2-4Gi,2-4Gi"), bad},
		{"unknown type", pairs("InstanceType", "ecs.zz9.large"), "400 InvalidInstanceTypeForEciBuy"},
		{"ARM type", pairs("InstanceType", "ecs.c8y.large"), "400 InstanceTypeNotMatchCpuArch"},
		{"ARM type on ARM", pairs("InstanceType", "ecs.c8y.large", "CpuArchitecture", "ARM64"), "200"},
		{"GPU type", pairs("InstanceType", "ecs.gn6i-c4g1.xlarge,ecs.gn7i-c16g1.4xlarge", "Container.1.Gpu", "1", "GpuDriverVersion", "tesla=535"), "200"},
		{"GPU type without a container for it", pairs("InstanceType", "ecs.gn6i-c4g1.xlarge"), bad},
		{"more GPUs than the type has", pairs("InstanceType", "ecs.gn6i-c24g1.12xlarge", "Container.1.Gpu", "3"), bad},
		{"GPUs without a type", pairs("Container.1.Gpu", "1"), bad},
		{"GPU type beside another", pairs("InstanceType", "ecs.gn6i-c4g1.xlarge,2-4Gi", "Container.1.Gpu", "1"), bad},
		{"spot", pairs("SpotStrategy", "SpotAsPriceGo", "SpotDuration", "0"), "200"},
		{"spot below 2 vCPU", pairs("SpotStrategy", "SpotAsPriceGo", "Cpu", "1", "Memory", "2"), "400 InvalidSpotCpuMemorySpec"},
		{"price limit", pairs("SpotStrategy", "SpotWithPriceLimit", "SpotPriceLimit", "0.025"), "200"},
		{"price limit missing", pairs("SpotStrategy", "SpotWithPriceLimit"), none},
		{"price limit with 4 decimals", pairs("SpotStrategy", "SpotWithPriceLimit", "SpotPriceLimit", "0.0251"), bad},
	}
	s := start(t, ecitest.Options{})
	runTable(t, s, "CreateContainerGroup", script("exit 0"), tests)
}

// configFiles is a volume "conf" of files of so many bytes.
func configFiles(sizes ...int) map[string]string {
	p := pairs("Volume.1.Name", "conf", "Volume.1.Type", "ConfigFileVolume")
	for i, n := range sizes {
		file := fmt.Sprintf("Volume.1.ConfigFileVolume.ConfigFileToPath.%d.", i+1)
		p[file+"Path"] = fmt.Sprintf("f%d", i)
		p[file+"Content"] = base64.StdEncoding.EncodeToString(make([]byte, n))
	}
	return p
}

// Sizes are rounded up to what is billed, and shown so.
func TestSizes(t *testing.T) {
	tests := []struct {
		name        string
		change      map[string]string
		cpu, memory float64
		kind        string
	}{
		{"neither", nil, 2, 4, ""},
		{"exact", pairs("Cpu", "4", "Memory", "8"), 4, 8, ""},
		{"odd", pairs("Cpu", "7", "Memory", "13"), 8, 16, ""},
		{"more memory than the vCPU's row has", pairs("Cpu", "1", "Memory", "9"), 2, 16, ""},
		{"vCPU alone", pairs("Cpu", "16"), 16, 16, ""},
		{"sum of containers", pairs("Container.1.Cpu", "1.5", "Container.1.Memory", "2", "Container.2.Name", "x", "Container.2.Image", "host", "Container.2.Cpu", "1"), 4, 2, ""},
		{"a container left out of the sum", pairs("Container.1.Cpu", "2", "Container.1.Memory", "4", "Container.2.Name", "x", "Container.2.Image", "host", "Container.2.Cpu", "1",
			"Container.2.EnvironmentVar.1.Key", "__ECI_RESOURCE_IGNORE__", "Container.2.EnvironmentVar.1.Value", "TRUE"), 2, 4, ""},
		{"size by type", pairs("InstanceType", "3-5Gi"), 4, 8, "3-5Gi"},
		{"ECS type", pairs("InstanceType", "ecs.g6.xlarge", "Cpu", "2", "Memory", "4"), 4, 16, "ecs.g6.xlarge"},
	}
	s := start(t, ecitest.Options{})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := describe(t, s, create(t, s, with(script("exit 0"), tt.change)))
			if g["Cpu"] != tt.cpu || g["Memory"] != tt.memory || g["InstanceType"] != tt.kind {
				t.Errorf("%v vCPU, %v GiB, type %v; want %v, %v, %q", g["Cpu"], g["Memory"], g["InstanceType"], tt.cpu, tt.memory, tt.kind)
			}
		})
	}
}

// A mode is 0755 in the container however it was written.
func TestConfigFileMode(t *testing.T) {
	for mode, decimal := range map[string]bool{"0755": false, "493": true} {
		s := start(t, ecitest.Options{Switches: ecitest.Switches{ConfigFileModeDecimal: decimal}})
		p := with(script("stat -c %a /conf/f0"), with(configFiles(1), pairs("Volume.1.ConfigFileVolume.DefaultMode", mode,
			"Container.1.VolumeMount.1.Name", "conf", "Container.1.VolumeMount.1.MountPath", "/conf")))
		id := create(t, s, p)
		await(t, s, id, status("Succeeded"))
		if got := logs(t, s, id); got != "755\n" {
			t.Errorf("%s: mode %q", mode, got)
		}
	}
}
