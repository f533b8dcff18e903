package eci

import "testing"

// The figures are those of ECS's table of GPU families.
func TestGPUs(t *testing.T) {
	tests := []struct {
		name string
		want int
	}{
		{"ecs.gn5-c4g1.xlarge", 1}, {"ecs.gn5-c28g1.14xlarge", 2}, {"ecs.gn5i-c2g1.large", 1},
		{"ecs.gn6i-c4g1.xlarge", 1}, {"ecs.gn6i-c40g1.10xlarge", 1}, {"ecs.gn6i-c24g1.12xlarge", 2}, {"ecs.gn6i-c24g1.24xlarge", 4},
		{"ecs.gn6v-c8g1.2xlarge", 1}, {"ecs.gn6v-c8g1.16xlarge", 8}, {"ecs.gn6v-c10g1.20xlarge", 8}, {"ecs.gn6e-c12g1.24xlarge", 8},
		{"ecs.gn7-c13g1.26xlarge", 8}, {"ecs.gn7i-c32g1.8xlarge", 1}, {"ecs.gn7i-c32g1.16xlarge", 2}, {"ecs.gn7e-c16g1.32xlarge", 8},
		{"ecs.gn8is.4xlarge", 1}, {"ecs.gn8is-2x.8xlarge", 2}, {"ecs.gn8is-8x.32xlarge", 8},
		{"ecs.vgn6i-m4-vws.xlarge", 1}, {"ecs.vgn7i-vws-m4.xlarge", 1}, {"ecs.sgn7i-vws-m2.xlarge", 1},
		{"ecs.g6.xlarge", 0}, {"ecs.c6.large", 0}, {"ecs.hfg7.xlarge", 0}, {"2-4Gi", 0}, {"", 0}, {"gn6i-c4g1.xlarge", 0}, {"ecs.gn6i-c0g1.xlarge", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := GPUs(tt.name); got != tt.want {
				t.Errorf("%d GPUs, want %d", got, tt.want)
			}
		})
	}
}

func TestGPUsOfAll(t *testing.T) {
	tests := []struct {
		name  string
		types []string
		least int
		ok    bool
	}{
		{"no type", nil, 0, true},
		{"no GPU", []string{"2-4Gi", "ecs.c6.large"}, 0, true},
		{"the least of them", []string{"ecs.gn6i-c24g1.12xlarge", "ecs.gn6i-c4g1.xlarge"}, 1, true},
		{"the same", []string{"ecs.gn6i-c24g1.12xlarge", "ecs.gn7i-c32g1.16xlarge"}, 2, true},
		{"with and without", []string{"ecs.gn6i-c4g1.xlarge", "4-16Gi"}, 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if least, ok := GPUsOfAll(tt.types); least != tt.least || ok != tt.ok {
				t.Errorf("%d, %v, want %d, %v", least, ok, tt.least, tt.ok)
			}
		})
	}
}
