package eci

import (
	"fmt"
	"strings"
)

// Advice is what a person must do next about the error, "" where nothing is
// known that would help. For a code it stands in the table of codes.
func (e *Error) Advice() string {
	if c, ok := codeOf(e.Code); ok {
		return c.advice(e.Action)
	}
	switch {
	case e.noKeys:
		return "Give the driver credentials: [credentials] in its file, or what the SDK's default chain finds (environment, OIDC, profile, RAM role of the ECS instance)."
	case e.Code == "" && e.Endpoint != "" && e.cause == nil:
		return e.reachAdvice()
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
