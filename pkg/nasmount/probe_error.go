package nasmount

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"

	"github.com/buildbarn/go-xdr/pkg/protocols/nfsv3"
)

// What a probe can fail by, for errors.Is.
var (
	ErrUnknownHost = errors.New("the name of the mount target is not known")
	ErrUnreachable = errors.New("the mount target does not answer")
	ErrClosedPort  = errors.New("the mount target's port is closed")
	ErrNotNFS      = errors.New("the mount target does not speak NFSv3")
	ErrDenied      = errors.New("access to the mount target is denied")
	ErrNoSuchPath  = errors.New("the directory does not exist")
	ErrReadOnly    = errors.New("the directory can only be read")
	ErrNotWritable = errors.New("root may not write to the directory")
	ErrFull        = errors.New("the file system is full")
	ErrOther       = errors.New("the mount target fails")
)

var errOtherContent = errors.New("the file came back with other content than was written")

// ProbeError is a failed probe, in a sentence that says what to do.
type ProbeError struct {
	Target Target
	Kind   error // one of the Err values, or the cause by which the context ended
	Err    error // what was seen
	Advice string
}

func (e *ProbeError) Error() string {
	text := fmt.Sprintf("%s:%s: %v: %v", e.Target.Server, e.Target.Path, e.Kind, e.Err)
	if e.Advice != "" {
		text += ". " + e.Advice
	}
	return text
}

// Unwrap gives both the kind and what was seen.
func (e *ProbeError) Unwrap() []error { return []error{e.Kind, e.Err} }

func (s *probe) explain(err error) error {
	kind := kindOf(err)
	if errors.Is(kind, ErrDenied) && s.report.Path != "" && s.report.Path != s.target.Path {
		kind = ErrNoSuchPath // this host may mount the parent, so it is not the permission group
	}
	return &ProbeError{Target: s.target, Kind: kind, Err: err, Advice: s.advice(kind)}
}

func kindOf(err error) error {
	var dns *net.DNSError
	var status *statusError
	var refusal *rpcRefusal
	switch {
	case errors.As(err, &status):
		return kindOfStatus(status)
	case errors.As(err, &dns):
		return ErrUnknownHost
	case isRefused(err):
		return ErrClosedPort
	case errors.Is(err, errNotRPC), errors.As(err, &refusal) && refusal.absent:
		return ErrNotNFS
	case errors.As(err, &refusal):
		return ErrDenied
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.Is(err, errOtherContent):
		return ErrOther
	}
	return ErrUnreachable // no connection, or one that was lost or fell silent
}

func kindOfStatus(e *statusError) error {
	switch e.status {
	case nfsv3.NFS3ERR_NOENT, nfsv3.NFS3ERR_NOTDIR, nfsv3.NFS3ERR_INVAL, nfsv3.NFS3ERR_NAMETOOLONG:
		return ErrNoSuchPath
	case nfsv3.NFS3ERR_ROFS:
		return ErrReadOnly
	case nfsv3.NFS3ERR_NOSPC, nfsv3.NFS3ERR_DQUOT:
		return ErrFull
	case nfsv3.NFS3ERR_ACCES, nfsv3.NFS3ERR_PERM:
		if e.call == "MNT" || e.call == procedureName(getattr) || e.call == procedureName(fsstat) {
			return ErrDenied
		}
		return ErrNotWritable
	}
	return ErrOther
}

// advice says what a person must do next.
func (s *probe) advice(kind error) string {
	from := "this host"
	if s.report.Local != "" {
		from = "this host (" + s.report.Local + ")"
	}
	switch kind {
	case ErrUnknownHost: //nolint:errorlint // kind is one of the Err values itself
		return "Copy the mount target's domain name from the NAS console again, and ask from a host that uses the VPC's DNS"
	case ErrUnreachable:
		return "Let the security group pass TCP 2049 and 111 to the mount target, and use one of the VPC of vswitch_ids: a mount target of another VPC can't be reached without CEN. " +
			"Where the connection is made and then lost, the permission group may have no rule for " + from
	case ErrClosedPort:
		return "See that the mount target is one for NFS (not SMB) and is enabled in the NAS console"
	case ErrNotNFS:
		return "See that server is a mount target of a file system of type NFS; jobs with vers=4.0 may still mount it"
	case ErrDenied:
		return "Add a rule for " + from + ", and for the addresses of the vSwitches, to the permission group of the mount target; see too that the path is exported" + s.underShare()
	case ErrNoSuchPath:
		return s.missingAdvice()
	case ErrReadOnly:
		return "Give " + from + " read and write access in the permission group of the mount target, or set read_only = true"
	case ErrNotWritable:
		return fmt.Sprintf("The directory belongs to uid %d with mode %04o, and root may be squashed: make it writable for all (chmod 0777 from a host that may), or choose no_squash in the permission group",
			s.report.UID, s.report.Mode)
	case ErrFull:
		return "Delete what is no longer needed, or raise the quota or capacity of the file system"
	}
	return ""
}

func (s *probe) missingAdvice() string {
	var advice []string
	if s.report.Path != "" {
		advice = append(advice, fmt.Sprintf("The nearest directory that can be mounted is %s: correct path, or make the directory", s.report.Path))
		if !s.target.Made {
			advice = append(advice, `With mount options ECI makes it (options = "" is a plain NFSVolume, which may not)`)
		}
	} else {
		advice = append(advice, "Correct path")
	}
	return strings.Join(advice, ". ") + s.underShare()
}

// underShare is a hint at what only Extreme NAS asks for.
func (s *probe) underShare() string {
	if within(s.target.Path, "/share") {
		return ""
	}
	return ". On Extreme NAS every path starts with /share"
}

func isRefused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

func isStatus(err error, want nfsv3.Nfsstat3) bool {
	var status *statusError
	return errors.As(err, &status) && status.status == want
}

// isRefusal tells whether the server itself said no, so that nothing was done.
func isRefusal(err error) bool {
	var status *statusError
	var refusal *rpcRefusal
	return errors.As(err, &status) || errors.As(err, &refusal)
}
