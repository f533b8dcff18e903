package eci

import (
	"strings"
	"time"
)

// timeouts are how long a call of the action may take to connect, and altogether. Calls whose
// lost answer leaves it open what they did have all of CallTimeout. Those that can simply be
// made again, or must fit several times into a short time, get less.
func (o Options) timeouts(action string) (connect, whole time.Duration) {
	connect = min(5*time.Second, o.CallTimeout)
	switch action {
	case "DescribeContainerGroupPrice":
		return connect, o.CallTimeout / 5
	case "DescribeContainerGroups", "DescribeContainerGroupStatus", "DeleteContainerGroup":
		return connect, o.CallTimeout * 2 / 3
	}
	return connect, o.CallTimeout
}

// keysError says that there are no credentials to sign a call with.
type keysError struct{ cause error }

// longestCause bounds what is taken over of a provider's error, which can hold
// the whole answer of some service.
const longestCause = 300

func (e *keysError) Error() string {
	text := e.cause.Error()
	return "no credentials: " + strings.ToValidUTF8(text[:min(len(text), longestCause)], "")
}
