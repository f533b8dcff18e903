package stages

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/distribution/reference"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/pkg/eci"
)

// pullProblem is a kind of failed pull, told by the words of the container runtime.
type pullProblem struct {
	words   *regexp.Regexp
	is      string // what is wrong; {registry}
	passing bool   // ECI's own retries may heal it, and have until [timeouts] ready is over
	owner   bool   // whoever named the image has to mend it; otherwise the operator
	login   bool   // whoever gave the login has to mend it
	next    string // what to do; {image} is where the image is named, {registry}, {platform}, {login}
}

// pullProblems in the order of their search: what is more definite comes first,
// and "not found", which a resolver says of hosts too, comes last.
func pullProblems() []pullProblem {
	const reach = "give the vSwitches a way to {registry} (NAT gateway, or auto_eip in [network]) and let the security group pass it; a registry inside the VPC needs neither."
	return []pullProblem{
		{words: regexp.MustCompile(`no space left on device|disk quota exceeded`),
			is:   "the disk of the container group is full",
			next: "raise ephemeral_storage in [capacity]: an image takes twice its size, beside the job's own files, of 30 GiB."},
		{words: regexp.MustCompile(`server gave http response to https client`),
			is:   "{registry} speaks plain HTTP",
			next: "add {registry} to plain_http in [pull]."},
		{words: regexp.MustCompile(`x509:|certificate`),
			is:   "the certificate of {registry} is not trusted",
			next: "give {registry} a certificate of a public authority, or add it to insecure in [pull]."},
		{words: regexp.MustCompile(`toomanyrequests|429 too many|rate limit`), passing: true,
			is:   "{registry} limits how often it is asked",
			next: "log in to {registry} with a [[registry]], pull from a mirror, or use an image cache."},
		{words: regexp.MustCompile(`dial tcp|no such host|server misbehaving|i/o timeout|connection (refused|reset|timed out)|tls handshake timeout|` +
			`deadline exceeded|client\.timeout|network is unreachable|no route to host|unexpected eof|: eof|\b(500|502|503|504) [a-z]`), passing: true,
			is:   "{registry} can't be reached",
			next: reach},
		{words: regexp.MustCompile(`no match(ing manifest)? for|does not match the specified platform`), owner: true,
			is:   "{registry} has it for other machines only",
			next: "set {image} to an image that is built for {platform}."},
		{words: regexp.MustCompile(`invalid reference|invalidimagename|couldn't parse image`), owner: true,
			is:   "this is no name of an image",
			next: "correct {image}."},
		{words: regexp.MustCompile(`unauthorized|denied|authentication required|authorization failed|no basic auth|403 forbidden`), owner: true, login: true,
			is:   "{registry} refuses it: it wants a login, or another one, or does not have the image",
			next: "correct {image}, or {login}."},
		{words: regexp.MustCompile(`not found|manifest unknown|name unknown|does not exist`), owner: true,
			is:   "{registry} does not have it",
			next: "correct {image}."},
	}
}

// unknownPull is a failure that matches none of pullProblems. ECI's retries may heal it, and
// get triesOfUnknown of them.
func unknownPull() pullProblem {
	return pullProblem{is: "for a reason that this driver does not know", next: "look into what ECI says, and whether {registry} has the image."}
}

// triesOfUnknown is how often a pull may fail for such a reason.
const triesOfUnknown = 3

// pulls is what a group's events tell of the pulls of one image.
type pulls struct {
	said  string // of the last failure; "" where none, or where the image came in the end
	tries int
}

func pullsOf(group *eci.Group, c *eci.ContainerStatus) pulls {
	var p pulls
	for _, e := range group.Events {
		switch {
		case !names(e.Message, c.Image):
		case e.Reason == "Pulled":
			p = pulls{}
		case e.Type == "Warning" && strings.Contains(strings.ToLower(e.Message), "pull"):
			p.said, p.tries = e.Message, p.tries+max(1, e.Count)
		}
	}
	if p.said == "" && (c.Reason == "InvalidImageName" || c.Reason == "ErrImageNeverPull" || strings.HasPrefix(c.Reason, "ErrImage") || c.Reason == "ImagePullBackOff") {
		p.said = strings.TrimSpace(c.Reason + ": " + c.Message)
	}
	return p
}

// pullFailure says why the image of a container will not come; nil while it may yet. With
// late it also says what has kept it from coming so far.
func (s *Stage) pullFailure(group *eci.Group, c *eci.ContainerStatus, late bool) *startError {
	if c.State == "Running" || c.State == "Terminated" {
		return nil
	}
	pulls := pullsOf(group, c)
	if pulls.said == "" {
		return nil
	}
	if c.Reason == "ErrImageNeverPull" {
		return s.neverPulled(c)
	}
	problem, known := problemOf(pulls.said, c.Image)
	if !late && (problem.passing || !known && pulls.tries < triesOfUnknown) {
		return nil
	}
	registry := registryOf(c.Image)
	owner, named := s.ownerOf(c)
	e := &startError{unpulled: c.Name, event: eci.OneLine(pulls.said), lasting: known && !problem.passing}
	login := ""
	if problem.owner {
		e.blame = owner
	}
	if problem.login {
		e.blame, login = loginOf(s.Config, s.Job, c.Image, owner)
	}
	fill := strings.NewReplacer("{registry}", registry, "{image}", named, "{platform}", "linux/"+s.Config.Capacity.Architecture, "{login}", login)
	e.what = fmt.Sprintf("container group %s: the image %s of container %s can't be pulled: %s", group.ID, c.Image, c.Name, fill.Replace(problem.is))
	e.next = fill.Replace(problem.next)
	return e
}

func problemOf(said, image string) (problem pullProblem, known bool) {
	said = withoutName(said, image)
	for _, p := range pullProblems() {
		if p.words.MatchString(said) {
			return p, true
		}
	}
	return unknownPull(), false
}

// names tells whether a message of the kubelet or of ECI speaks of an image, which
// they may have completed by a registry.
func names(message, image string) bool {
	return strings.Contains(message, `"`+image+`"`) || strings.Contains(message, `/`+image+`"`)
}

// withoutName is a message in lower case, without the image's name in any of its forms: a
// name may hold the very words that pullProblems look for.
func withoutName(message, image string) string {
	parts := []string{image}
	if ref, err := reference.ParseNormalizedNamed(image); err == nil {
		parts = append(parts, ref.String(), ref.Name(), reference.FamiliarName(ref), reference.Path(ref), reference.Domain(ref))
	}
	for _, p := range parts {
		if p != "" {
			message = strings.ReplaceAll(message, p, "")
		}
	}
	return strings.ToLower(message)
}

// neverPulled is the failure of an image with the pull policy Never that is not there.
func (s *Stage) neverPulled(c *eci.ContainerStatus) *startError {
	owner, named := s.ownerOf(c)
	return &startError{unpulled: c.Name, blame: owner, lasting: true,
		what: fmt.Sprintf("the image %s of container %s may not be pulled by its pull policy, and is not there", c.Image, c.Name),
		next: fmt.Sprintf("set the pull policy of %s to if-not-present or always.", named)}
}

// ownerOf is who named the image of a container, and where.
func (s *Stage) ownerOf(c *eci.ContainerStatus) (blame, string) {
	switch {
	case c.Name == helperContainer:
		return operator, "image of [helper] in the driver's file"
	case s.isOperators(c.Name):
		return operator, "name of the [[runner_service]] " + c.Name + " in the driver's file"
	case c.Name != buildContainer:
		return author, "the service " + c.Name + " in the job's `services:`"
	case s.Job.Image.Name == "":
		return operator, "image of [build] in the driver's file"
	}
	return author, "the job's `image:`"
}

// isOperators tells whether a container is a service that the driver's file names.
func (s *Stage) isOperators(container string) bool {
	for i, name := range serviceNames(s.Job) {
		if name == container {
			return s.Job.Services[i].Operator
		}
	}
	return false
}

// registryOf is the host of an image's registry.
func registryOf(image string) string {
	ref, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return "its registry"
	}
	return reference.Domain(ref)
}

// loginOf is who gave the login for an image, or who should have given one, and what that
// person is to do.
func loginOf(cfg *config.Config, job *Job, image string, owner blame) (blame, string) {
	sources, _ := loginSources(cfg, job) // its mistakes were told before
	if _, source := loginFor(sources, image); source != nil {
		return source.blame, strings.ReplaceAll(source.mend, "{registry}", registryOf(image))
	}
	if owner == operator {
		return operator, "add a [[registry]] for " + registryOf(image) + " to the driver's file"
	}
	return author, "put a login for " + registryOf(image) + " into the variable DOCKER_AUTH_CONFIG, or ask the runner's operator for a [[registry]]"
}
