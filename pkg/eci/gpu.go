package eci

import (
	"strconv"
	"strings"

	"github.com/eci-executor/eci-executor/internal/pattern"
)

var (
	// gpuType is a type of ECS's families with GPUs, whole or shared: gn6i, gn8is, vgn7i-vws ...
	gpuType = pattern.Lazy(`^ecs\.[sv]?gn[0-9]+[a-z]*(-[a-z0-9-]+)?\.([0-9]*)x?large$`)
	// perGPU is what such a name says of vCPU and GPUs: c24g1 has one GPU for each 24 vCPU.
	perGPU = pattern.Lazy(`-c([1-9][0-9]*)g([0-9]+)\.`)
	// times is the number of GPUs as later families write it: gn8is-2x.8xlarge.
	times = pattern.Lazy(`-([0-9]+)x\.`)
)

// GPUs is how many GPUs an ECS instance type has, read off its name by the rule of ECS's
// table of GPU families, at least 1; 0 for a type of another family and for a size such
// as 2-4Gi. One name is off the rule: ecs.gn5-c8g1.14xlarge has 8, not 7. A part of a
// GPU, as of vgn and sgn types, is asked for as 1.
func GPUs(instanceType string) int {
	m := gpuType().FindStringSubmatch(instanceType)
	if m == nil {
		return 0
	}
	if x := times().FindStringSubmatch(instanceType); x != nil {
		n, _ := strconv.Atoi(x[1])
		return max(1, n)
	}
	per := perGPU().FindStringSubmatch(instanceType)
	if per == nil {
		return 1
	}
	cpu := 2 // large
	if strings.HasSuffix(instanceType, "xlarge") {
		n := 1
		if m[2] != "" {
			n, _ = strconv.Atoi(m[2])
		}
		cpu = 4 * n
	}
	cores, _ := strconv.Atoi(per[1])
	gpus, _ := strconv.Atoi(per[2])
	return max(1, cpu*gpus/cores)
}

// GPUsOfAll is how many GPUs each of the instance types has, 0 for none; ok is false
// where some have GPUs and others none, which ECI does not take together (sources.md: create).
func GPUsOfAll(instanceTypes []string) (least int, ok bool) {
	with := 0
	for i, name := range instanceTypes {
		n := GPUs(name)
		if n > 0 {
			with++
		}
		if i == 0 || n < least {
			least = n
		}
	}
	return least, with == 0 || with == len(instanceTypes)
}
