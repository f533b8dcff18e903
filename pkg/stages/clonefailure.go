package stages

import (
	"fmt"
	"io"

	"github.com/eci-executor/eci-executor/internal/pattern"
)

// tailWriter keeps the end of what is written through it.
type tailWriter struct {
	io.Writer
	tail []byte
}

// tailBytes is enough for a few lines of git, with the URL that they name.
const tailBytes = 4096

func (w *tailWriter) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	w.tail = append(w.tail, p[max(0, n-tailBytes):n]...)
	if len(w.tail) > 2*tailBytes {
		w.tail = append([]byte(nil), w.tail[len(w.tail)-tailBytes:]...)
	}
	return n, err
}

// unreachable is what git, curl and ssh say of a host that they can't reach.
var unreachable = pattern.Lazy(`Could not resolve host|Couldn't connect to server|Failed to connect to |[Cc]onnection timed out|Operation timed out|` +
	`No route to host|Network is unreachable|Temporary failure in name resolution`)

// noWayOut says what to do about a clone that failed because the group can't reach GitLab;
// "" where a script failed otherwise. said is the end of the script's log.
func noWayOut(subStage string, said []byte, host string) string {
	if subStage != "get_sources" || !unreachable().Match(said) {
		return ""
	}
	return fmt.Sprintf("the container group can't reach %s: groups have no public address. What the runner's operator can do: give the vSwitches a way out "+
		"(NAT gateway, or auto_eip in [network]) and let the security group pass it; a GitLab inside the VPC needs neither, but its name must resolve there (dns_servers, host_aliases in [network])", host)
}
