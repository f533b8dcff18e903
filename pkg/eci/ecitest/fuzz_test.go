package ecitest

import (
	"net/url"
	"testing"
)

// FuzzCreate wants that no request, however wrong, stops the server, and that
// what is accepted has a size.
func FuzzCreate(f *testing.F) {
	const base = "RegionId=cn-hangzhou&ContainerGroupName=ci-1&Container.1.Name=a&Container.1.Image=b"
	for _, more := range []string{
		"", "&Cpu=7&Memory=13", "&InstanceType=2-4Gi,ecs.c6.2xlarge", "&InstanceType=ecs.g1-c.xlarge&CpuArchitecture=ARM64",
		"&Volume.1.Name=v&Volume.1.Type=EmptyDirVolume&Volume.1.EmptyDirVolume.SizeLimit=1Ki",
		"&Volume.1.Name=v&Volume.1.Type=FlexVolume&Volume.1.FlexVolume.Driver=alicloud/nas&Volume.1.FlexVolume.Options={}",
		"&Volume.1.Name=v&Volume.1.Type=ConfigFileVolume&Volume.1.ConfigFileVolume.ConfigFileToPath.1.Path=x&Volume.1.ConfigFileVolume.DefaultMode=0644",
		"&Tag.1.Key=a&Tag.3.Key=b", "&HostAliase.1.Ip=::1&HostAliase.1.Hostname.1=x", "&SpotStrategy=SpotWithPriceLimit&SpotPriceLimit=0.5",
		"&Container.1.SecurityContext.RunAsUser=1&Container.1.Port.1.Port=80&Container.1.EnvironmentVar.1.Key=A",
	} {
		f.Add(base + more)
	}
	s := &Server{}
	a := createContainerGroupAction()
	f.Fuzz(func(t *testing.T, query string) {
		v, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		p := &params{ctx: t.Context(), v: v}
		p.checkNames("CreateContainerGroup", a, &Switches{})
		p.region(false)
		g := s.parseGroup(p)
		if p.err != nil {
			return
		}
		for _, size := range g.Sizes {
			if size.cpu <= 0 || size.memory <= 0 {
				t.Errorf("%q: size %+v", query, size)
			}
		}
		if len(g.Sizes) == 0 || len(g.Containers) == 0 || len(g.VSwitches) == 0 {
			t.Errorf("%q: %+v", query, g)
		}
	})
}

// FuzzNextToken wants that a made-up token is refused, and one of ours read back.
func FuzzNextToken(f *testing.F) {
	f.Add("YWZ0ZXIvMg", 2)
	f.Fuzz(func(t *testing.T, token string, last int) {
		p := &params{v: url.Values{"NextToken": {token}}}
		if n := p.nextToken(); p.err == nil && token != "" && n < 0 {
			t.Errorf("%q stands for %d", token, n)
		}
		if last < 0 {
			return
		}
		p = &params{v: url.Values{"NextToken": {pageToken(last)}}}
		if n := p.nextToken(); p.err != nil || n != last {
			t.Errorf("%d comes back as %d, %v", last, n, p.err)
		}
	})
}
