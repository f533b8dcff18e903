package stages

import (
	"fmt"
	"io"

	"github.com/eci-executor/eci-executor/internal/pattern"
)

// lastWords keeps the end of what is written through it.
type lastWords struct {
	io.Writer
	words []byte
}

// lastWordsMax holds a few lines of git, with the URL that they name.
const lastWordsMax = 4096

func (l *lastWords) Write(p []byte) (int, error) {
	n, err := l.Writer.Write(p)
	l.words = append(l.words, p[max(0, n-lastWordsMax):n]...)
	if len(l.words) > 2*lastWordsMax {
		l.words = append([]byte(nil), l.words[len(l.words)-lastWordsMax:]...)
	}
	return n, err
}

// unreachable is what git, curl and ssh say of a host that they can't reach.
var unreachable = pattern.Lazy(`Could not resolve host|Couldn't connect to server|Failed to connect to |[Cc]onnection timed out|Operation timed out|` +
	`No route to host|Network is unreachable|Temporary failure in name resolution`)

// noWayOut is what is to be done where a clone failed because GitLab can't be reached,
// "" where it failed otherwise.
func noWayOut(subStage string, said []byte, host string) string {
	if subStage != "get_sources" || !unreachable().Match(said) {
		return ""
	}
	return fmt.Sprintf("the container group can't reach %s: groups have no public address. What the runner's operator can do: give the vSwitches a way out "+
		"(NAT gateway, or auto_eip in [network]) and let the security group pass it; a GitLab inside the VPC needs neither, but its name must resolve there (dns_servers, host_aliases in [network])", host)
}
