package eci

import (
	"path"
	"strings"
)

// Code is one row of the table of error codes: what the driver does about an
// error of the API, and what a person must do.
type Code struct {
	Pattern string // a code, or a pattern of path.Match
	Class   Class
	Advice  string // "" where waiting is all; {action} is the RAM action of the call
}

// Codes is the table (sources.md: codes, common-codes), in the order of its search: the first row
// that matches counts. docs/errors.md shows it, and a test holds the two together.
func Codes() []Code {
	const (
		quota   = "Raise the vCPU quota of the region in the Quota Center of the Alibaba Cloud console, or run fewer jobs at once (concurrent in config.toml)."
		money   = "The account owes money: top it up, then retry the job."
		key     = "Check access_key_id and access_key_secret in [credentials]; a key that was rotated or disabled gives this error."
		action  = "Allow the RAM action eci:{action} to the driver's RAM user or role."
		risk    = "Alibaba Cloud holds the account back for a security check: its owner must pass it in the console."
		account = "The account itself is restricted: its owner must look at its state in the console."
		invited = "The account may not use a feature that the request asks for: have it enabled by a ticket, or take it out of [group] request or [allow] privileged_services."
		stock   = "The zone has none of this size left: add vSwitches in other zones to vswitch_ids, or other instance types to [capacity] instance_types."
		size    = "Set a size that ECI has, as the table of vCPU and memory in its documentation shows ([build] cpu and memory, ECI_CPU and ECI_MEMORY)."
		spot    = "Set strategy = \"none\" in [spot], or a size of at least 2 vCPU."
		network = "vswitch_ids and security_group_id must be of one VPC, and the group not one that another product manages."
		request = "The request is wrong: look for the parameter that the message names, first in [group] request of the driver's file."
	)
	return []Code{
		{"Throttling.Vcpu.PerDay", Stop, quota},
		{"Throttling*", Retry, ""},
		{"Degrade.Api", Retry, ""},
		{"EipPurchaseFlowControl", Retry, ""},
		{"InternalError", Retry, ""},
		{"ServiceUnavailable", Retry, ""},
		{"OperationConflict", Retry, ""},
		{"IncorrectStatus", Retry, ""},

		{"OperationDenied.NoStock", Capacity, stock},
		{"Zone.NotOnSale", Capacity, stock},
		{"Spot.NotMatched", Capacity, "No spot instance of this size and price is to be had: raise [spot] price_limit or set strategy = \"none\"."},
		{"RecommendEmpty.InstanceTypeFamilyNotMatched", Capacity, stock},
		{"InvalidInstanceTypeForEciBuy", Capacity, "ECI does not sell this instance type here: take it out of [capacity] instance_types."},
		{"InvalidVSwitchId.IpNotEnough", Capacity, "The vSwitch has no free address left: add another one to vswitch_ids."},

		{"ImageSnapshot.*", NoCache, "Set snapshot_id in [image_cache] to an image cache that is Ready, or to \"\"."},

		{"QuotaExceeded", Stop, quota},
		{"ValueExceeded", Stop, quota},
		{"DiskNumber.LimitExceed", Stop, "Raise the disk quota in the Quota Center, or mount fewer disks by [group] request."},
		{"Account.Arrearage", Stop, money},
		{"*InsufficientBalance", Stop, money},
		{"ServiceNotEnabled", Stop, "Open Elastic Container Instance for the account in the Alibaba Cloud console."},
		{"containerRepositoryAuthorizationFailed", Stop, "Open Container Registry for the account, and check acr_instance_id of each [[registry]]."},
		{"InvalidUser.PassRoleForbidden", Stop, "Allow ram:PassRole for the role of [group] ram_role to the driver's RAM user or role."},
		{"CreateServiceLinkedRole.Denied", Stop, "Create the service-linked role AliyunServiceRoleForECI once, with a user that may do ram:CreateServiceLinkedRole."},
		{"SignatureDoesNotMatch", Stop, key},
		{"IncompleteSignature", Stop, key},
		{"InvalidAccessKeyId.*", Stop, key},
		{"Forbidden.AccessKeyDisabled", Stop, key},
		{"InvalidSecurityToken.*", Stop, "The temporary key of [credentials] security_token is over: give a new one, or use ecs_ram_role, which renews its own."},
		{"IllegalTimestamp", Stop, "The clock of this host is wrong: set it by NTP."},
		{"OperationFailed.RiskControl", Stop, risk},
		{"Forbidden.RiskControl", Stop, risk},
		{"SecurityRisk.3DVerification", Stop, risk},
		{"Forbidden.UserNotRealNameAuthentication", Stop, account},
		{"Forbidden.UserBussinessStatus", Stop, account},
		{"Forbidden.AccountClosed", Stop, account},
		{"Forbidden.OnlyForInvitedTest", Stop, invited},
		{"FeatureAccessRestricted", Stop, invited},
		{"NoPermission", Stop, action},
		{"Forbidden", Stop, action},
		{"Forbidden.*", Stop, action},

		{"InvalidParameter.NotFound", NotFound, ""},
		{"ContainerGroupNotFound", NotFound, ""},

		{"InvalidParameter.CPU.Memory", Config, size},
		{"HighCpuMemConfigRequired", Config, size},
		{"InvalidSpotCpuMemorySpec", Config, spot},
		{"InvalidInstanceTypeForEciSpotDurationBuy", Config, "Set duration = 0 in [spot], or another instance type: this one has no protected hours."},
		{"InstanceTypeNotMatchCpuArch", Config, "[capacity] instance_types and architecture must fit each other."},
		{"OperationDenied.*MisMatch", Config, network},
		{"InvalidOperation.ResourceManagedByCloudProduct", Config, network},
		{"RamRole.NotSupport", Config, "[group] ram_role must be a role that the ECS service may take on."},
		{"DryRun*", Config, "The request only asks for a check: take DryRun out of [group] request."},
		{"IdempotentParameterMismatch", Config, request},
		{"FeatureBasedConstraintConflict", Config, request},
		{"IncorrectOperation", Config, request},
		{"PrivateIpAddress.Already.InUse", Config, request},
		{"Ipv6AddressNotSupport*", Config, request},
		{"DiskVolume.*", Config, request},
		{"InvalidDiskId.NotFound", Config, request},
		{"UnsupportedOperation", Config, request},
		{"NoSuchVersion", Config, "The endpoint is not one of ECI: check endpoint in the driver's file."},
		{"InvalidParameter*", Config, request},
		{"Missing*", Config, request},
	}
}

// codeOf finds the row of a code.
func codeOf(code string) (Code, bool) {
	for _, c := range Codes() {
		// The only error is of a bad pattern, which a test rules out.
		if ok, _ := path.Match(c.Pattern, code); ok && code != "" {
			return c, true
		}
	}
	return Code{}, false
}

// advice is the row's for a call of action.
func (c Code) advice(action string) string {
	return strings.ReplaceAll(c.Advice, "{action}", action)
}
