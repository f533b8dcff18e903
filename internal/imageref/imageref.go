// Package imageref takes the names of container images apart, by the grammar and with
// the defaults of Docker (sources.md: image-names).
//
// Docker's own library compiles its patterns when a program starts, which costs each of a
// job's ten processes 0.7 ms; the tests hold this package to it.
package imageref

import (
	"errors"
	"strings"
)

// Ref is what the name of an image stands for.
type Ref struct {
	Written string // the name as it was given, without tag and digest
	Domain  string // the registry's host, with its port where it has one; docker.io where none is written
	Path    string // of the repository, with library/ where docker.io has it
	Tag     string // "" where none is written
	Digest  string // such as sha256:0123..., "" where none is written
}

// Docker's own registry, also under its old name, and the folder of its official images.
const (
	dockerHub    = "docker.io"
	oldDockerHub = "index.docker.io"
	official     = "library/"
)

const (
	mostPath = 255 // characters of a path
	mostTag  = 128 // characters of a tag
)

// errForm is what a name has to look like.
var errForm = errors.New("it must be [REGISTRY[:PORT]/]PATH[:TAG][@sha256:DIGEST], and its path of lower-case letters, digits and single . _ -")

// Parse reads the name of an image as the author of a job writes it.
func Parse(image string) (Ref, error) {
	rest, digest, digested := strings.Cut(image, "@")
	name, tag, tagged := rest, "", false
	if i := strings.LastIndexByte(rest, ':'); i > strings.LastIndexByte(rest, '/') {
		name, tag, tagged = rest[:i], rest[i+1:], true
	}
	if tagged && !isTag(tag) || digested && !isDigest(digest) || isHex(image, 64) { // which docker takes for an image's id
		return Ref{}, errForm
	}
	domain, path := split(name)
	if !isDomain(domain) { // as docker has it: then that is no registry
		domain, path = "", domain+"/"+path
	}
	if len(path) > mostPath || !isPath(path) {
		return Ref{}, errForm
	}
	return Ref{Written: name, Domain: domain, Path: path, Tag: tag, Digest: digest}, nil
}

// Pulled is what is pulled for a name: of a tag and a digest the digest, and the tag
// latest where neither is written.
func Pulled(image string) (Ref, error) {
	r, err := Parse(image)
	switch {
	case err != nil:
		return Ref{}, err
	case r.Digest != "":
		r.Tag = ""
	case r.Tag == "":
		r.Tag = "latest"
	}
	return r, nil
}

// Name is domain and path.
func (r Ref) Name() string {
	if r.Domain == "" {
		return r.Path
	}
	return r.Domain + "/" + r.Path
}

// Familiar is the name without what docker adds to it.
func (r Ref) Familiar() string {
	if r.Domain != dockerHub {
		return r.Name()
	}
	if short, found := strings.CutPrefix(r.Path, official); found && !strings.Contains(short, "/") {
		return short
	}
	return r.Path
}

// String is the whole name.
func (r Ref) String() string {
	text := r.Name()
	if r.Tag != "" {
		text += ":" + r.Tag
	}
	if r.Digest != "" {
		text += "@" + r.Digest
	}
	return text
}

// split parts the registry from the path: what stands before the first slash is one
// where it is localhost, or has a character that a path has not at that place.
func split(name string) (domain, path string) {
	domain, path, found := strings.Cut(name, "/")
	switch {
	case !found:
		domain, path = dockerHub, name
	case domain == oldDockerHub:
		domain = dockerHub
	case domain != "localhost" && !strings.ContainsAny(domain, ".:") && strings.ToLower(domain) == domain:
		domain, path = dockerHub, name
	}
	if domain == dockerHub && !strings.Contains(path, "/") {
		path = official + path
	}
	return domain, path
}

// isDomain tells whether text is a host name, or an IPv6 address in brackets, with or
// without a port.
func isDomain(text string) bool {
	host := text
	if i := strings.LastIndexByte(text, ':'); i > strings.LastIndexByte(text, ']') {
		host = text[:i]
		if !all(text[i+1:], isDigit) {
			return false
		}
	}
	if address, found := strings.CutPrefix(host, "["); found {
		address, found = strings.CutSuffix(address, "]")
		return found && all(address, func(c byte) bool { return c == ':' || isDigit(c) || c|0x20 >= 'a' && c|0x20 <= 'f' })
	}
	for label := range strings.SplitSeq(host, ".") {
		if !all(label, func(c byte) bool { return c == '-' || isLetter(c) || isDigit(c) }) || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
	}
	return true
}

// isPath tells whether each part of a path is letters and digits, with one dot, one or
// two underscores or any number of hyphens between them.
func isPath(text string) bool {
	for part := range strings.SplitSeq(text, "/") {
		if !isPart(part) {
			return false
		}
	}
	return true
}

func isPart(text string) bool {
	gap := 0 // bytes since the last letter or digit
	for i := range len(text) {
		c := text[i]
		if isLower(c) || isDigit(c) {
			gap = 0
			continue
		}
		gap++
		same := i > 0 && c == text[i-1]
		if i == 0 || !strings.ContainsRune("._-", rune(c)) || gap > 1 && !same || gap > 1 && c == '.' || gap > 2 && c == '_' {
			return false
		}
	}
	return text != "" && gap == 0
}

func isTag(text string) bool {
	return len(text) <= mostTag && all(text, func(c byte) bool {
		return c == '.' || c == '-' || c == '_' || isLetter(c) || isDigit(c)
	}) && text[0] != '.' && text[0] != '-'
}

// isDigest tells whether text is a digest of one of the three kinds that there are.
func isDigest(text string) bool {
	algorithm, sum, _ := strings.Cut(text, ":")
	digits := map[string]int{"sha256": 64, "sha384": 96, "sha512": 128}[algorithm]
	return digits > 0 && isHex(sum, digits)
}

// isHex tells whether text is so many hexadecimal digits, letters in lower case.
func isHex(text string, digits int) bool {
	return len(text) == digits && all(text, func(c byte) bool { return isDigit(c) || c >= 'a' && c <= 'f' })
}

// all tells whether each byte of text is of a kind, and that there is one.
func all(text string, is func(byte) bool) bool {
	for i := range len(text) {
		if !is(text[i]) {
			return false
		}
	}
	return text != ""
}

func isDigit(c byte) bool  { return c >= '0' && c <= '9' }
func isLower(c byte) bool  { return c >= 'a' && c <= 'z' }
func isLetter(c byte) bool { return isLower(c) || c >= 'A' && c <= 'Z' }
