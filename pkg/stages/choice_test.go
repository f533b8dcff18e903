package stages

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/eci-executor/eci-executor/pkg/eci"
)

// TestChoice: what is asked for after each refusal, until nothing is left.
func TestChoice(t *testing.T) {
	spec := func(vSwitches, types []string, spot string) eci.GroupSpec {
		return eci.GroupSpec{VSwitchIDs: vSwitches, InstanceTypes: types, SpotStrategy: spot, ScheduleStrategy: "VSwitchOrdered"}
	}
	cached := spec(nil, nil, "")
	cached.ImageSnapshotID = "imc-1"
	auto := spec(nil, nil, "")
	auto.AutoMatchImageCache = true
	random := spec([]string{"a", "b", "c"}, nil, "")
	random.ScheduleStrategy = "VSwitchRandom"
	tests := []struct {
		name     string
		spec     eci.GroupSpec
		fallback bool
		auto     bool
		class    eci.Class
		said     []string // words of each refusal, the last repeats
		want     []string // vSwitches/types/spot/cache after each
	}{
		{"one place", spec([]string{"a"}, nil, ""), true, false, eci.Capacity, []string{"no stock"}, nil},
		{"no place of ours", spec(nil, nil, ""), true, false, eci.Capacity, []string{"no stock"}, nil},
		{"each vSwitch gets its turn", spec([]string{"a", "b", "c"}, nil, ""), true, false, eci.Capacity, []string{"no stock"}, []string{"b,c,a//", "c,a,b//"}},
		{"not in random order", random, true, false, eci.Capacity, []string{"no stock"}, nil},
		{"one that is named goes", spec([]string{"vsw-1", "vsw-10", "vsw-2"}, nil, ""), true, false, eci.Capacity,
			[]string{"The vSwitch vsw-1 has not enough IP addresses.", "vsw-2: no IP", "vsw-10"}, []string{"vsw-10,vsw-2//", "vsw-10//"}},
		{"a type that is named goes", spec([]string{"a"}, []string{"ecs.c6.large", "2-4Gi"}, ""), true, false, eci.Capacity,
			[]string{"ecs.c6.large is out of stock.", "out of stock"}, []string{"a/2-4Gi/"}},
		{"types after vSwitches", spec([]string{"a", "b"}, []string{"x", "y"}, ""), true, false, eci.Capacity, []string{"no stock"},
			[]string{"b,a/x,y/", "b,a/y,x/"}},
		{"pay-as-you-go last, and everywhere again", spec([]string{"a", "b"}, nil, "SpotAsPriceGo"), true, false, eci.Capacity, []string{"no spot"},
			[]string{"b,a//SpotAsPriceGo", "a,b//", "b,a//"}},
		{"what spot has not, pay-as-you-go may", spec([]string{"a", "b"}, nil, "SpotAsPriceGo"), true, false, eci.Capacity, []string{"b: none", "none"},
			[]string{"a//SpotAsPriceGo", "a,b//", "b,a//"}},
		{"no fallback", spec([]string{"a"}, nil, "SpotAsPriceGo"), false, false, eci.Capacity, []string{"no spot"}, nil},
		{"without the named cache, then without any", cached, true, true, eci.NoCache, []string{"x"}, []string{"//auto", "//"}},
		{"without the named cache", cached, true, false, eci.NoCache, []string{"x"}, []string{"//"}},
		{"without any cache", auto, true, true, eci.NoCache, []string{"x"}, []string{"//"}},
		{"no cache to leave out", spec([]string{"a", "b"}, nil, ""), true, true, eci.NoCache, []string{"x"}, nil},
		{"a quota is no matter of place", spec([]string{"a", "b"}, nil, "SpotAsPriceGo"), true, true, eci.Stop, []string{"x"}, nil},
		{"nor is a code that is new", spec([]string{"a", "b"}, nil, "SpotAsPriceGo"), true, true, eci.Unknown, []string{"x"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := fmt.Sprint(tt.spec)
			c := newChoice(tt.spec, tt.fallback, tt.auto, nil)
			var got []string
			for i := 0; ; i++ {
				if c.other(tt.class, tt.said[min(i, len(tt.said)-1)]) == "" {
					break
				}
				if i > 20 {
					t.Fatal("there is no end to it")
				}
				cache := map[bool]string{true: "auto"}[c.spec.AutoMatchImageCache] + c.spec.ImageSnapshotID
				list := func(l []string) string { return strings.Join(l, ",") }
				got = append(got, list(c.spec.VSwitchIDs)+"/"+list(c.spec.InstanceTypes)+"/"+c.spec.SpotStrategy+cache)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("-want +got\n%s", d)
			}
			if fmt.Sprint(tt.spec) != before {
				t.Error("the configured request was changed")
			}
		})
	}
}

// Empty variables are left out once, after a refusal of the request itself.
func TestChoiceWithoutEmptyVariables(t *testing.T) {
	full, empty := eci.EnvVar{Name: "A", Value: "a"}, eci.EnvVar{Name: "B"}
	spec := eci.GroupSpec{Containers: []eci.Container{{Name: "build", Env: []eci.EnvVar{full}}, {Name: "db", Env: []eci.EnvVar{empty, full}}}}
	wrong := &eci.Error{Code: "MissingParameter", HTTPStatus: 400}
	tests := []struct {
		name string
		spec eci.GroupSpec
		err  error
		want bool
	}{
		{"a wrong request", spec, wrong, true},
		{"without any", eci.GroupSpec{Containers: spec.Containers[:1]}, wrong, false},
		{"an answer of a server in trouble", spec, &eci.Error{Code: "MissingParameter", HTTPStatus: 500}, false},
		{"after a call without an answer", spec, fmt.Errorf("%w (%w)", wrong, errInDoubt), false},
		{"a group that ECI gave up", spec, &startError{class: eci.Config}, false},
		{"no permission", spec, &eci.Error{Code: "NoPermission", HTTPStatus: 403}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newChoice(tt.spec, true, true, nil)
			if got := c.next(tt.err) == "without variables that are empty"; got != tt.want {
				t.Fatalf("asked again: %t, want %t", got, tt.want)
			}
			if !tt.want {
				return
			}
			if diff := cmp.Diff([]eci.EnvVar{full}, c.spec.Containers[1].Env); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if len(tt.spec.Containers[1].Env) != 2 {
				t.Error("the configured request was changed")
			}
			if change := c.next(tt.err); change != "" {
				t.Errorf("then again %s", change)
			}
		})
	}
}

// TestRefusal: no other request after an answer that leaves a doubt.
func TestRefusal(t *testing.T) {
	tests := []struct {
		name string
		err  error
		want eci.Class
	}{
		{"a definite refusal", &eci.Error{Code: "OperationDenied.NoStock", HTTPStatus: 403}, eci.Capacity},
		{"the same from a server in trouble", &eci.Error{Code: "OperationDenied.NoStock", HTTPStatus: 500}, eci.Unknown},
		{"no answer", &eci.Error{}, eci.Unknown},
		{"a definite refusal after a call without an answer", fmt.Errorf("%w (%w)", &eci.Error{Code: "OperationDenied.NoStock", HTTPStatus: 403}, errInDoubt), eci.Unknown},
		{"a group that ECI gave up", &startError{class: eci.Capacity}, eci.Capacity},
		{"a group that fails otherwise", &startError{}, eci.Unknown},
		{"an error of ours", errors.New("disk full"), eci.Unknown},
	}
	for _, tt := range tests {
		if got, _ := refusal(fmt.Errorf("preparing: %w", tt.err)); got != tt.want {
			t.Errorf("%s: class %v, want %v", tt.name, got, tt.want)
		}
	}
	if gone, left := named("vsw-2, vsw-3.", []string{"vsw-1", "vsw-2", "vsw-3", "vsw-33"}); !slices.Equal(gone, []string{"vsw-2", "vsw-3"}) || !slices.Equal(left, []string{"vsw-1", "vsw-33"}) {
		t.Errorf("gone %v, left %v", gone, left)
	}
}

// TestOtherPolicies: an image that can't be pulled is tried with each policy of its
// container, and with no other's.
func TestOtherPolicies(t *testing.T) {
	spec := eci.GroupSpec{VSwitchIDs: []string{"a", "b"}, Containers: []eci.Container{{Name: "helper", PullPolicy: "IfNotPresent"}, {Name: "build", PullPolicy: "Always"}}}
	c := newChoice(spec, true, true, map[string][]string{"build": {"IfNotPresent", "Always"}})
	var got []string
	for c.next(fmt.Errorf("preparing: %w", &startError{unpulled: "build"})) != "" {
		got = append(got, c.spec.Containers[1].PullPolicy)
	}
	if !slices.Equal(got, []string{"IfNotPresent", "Always"}) || spec.Containers[1].PullPolicy != "Always" {
		t.Errorf("policies %v", got)
	}
	if change := c.next(&startError{unpulled: "helper"}); change != "" {
		t.Errorf("helper: %s", change)
	}
}
