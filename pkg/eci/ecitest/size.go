package ecitest

import (
	"slices"
	"strconv"
	"strings"

	"github.com/eci-executor/eci-executor/internal/pattern"
)

// size is a name that InstanceType may give, and what it stands for.
type size struct {
	name        string // as given; <vCPU>-<GiB>Gi for a size by Cpu and Memory
	cpu, memory float64
	named       bool // by InstanceType
	arm         bool
	gpus        int
}

var (
	gibType = pattern.Lazy(`^([0-9.]+)-([0-9.]+)Gi$`)
	ecsType = pattern.Lazy(`^ecs\.([a-z]+)[0-9]+[a-z]*(-[a-z0-9]+)?\.([0-9]*)x?(large)$`)
)

// sizeTable is the table of vCPU -> GiB that ECI bills (sources.md: sizes). The
// finer sizes of some regions are left out.
func sizeTable() []struct {
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
func roundUp(cpu, memory float64) (size, bool) {
	for _, s := range sizeTable() {
		if s.cpu < cpu {
			continue
		}
		for _, m := range s.memory {
			if m >= memory {
				return size{name: gib(s.cpu, m), cpu: s.cpu, memory: m}, true
			}
		}
	}
	return size{}, false
}

func gib(cpu, memory float64) string {
	return strconv.FormatFloat(cpu, 'f', -1, 64) + "-" + strconv.FormatFloat(memory, 'f', -1, 64) + "Gi"
}

// ecsShape reads vCPU and memory off the name of an ECS type of the families c,
// g and r (1:2, 1:4 and 1:8): large is 2 vCPU, xlarge 4, <n>xlarge 4n. That is
// ECS's rule for names, not a list of what ECI sells.
func ecsShape(name string) (size, bool) {
	m := ecsType().FindStringSubmatch(name)
	if m == nil {
		return size{}, false
	}
	ratio := map[byte]float64{'c': 2, 'g': 4, 'r': 8}[m[1][0]]
	if len(m[1]) != 1 || ratio == 0 {
		return size{}, false
	}
	cpu := 2.0
	if strings.HasSuffix(name, "xlarge") {
		n := 1.0
		if m[3] != "" {
			n, _ = strconv.ParseFloat(m[3], 64)
		}
		cpu = 4 * n
	} else if m[3] != "" {
		return size{}, false // 2large
	}
	generation := name[strings.IndexAny(name, "0123456789"):]
	arm := strings.HasPrefix(generation, "6r") || strings.HasPrefix(generation, "8y")
	return size{name: name, cpu: cpu, memory: cpu * ratio, named: true, arm: arm}, true
}

// gpuShapes are a few of ECS's types with GPUs, as its table of them has them.
func gpuShapes() map[string]size {
	shapes := map[string]size{}
	for _, s := range []size{
		{name: "ecs.gn6i-c4g1.xlarge", cpu: 4, memory: 15, gpus: 1},
		{name: "ecs.gn6i-c8g1.2xlarge", cpu: 8, memory: 31, gpus: 1},
		{name: "ecs.gn6i-c24g1.12xlarge", cpu: 48, memory: 186, gpus: 2},
		{name: "ecs.gn6v-c8g1.8xlarge", cpu: 32, memory: 128, gpus: 4},
		{name: "ecs.gn7i-c16g1.4xlarge", cpu: 16, memory: 60, gpus: 1},
		{name: "ecs.gn8is-2x.8xlarge", cpu: 32, memory: 256, gpus: 2},
	} {
		s.named = true
		shapes[s.name] = s
	}
	return shapes
}

// instanceTypes reads InstanceType: sizes such as 2-4Gi, rounded up, and ECS types.
func (p *params) instanceTypes(names []string, architecture string) []size {
	var sizes []size
	for _, name := range names {
		if m := gibType().FindStringSubmatch(name); m != nil {
			cpu, _ := strconv.ParseFloat(m[1], 64)
			memory, _ := strconv.ParseFloat(m[2], 64)
			rounded, ok := roundUp(cpu, memory)
			if !ok || cpu == 0 || memory == 0 {
				p.fail("InvalidParameter.CPU.Memory", "no size holds %s", name)
			}
			rounded.name, rounded.named = name, true
			sizes = append(sizes, rounded)
			continue
		}
		shape, ok := gpuShapes()[name]
		if !ok {
			shape, ok = ecsShape(name)
		}
		switch {
		case !ok:
			p.fail("InvalidInstanceTypeForEciBuy", "Sales of the instance type %s is not supported in eci.", name)
		case shape.arm != (architecture == "ARM64"):
			p.fail("InstanceTypeNotMatchCpuArch", "the instance type %s does not match the CPU architecture %s", name, architecture)
		}
		sizes = append(sizes, shape)
	}
	return sizes
}

// gpus checks what containers ask for: they share the instance's GPUs, and a type with
// GPUs takes some container that has them.
func (p *params) gpus(sizes []size, containers []containerSpec) {
	most := 0
	for _, c := range containers {
		most = max(most, c.GPU)
	}
	for _, s := range sizes {
		switch {
		case (s.gpus > 0) != (sizes[0].gpus > 0):
			p.fail("InvalidParameter", "InstanceType has types with GPUs and others")
		case most > s.gpus:
			p.fail("InvalidParameter", "a container asks for %d GPUs, and the instance type %s has %d", most, s.name, s.gpus)
		case most == 0 && s.gpus > 0:
			p.fail("InvalidParameter", "the instance type %s has GPUs, and no container asks for any", s.name)
		}
	}
}

// sizes settles what the group may become: the sizes that InstanceType names, in
// their order, or the one that holds what group or containers ask for.
func (p *params) sizes(g *groupSpec, cpu, memory float64, architecture string) []size {
	var sumCPU, sumMemory float64
	for _, c := range g.Containers {
		ignored := cpu == 0 && memory == 0 && slices.Contains(c.Env, tag{"__ECI_RESOURCE_IGNORE__", "TRUE"})
		if !ignored {
			sumCPU, sumMemory = sumCPU+c.CPU, sumMemory+c.MemoryGiB
		}
	}
	if (cpu > 0 && sumCPU > cpu) || (memory > 0 && sumMemory > memory) {
		p.fail("InvalidParameter.CPU.Memory", "the containers' %g vCPU and %g GiB exceed the group's %g and %g", sumCPU, sumMemory, cpu, memory)
	}
	if types := p.commas("InstanceType", maxInstanceType); len(types) > 0 {
		sizes := p.instanceTypes(types, architecture)
		p.gpus(sizes, g.Containers)
		return sizes
	}
	if cpu == 0 && memory == 0 {
		cpu, memory = sumCPU, sumMemory
	}
	if cpu == 0 && memory == 0 {
		cpu, memory = 2, 4
	}
	rounded, ok := roundUp(cpu, memory)
	if !ok {
		p.fail("InvalidParameter.CPU.Memory", "no size holds %g vCPU and %g GiB", cpu, memory)
	}
	p.gpus([]size{rounded}, g.Containers)
	return []size{rounded}
}

// spotSizes refuses what ECI does not sell as a spot instance.
func (p *params) spotSizes(sizes []size) {
	for _, s := range sizes {
		if s.cpu < 2 {
			p.fail("InvalidSpotCpuMemorySpec", "a spot instance has at least 2 vCPU, not %g", s.cpu)
		}
	}
}
