package ecitest

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

const volumeParams = `Volume.N.Name Volume.N.Type Volume.N.EmptyDirVolume.Medium Volume.N.EmptyDirVolume.SizeLimit
	Volume.N.NFSVolume.Server Volume.N.NFSVolume.Path Volume.N.NFSVolume.ReadOnly
	Volume.N.FlexVolume.Driver Volume.N.FlexVolume.FsType Volume.N.FlexVolume.Options
	Volume.N.ConfigFileVolume.DefaultMode Volume.N.ConfigFileVolume.ConfigFileToPath.N.Path
	Volume.N.ConfigFileVolume.ConfigFileToPath.N.Content Volume.N.ConfigFileVolume.ConfigFileToPath.N.Mode `

func (s *Server) parseVolumes(p *params, g *groupSpec) {
	for _, prefix := range p.list("Volume") {
		v := volumeSpec{Name: p.required(prefix + ".Name"), Type: p.required(prefix + ".Type")}
		switch v.Type {
		case "":
		case "EmptyDirVolume":
			v.Medium = p.oneOf(prefix+".EmptyDirVolume.Medium", "", "Memory", "LocalRaid0")
			v.SizeLimit = p.str(prefix + ".EmptyDirVolume.SizeLimit")
			v.SizeBytes = p.quantity(prefix + ".EmptyDirVolume.SizeLimit")
		case "NFSVolume":
			v.Server, v.Path = p.required(prefix+".NFSVolume.Server"), p.required(prefix+".NFSVolume.Path")
			v.ReadOnly = p.boolean(prefix+".NFSVolume.ReadOnly", false)
			if v.Path != "" && !strings.HasPrefix(v.Path, "/") {
				p.fail("InvalidParameter", "%s.NFSVolume.Path is %q, not an absolute path", prefix, v.Path)
			}
		case "FlexVolume":
			s.flexVolume(p, prefix, &v)
		case "ConfigFileVolume":
			v.Files = s.configFiles(p, prefix+".ConfigFileVolume")
		case "DiskVolume", "HostPathVolume":
			p.fail("UnsupportedOperation", "the local ECI does not imitate volumes of type %s", v.Type)
		default:
			p.fail("InvalidParameter", "%s.Type %q is not known", prefix, v.Type)
		}
		p.noOtherType(prefix, v.Type)
		switch {
		case v.Name != "" && !dnsLabel().MatchString(v.Name):
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

// noOtherType refuses parameters of another type of volume than the one asked for.
func (p *params) noOtherType(prefix, kind string) {
	for name := range p.v {
		rest, ok := strings.CutPrefix(name, prefix+".")
		if !ok || rest == "Name" || rest == "Type" || strings.HasPrefix(rest, kind+".") {
			continue
		}
		p.fail("InvalidParameter", "%s does not belong to a volume of type %s", name, kind)
	}
}

// The drivers of FlexVolume that this server imitates.
const (
	driverNAS = "alicloud/nas"
	driverOSS = "alicloud/oss"
)

// flexVolume reads a FlexVolume, whose options are one JSON object of strings.
func (s *Server) flexVolume(p *params, prefix string, v *volumeSpec) {
	v.Driver = p.required(prefix + ".FlexVolume.Driver")
	switch d := v.Driver; d {
	case "", driverNAS, driverOSS:
	case "alicloud/disk":
		p.fail("UnsupportedOperation", "the local ECI does not imitate the FlexVolume driver %s", d)
	default:
		p.fail("InvalidParameter", "%s.FlexVolume.Driver %q is not known", prefix, d)
	}
	v.FlexOptions = p.required(prefix + ".FlexVolume.Options")
	options := map[string]string{}
	if err := json.Unmarshal([]byte(v.FlexOptions), &options); err != nil {
		p.fail("InvalidParameter", "%s.FlexVolume.Options is not a JSON object of strings: %v", prefix, err)
		return
	}
	if v.Driver == driverOSS {
		s.ossVolume(p, prefix, options, v)
		return
	}
	o := struct{ Server, Path, Vers, Options string }{options["server"], options["path"], options["vers"], options["options"]}
	setDefault(&o.Path, "/")
	extreme := strings.Contains(o.Server, ".extreme.")
	switch {
	case o.Server == "":
		p.fail("InvalidParameter", "%s.FlexVolume.Options names no server", prefix)
	case !strings.HasPrefix(o.Path, "/"):
		p.fail("InvalidParameter", "%s.FlexVolume.Options: path %q is not absolute", prefix, o.Path)
	case o.Vers != "" && o.Vers != "3" && o.Vers != "4.0" && o.Vers != "4":
		p.fail("InvalidParameter", "%s.FlexVolume.Options: vers %q is not 3 or 4.0", prefix, o.Vers)
	case extreme && o.Vers != "" && o.Vers != "3":
		p.fail("InvalidParameter", "%s.FlexVolume.Options: Extreme NAS has vers 3 alone, not %s", prefix, o.Vers)
	}
	v.Server, v.Path, v.MountOptions = o.Server, o.Path, o.Options
}

// ossVolume reads the options of a bucket. ECI's own pages have bucket and url alone;
// path and ramRole stand in configurations of its users, akId, akSecret and otherOpts
// in those of Kubernetes for the same driver.
func (s *Server) ossVolume(p *params, prefix string, options map[string]string, v *volumeSpec) {
	required := []string{"bucket", "url"}
	for _, name := range required {
		if options[name] == "" {
			p.fail("InvalidParameter", "%s.FlexVolume.Options names no %s", prefix, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(options)) {
		if s.opts.Switches.OSSOptionsRefused && !slices.Contains(required, name) {
			p.fail("InvalidParameter", "%s.FlexVolume.Options: %s is not known", prefix, name)
		}
	}
	v.Bucket, v.Server, v.Path = options["bucket"], options["url"], "/"+options["path"]
}

// configFiles reads a ConfigFileVolume. Where sizes are measured, and how a mode
// is read, are switches.
func (s *Server) configFiles(p *params, prefix string) []configFile {
	var files []configFile
	total, base := 0, 8
	if s.opts.Switches.ConfigFileModeDecimal {
		base = 10
	}
	mode := p.mode(prefix+".DefaultMode", 0o644, base)
	for _, f := range p.list(prefix + ".ConfigFileToPath") {
		file := configFile{Path: p.required(f + ".Path"), Mode: p.mode(f+".Mode", mode, base)}
		text := p.str(f + ".Content")
		var err error
		if file.Content, err = base64.StdEncoding.DecodeString(text); err != nil {
			p.fail("InvalidParameter", "%s.Content is not base64: %v", f, err)
		}
		if !filepath.IsLocal(file.Path) {
			p.fail("InvalidParameter", "%s.Path is %q, not a relative path", f, file.Path)
		}
		size := len(file.Content)
		if s.opts.Switches.ConfigFileLimitsEncoded {
			size = len(text)
		}
		if total += size; size > maxConfigFile || total > maxConfigFiles {
			p.fail("InvalidParameter.ValueExceeded", "%s: config files have at most 32 KB each and 60 KB together", f)
		}
		files = append(files, file)
	}
	if len(files) == 0 {
		p.required(prefix + ".ConfigFileToPath.1.Path")
	}
	return files
}
