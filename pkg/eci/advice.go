package eci

import (
	"fmt"
	"strings"
)

// Advice is what a person must do next about the error, "" where nothing is
// known that would help.
func (e *Error) Advice() string {
	switch code := e.Code; {
	case code == "" && e.HTTPStatus == 0 && e.Endpoint != "" && e.cause == nil:
		return e.reachAdvice()
	case code == "QuotaExceeded", code == "Throttling.Vcpu.PerDay":
		return "Raise the vCPU quota of the region in the Quota Center of the Alibaba Cloud console, or run fewer jobs at once (concurrent in config.toml)."
	case code == "Account.Arrearage", strings.HasSuffix(code, "InsufficientBalance"):
		return "The account owes money: top it up, then retry the job."
	case code == "InvalidUser.PassRoleForbidden":
		return "Allow ram:PassRole for the role of [group] ram_role to the driver's RAM user or role."
	case code == "CreateServiceLinkedRole.Denied":
		return "Create the service-linked role AliyunServiceRoleForECI once, with a user that may do ram:CreateServiceLinkedRole."
	case code == "SignatureDoesNotMatch", strings.HasPrefix(code, "InvalidAccessKeyId."), code == "IncompleteSignature":
		return "Check access_key_id and access_key_secret in [credentials]; a key that was rotated or disabled gives this error."
	case code == "IllegalTimestamp":
		return "The clock of this host is wrong: set it by NTP."
	case code == "NoPermission", strings.HasPrefix(code, "Forbidden"):
		return fmt.Sprintf("Allow the RAM action eci:%s to the driver's RAM user or role.", e.Action)
	case code == "OperationDenied.NoStock", code == "Zone.NotOnSale":
		return "The zone has none of this size left: add vSwitches in other zones to vswitch_ids, or other instance types."
	case code == "InvalidVSwitchId.IpNotEnough":
		return "The vSwitch has no free address left: add another one to vswitch_ids."
	case code == "Spot.NotMatched":
		return "No spot instance of this size and price is to be had: raise [spot] price_limit or set strategy = \"none\"."
	}
	return ""
}

func (e *Error) reachAdvice() string {
	public := fmt.Sprintf("https://eci.%s.aliyuncs.com", e.Region)
	if strings.HasPrefix(e.Endpoint, "eci-vpc.") {
		return fmt.Sprintf("%s is reached only from inside Alibaba Cloud's VPC network of that region. Elsewhere set endpoint = %q, the public endpoint.", e.Endpoint, public)
	}
	return fmt.Sprintf("Check the network, the proxy settings and endpoint in the driver's file; the public endpoint of the region is %s.", public)
}
