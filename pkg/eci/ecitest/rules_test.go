package ecitest_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

// struck says which of n calls a rule struck: x for each that it did.
func struck(t *testing.T, seed uint64, n int, rule string, params func(i int) map[string]string) string {
	t.Helper()
	s := start(t, ecitest.Options{Faults: ecitest.Faults{Rules: rules(t, rule), Seed: seed}})
	var b strings.Builder
	for i := range n {
		mark := "."
		if _, code := call(t, s, "DescribeContainerGroups", params(i)); code == "ServiceUnavailable" {
			mark = "x"
		}
		b.WriteString(mark)
	}
	return b.String()
}

func rules(t *testing.T, texts ...string) ecitest.Rules {
	t.Helper()
	rules, err := ecitest.ParseRules(texts...)
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

func none(int) map[string]string { return nil }

func TestRulesStrike(t *testing.T) {
	named := func(i int) map[string]string {
		return map[string]string{"ContainerGroupName": []string{"ci-a.b", "ci-axb", "other", "ci-"}[i], "Status": []string{"", "Running"}[i%2]}
	}
	tests := []struct {
		name, rule string
		params     func(int) map[string]string
		want       string
	}{
		{"always", "DescribeContainerGroups:error=503", none, "xxxx"},
		{"any action", "*:error=503", none, "xxxx"},
		{"another action", "DeleteContainerGroup:error=503", none, "...."},
		{"skip and times", "*:error=503,skip=1,times=2", none, ".xx."},
		{"a parameter", "*:error=503,where=ContainerGroupName=ci-*", named, "xx.x"},
		{"no other wildcard", "*:error=503,where=ContainerGroupName=ci-a.b", named, "x..."},
		{"two parameters", "*:error=503,where=ContainerGroupName=ci-*,where=Status=Running", named, ".x.x"},
		{"an absent parameter", "*:error=503,where=Status=", named, "x.x."},
		{"what does not match is not counted", "*:error=503,where=Status=Running,skip=1", named, "...x"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := struck(t, 0, 4, tt.rule, tt.params); got != tt.want {
				t.Errorf("struck %s, want %s", got, tt.want)
			}
		})
	}
}

func TestProbabilityIsSeeded(t *testing.T) {
	const n = 60
	strike := func(seed uint64) string { return struck(t, seed, n, "*:error=503,probability=0.5", none) }
	first := strike(7)
	if again := strike(7); again != first {
		t.Errorf("seed 7 gave %s, then %s", first, again)
	}
	if other := strike(8); other == first {
		t.Errorf("seeds 7 and 8 both gave %s", other)
	}
	if x := strings.Count(first, "x"); x < n/4 || x > n*3/4 {
		t.Errorf("%d of %d with probability 0.5", x, n)
	}
}

// A later rule lays its own over an earlier one's, and rules lie over code.
func TestRulesAddUp(t *testing.T) {
	faults := ecitest.Faults{
		Call: func(string, int) ecitest.CallFault {
			return ecitest.CallFault{Code: "QuotaExceeded", Message: "by code"}
		},
		Rules: rules(t, "*:delay=1ms,times=3", "*:error=Throttling,skip=1,times=2", "*:error=503,skip=2,times=1"),
	}
	s := start(t, ecitest.Options{Faults: faults})
	var codes []string
	for range 4 {
		_, code := call(t, s, "DescribeContainerGroups", nil)
		codes = append(codes, code)
	}
	if got := fmt.Sprint(codes); got != "[QuotaExceeded Throttling ServiceUnavailable QuotaExceeded]" {
		t.Errorf("codes %s", got)
	}
	for i, c := range s.Calls() {
		if want := []int{400, 400, http.StatusServiceUnavailable, 400}[i]; c.HTTPStatus != want {
			t.Errorf("call %d: status %d, want %d", i, c.HTTPStatus, want)
		}
	}
}
