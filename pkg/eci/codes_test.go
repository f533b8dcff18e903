package eci

import (
	"errors"
	"fmt"
	"net/http"
	"path"
	"strings"
	"testing"

	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/auth/credentials"
)

// documented are the codes of CreateContainerGroup and those of all products
// (sources.md: codes, common-codes), by the class that the driver must see in them.
func documented() map[Class]string {
	return map[Class]string{
		Retry: `Throttling Throttling.User Throttling.Api Degrade.Api EipPurchaseFlowControl InternalError
			ServiceUnavailable IncorrectStatus OperationConflict`,
		Capacity: `OperationDenied.NoStock Spot.NotMatched Zone.NotOnSale InvalidVSwitchId.IpNotEnough
			RecommendEmpty.InstanceTypeFamilyNotMatched InvalidInstanceTypeForEciBuy`,
		NoCache: `ImageSnapshot.IncorrectStatus ImageSnapshot.NotSupport ImageSnapshot.NotFound`,
		Stop: `Account.Arrearage ServiceNotEnabled InvalidPaymentMethod.InsufficientBalance NoPermission
			EipPayInsufficientBalance OperationFailed.RiskControl QuotaExceeded Throttling.Vcpu.PerDay ValueExceeded
			Forbidden Forbidden.RAM Forbidden.RiskControl Forbidden.SubUser Forbidden.OnlyForInvitedTest
			Forbidden.UserBussinessStatus Forbidden.UserNotRealNameAuthentication Forbidden.AccountClosed
			Forbidden.AccessKeyDisabled Forbidden.NotSupportRAM InvalidUser.PassRoleForbidden CreateServiceLinkedRole.Denied
			FeatureAccessRestricted SecurityRisk.3DVerification containerRepositoryAuthorizationFailed
			DiskNumber.LimitExceed InvalidAccessKeyId.NotFound IncompleteSignature IllegalTimestamp SignatureDoesNotMatch`,
		Config: `DryRunOperation DryRun.Success InvalidParameter InvalidParameter.CPU.Memory InvalidParameter.DuplicatedName
			InvalidParameter.DuplicatedVolumeName InvalidParameter.ValueExceeded DiskVolume.NotSupport DiskVolume.NotInSameZone
			RamRole.NotSupport HighCpuMemConfigRequired InvalidSpotCpuMemorySpec InvalidInstanceTypeForEciSpotDurationBuy
			InstanceTypeNotMatchCpuArch Ipv6AddressNotSupport Ipv6AddressNotSupport.InZone PrivateIpAddress.Already.InUse
			IncorrectOperation FeatureBasedConstraintConflict OperationDenied.VswZoneMisMatch
			OperationDenied.SecurityGroupMisMatch InvalidOperation.ResourceManagedByCloudProduct InvalidDiskId.NotFound
			InvalidParameter.KMS.KeyId.NotFound MissingParameter UnsupportedOperation NoSuchVersion IdempotentParameterMismatch`,
		NotFound: `InvalidParameter.NotFound`,
	}
}

// TestCodes: a code that is documented has its class, and advice wherever waiting
// is not all that can be done.
func TestCodes(t *testing.T) {
	for class, list := range documented() {
		for code := range strings.FieldsSeq(list) {
			e := &Error{Op: "create", Code: code, HTTPStatus: 400, Action: "CreateContainerGroup"}
			if got := ClassOf(e); got != class {
				t.Errorf("%s is of class %q, want %q", code, got, class)
			}
			if advice := e.Advice(); (advice == "") != (class == Retry || class == NotFound) || strings.Contains(advice, "{") {
				t.Errorf("%s: advice %q", code, advice)
			}
		}
	}
}

// TestCodesTable: each row can be reached, and none is a pattern that never matches.
func TestCodesTable(t *testing.T) {
	for _, row := range Codes() {
		sample := strings.ReplaceAll(row.Pattern, "*", "Xyz")
		if _, err := path.Match(row.Pattern, sample); err != nil {
			t.Errorf("%s: %v", row.Pattern, err)
		}
		if found, _ := codeOf(sample); found.Pattern != row.Pattern {
			t.Errorf("%s is hidden by %s", row.Pattern, found.Pattern)
		}
	}
	if _, ok := codeOf(""); ok {
		t.Error("an error without a code has a row")
	}
}

// FuzzCode: no code of whatever spelling makes the driver fall over, or wait for
// what a definite refusal will never give.
func FuzzCode(f *testing.F) {
	f.Add("Throttling", 400)
	f.Add("", 0)
	f.Add("[", 403)
	f.Fuzz(func(t *testing.T, code string, status int) {
		e := &Error{Op: "create", Code: code, HTTPStatus: status, Action: "CreateContainerGroup"}
		_, known := codeOf(code)
		if class := ClassOf(e); !known && class == Retry && code != "" && status < 500 && status != http.StatusTooManyRequests {
			t.Errorf("%q with status %d is retried", code, status)
		}
		_, _ = e.Error(), e.Advice()
	})
}

// noKeys is a provider as the SDK's chain is where nothing gives credentials.
type noKeys struct{}

func (noKeys) GetCredentials() (*credentials.Credentials, error) {
	return nil, errors.New("the chain found none" + strings.Repeat(".", 1000))
}
func (noKeys) GetProviderName() string { return "none" }

// TestNoCredentials: nothing is sent, nothing is retried, and the words are not
// those of a network that fails.
func TestNoCredentials(t *testing.T) {
	c := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("a call was sent") })
	c.keys = noKeys{}
	_, err := c.DescribeContainerGroups(t.Context(), Query{})
	var e *Error
	if !errors.As(err, &e) || ClassOf(err) != Unknown || !strings.Contains(err.Error(), "no credentials: the chain found none") || len(err.Error()) > 500 {
		t.Errorf("class %s: %.600v", ClassOf(err), err)
	}
	if advice := e.Advice(); !strings.Contains(advice, "[credentials]") || strings.Contains(advice, "network") {
		t.Errorf("advice %q", advice)
	}
}

func TestClassNames(t *testing.T) {
	seen := map[string]bool{}
	for c := Unknown; c <= NotFound; c++ {
		if name := c.String(); seen[name] || strings.HasPrefix(name, "class") {
			t.Errorf("class %d is called %q", int(c), name)
		}
		seen[c.String()] = true
	}
	if got := fmt.Sprint(Class(99), Class(-1)); got != "class 99 class -1" {
		t.Errorf("got %q", got)
	}
}
