package ecitest

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/eci-executor/eci-executor/internal/pattern"
)

const apiVersion = "2018-08-08"

// commonParams are those of the protocol and of the SDK, allowed in each call.
const commonParams = `AccessKeyId Action Version Format RegionId Timestamp SignatureMethod SignatureVersion
	SignatureType SignatureNonce SecurityToken Signature OwnerId OwnerAccount ResourceOwnerId ResourceOwnerAccount`

var numberPart = pattern.Lazy(`\.[0-9]+(\.|$)`)

// bogusProbe is what the typed request of alibaba-cloud-sdk-go sends with each
// container, whether a probe is set or not (sources.md: sdk).
var bogusProbe = pattern.Lazy(`^Container\.N\.(Liveness|Readiness)Probe\.Exec\.Command$`)

// params reads typed parameters and keeps the first error. An empty value is an
// absent one, as the SDKs have it.
type params struct {
	ctx context.Context // of the request
	v   url.Values
	err *apiError
}

// checkNames refuses, in the order of their names, parameters that the action
// does not have, that this server does not imitate, or that are given twice.
func (p *params) checkNames(name string, a action, sw *Switches) {
	known := strings.Fields(commonParams + " " + a.params)
	refused := strings.Fields(a.refused)
	for _, param := range slices.Sorted(maps.Keys(p.v)) {
		pattern := numberPart().ReplaceAllString(param, ".N$1")
		switch {
		case len(p.v[param]) > 1:
			p.fail("InvalidParameter", "the parameter %s is given %d times", param, len(p.v[param]))
		case slices.Contains(known, pattern):
		case sw.BogusProbeIgnored && bogusProbe().MatchString(pattern):
		case slices.ContainsFunc(refused, func(start string) bool { return strings.HasPrefix(pattern, start) }):
			p.fail("UnsupportedOperation", "the local ECI does not imitate the parameter %s", param)
		case !sw.UnknownParametersIgnored:
			p.fail("InvalidParameter", "the action %s has no parameter %s", name, param)
		}
	}
	p.oneOf("Format", "JSON", "JSON")
}

// region checks RegionId.
func (p *params) region(optional bool) {
	id := p.str("RegionId")
	if id == "" && !optional {
		p.required("RegionId")
	}
	if id != "" && !slices.Contains(regions(), id) {
		p.fail("InvalidParameter", "ECI has no region %q", id)
	}
}

func (p *params) fail(code, format string, args ...any) {
	p.refuse(invalid(code, format, args...))
}

func (p *params) refuse(e *apiError) {
	if p.err == nil {
		p.err = e
	}
}

func (p *params) str(name string) string { return p.v.Get(name) }

func (p *params) required(name string) string {
	v := p.v.Get(name)
	if v == "" {
		p.refuse(missing(name))
	}
	return v
}

func (p *params) boolean(name string, def bool) bool {
	switch v := p.v.Get(name); strings.ToLower(v) {
	case "":
		return def
	case "true":
		return true
	case "false":
		return false
	default:
		p.fail("InvalidParameter", "%s is %q, not true or false", name, v)
		return def
	}
}

// integer reads a number from least to most; def when absent.
func (p *params) integer(name string, def, least, most int64) int64 {
	v := p.v.Get(name)
	if v == "" {
		return def
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < least || n > most {
		p.fail("InvalidParameter", "%s is %q, not an integer from %d to %d", name, v, least, most)
		return def
	}
	return n
}

// float reads a number above zero; 0 when absent.
func (p *params) float(name string) float64 {
	v := p.v.Get(name)
	if v == "" {
		return 0
	}
	f, err := strconv.ParseFloat(v, 64)
	if err != nil || !(f > 0 && f < 1e6) {
		p.fail("InvalidParameter", "%s is %q, not a number above 0", name, v)
		return 0
	}
	return f
}

// instant reads a time in UTC.
func (p *params) instant(name string) time.Time {
	v := p.v.Get(name)
	if v == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, v)
	if err != nil || !strings.HasSuffix(v, "Z") {
		p.fail("InvalidParameter", "%s is %q, not a time such as 2018-08-02T15:00:00Z", name, v)
	}
	return t
}

func (p *params) oneOf(name, def string, values ...string) string {
	v := p.v.Get(name)
	if v == "" {
		return def
	}
	if !slices.Contains(values, v) {
		p.fail("InvalidParameter", "%s is %q, not one of %s", name, v, strings.Join(values, ", "))
	}
	return v
}

// commas reads a list in one parameter, of at most n items.
func (p *params) commas(name string, n int) []string {
	v := p.str(name)
	if v == "" {
		return nil
	}
	items := strings.Split(v, ",")
	if len(items) > n {
		p.fail("InvalidParameter", "%s has %d items, at most %d are allowed", name, len(items), n)
	}
	if slices.Contains(items, "") {
		p.fail("InvalidParameter", "%s is %q: an item is empty", name, v)
	}
	return items
}

// list gives the prefixes of a repeated structure: "Volume" -> "Volume.1", ...
// What ECI makes of a gap in the numbers is not documented; here it is refused.
func (p *params) list(prefix string) []string {
	seen := map[int]bool{}
	for name := range p.v {
		rest, ok := strings.CutPrefix(name, prefix+".")
		if !ok {
			continue
		}
		digits, _, _ := strings.Cut(rest, ".")
		n, err := strconv.Atoi(digits)
		if err != nil {
			continue // another parameter, e.g. SecurityContext.Sysctl beside SecurityContext.N
		}
		seen[n] = true
	}
	var prefixes []string
	for n := 1; n <= len(seen); n++ {
		if !seen[n] {
			p.fail("InvalidParameter", "%s: the numbers of a list go from 1 to %d without a gap", prefix, len(seen))
		}
		prefixes = append(prefixes, fmt.Sprintf("%s.%d", prefix, n))
	}
	return prefixes
}

// strings gives the values of a repeated string.
func (p *params) strings(prefix string) []string {
	var values []string
	for _, name := range p.list(prefix) {
		values = append(values, p.v.Get(name))
	}
	return values
}

// mode reads file permissions: four octal digits, or with base 10 their value.
func (p *params) mode(name string, def os.FileMode, base int) os.FileMode {
	v := p.v.Get(name)
	if v == "" {
		return def
	}
	n, err := strconv.ParseUint(v, base, 32)
	if err != nil || n > 0o777 {
		p.fail("InvalidParameter", "%s is %q, not a mode such as 0644", name, v)
		return def
	}
	return os.FileMode(n)
}
