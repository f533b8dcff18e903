package eci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

// TestClass has codes of each class: a wrong class spends money on
// retries that can't succeed, or fails a job that would have run.
func TestClass(t *testing.T) {
	tests := []struct {
		code      string
		status    int
		want      Class
		ambiguous bool
	}{
		{"", 0, Retry, true}, // no answer
		{"", 502, Retry, true},
		{"", 404, Unknown, true}, // not the API's 404
		{"", 429, Retry, true},   // of a proxy
		{"Throttling", 400, Retry, false},
		{"Throttling.User", 400, Retry, false},
		{"Throttling.Vcpu.PerDay", 403, Stop, false},
		{"Degrade.Api", 400, Retry, false},
		{"EipPurchaseFlowControl", 400, Retry, false},
		{"InternalError", 500, Retry, true},
		{"ServiceUnavailable", 503, Retry, true},
		{"containerRepositoryAuthorizationFailed", 503, Stop, true}, // the code says more than the status
		{"OperationConflict", 409, Retry, false},
		{"IncorrectStatus", 400, Retry, false},
		{"OperationDenied.NoStock", 403, Capacity, false},
		{"OperationDenied.NoStock", 500, Capacity, true},
		{"Zone.NotOnSale", 403, Capacity, false},
		{"Spot.NotMatched", 403, Capacity, false},
		{"RecommendEmpty.InstanceTypeFamilyNotMatched", 400, Capacity, false},
		{"InvalidVSwitchId.IpNotEnough", 403, Capacity, false},
		{"ImageSnapshot.NotFound", 404, NoCache, false},
		{"ImageSnapshot.IncorrectStatus", 400, NoCache, false},
		{"QuotaExceeded", 403, Stop, false},
		{"Account.Arrearage", 400, Stop, false},
		{"InvalidPaymentMethod.InsufficientBalance", 400, Stop, false},
		{"EipPayInsufficientBalance", 400, Stop, false},
		{"NoPermission", 403, Stop, false},
		{"Forbidden", 403, Stop, false},
		{"Forbidden.RAM", 403, Stop, false},
		{"InvalidAccessKeyId.NotFound", 404, Stop, false},
		{"SignatureDoesNotMatch", 403, Stop, false},
		{"InvalidUser.PassRoleForbidden", 403, Stop, false},
		{"CreateServiceLinkedRole.Denied", 403, Stop, false},
		{"FeatureAccessRestricted", 403, Stop, false},
		{"InvalidParameter", 400, Config, false},
		{"InvalidParameter.CPU.Memory", 400, Config, false},
		{"MissingParameter", 400, Config, false},
		{"OperationDenied.VswZoneMisMatch", 403, Config, false},
		{"OperationDenied.SecurityGroupMisMatch", 403, Config, false},
		{"InvalidSpotCpuMemorySpec", 400, Config, false},
		{"IdempotentParameterMismatch", 400, Config, false},
		{"InvalidParameter.NotFound", 400, NotFound, false},
		{"SomethingNew", 400, Unknown, false},
		{"SomethingNew", 500, Retry, true},
		{"SomethingNew", 200, Unknown, true},
		{"SomethingNew", 302, Unknown, true},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%s %d", tt.code, tt.status), func(t *testing.T) {
			err := fmt.Errorf("preparing: %w", &Error{Op: "create", Code: tt.code, HTTPStatus: tt.status})
			if got := ClassOf(err); got != tt.want {
				t.Errorf("class %d, want %d", got, tt.want)
			}
			if got := Ambiguous(err); got != tt.ambiguous {
				t.Errorf("ambiguous is %v, want %v", got, tt.ambiguous)
			}
		})
	}
	if ClassOf(io.EOF) != Unknown || ClassOf(nil) != Unknown || Ambiguous(nil) || !Ambiguous(io.EOF) {
		t.Error("an error that is not ours, or none, is classified as one of ECI")
	}
}

// TestErrorText: parts that are not known leave no stray punctuation.
func TestErrorText(t *testing.T) {
	tests := []struct {
		err  Error
		want string
	}{
		{Error{Op: "delete container group", ID: "eci-1", Code: "C", Message: "M", RequestID: "R"}, "delete container group eci-1: C: M (request id R)"},
		{Error{Op: "describe container groups", Message: "M"}, "describe container groups: M"},
		{Error{Op: "create container group", ID: "x", Code: "C"}, "create container group x: C"},
	}
	for _, tt := range tests {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
	if err := (&Error{cause: context.Canceled}); !errors.Is(err, context.Canceled) {
		t.Error("the cause is not unwrapped")
	}
}

// TestAdvice: the message must name what the person has to touch.
func TestAdvice(t *testing.T) {
	tests := []struct {
		name string
		err  Error
		want []string // none: no advice
	}{
		{"no right", Error{Code: "Forbidden.RAM", HTTPStatus: 403, Action: "CreateContainerGroup"}, []string{"eci:CreateContainerGroup", "RAM"}},
		{"no permission", Error{Code: "NoPermission", HTTPStatus: 403, Action: "ExecContainerCommand"}, []string{"eci:ExecContainerCommand"}},
		{"pass role", Error{Code: "InvalidUser.PassRoleForbidden", HTTPStatus: 403}, []string{"ram:PassRole", "ram_role"}},
		{"linked role", Error{Code: "CreateServiceLinkedRole.Denied", HTTPStatus: 403}, []string{"AliyunServiceRoleForECI", "ram:CreateServiceLinkedRole"}},
		{"key", Error{Code: "InvalidAccessKeyId.NotFound", HTTPStatus: 404}, []string{"access_key_id", "[credentials]"}},
		{"secret", Error{Code: "SignatureDoesNotMatch", HTTPStatus: 403}, []string{"access_key_secret"}},
		{"clock", Error{Code: "IllegalTimestamp", HTTPStatus: 400}, []string{"clock", "NTP"}},
		{"quota", Error{Code: "QuotaExceeded", HTTPStatus: 403}, []string{"Quota Center", "concurrent"}},
		{"vCPU of the day", Error{Code: "Throttling.Vcpu.PerDay", HTTPStatus: 403}, []string{"Quota Center"}},
		{"arrears", Error{Code: "Account.Arrearage", HTTPStatus: 400}, []string{"top it up"}},
		{"EIP balance", Error{Code: "EipPayInsufficientBalance", HTTPStatus: 400}, []string{"top it up"}},
		{"no stock", Error{Code: "OperationDenied.NoStock", HTTPStatus: 403}, []string{"vswitch_ids", "instance types"}},
		{"no address", Error{Code: "InvalidVSwitchId.IpNotEnough", HTTPStatus: 403}, []string{"vswitch_ids"}},
		{"no spot", Error{Code: "Spot.NotMatched", HTTPStatus: 403}, []string{"price_limit", "strategy"}},
		{"VPC endpoint from elsewhere", Error{Endpoint: "eci-vpc.ap-northeast-1.aliyuncs.com", Region: "ap-northeast-1"},
			[]string{"VPC", `endpoint = "https://eci.ap-northeast-1.aliyuncs.com"`}},
		{"public endpoint", Error{Endpoint: "eci.ap-northeast-1.aliyuncs.com", Region: "ap-northeast-1"},
			[]string{"proxy", "https://eci.ap-northeast-1.aliyuncs.com"}},
		{"left by ourselves", Error{Endpoint: "eci.ap-northeast-1.aliyuncs.com", cause: context.Canceled}, nil},
		{"server error", Error{Code: "InternalError", HTTPStatus: 500}, nil},
		{"new code", Error{Code: "SomethingNew", HTTPStatus: 400}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.err.Advice()
			for _, want := range tt.want {
				if !strings.Contains(got, want) {
					t.Errorf("%q is not in %q", want, got)
				}
			}
			if tt.want == nil && got != "" {
				t.Errorf("advice %q, want none", got)
			}
		})
	}
}
