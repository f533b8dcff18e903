package check

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci"
)

// A signature is good for 15 minutes before and after the server's time.
const (
	signatureGood = 15 * time.Minute
	clockOff      = time.Minute // above what networks explain
)

// endpoint asks the API for anything, unsigned: that it answers, how fast, and what
// its clock says.
func endpoint(ctx context.Context, w *world) []Line {
	address := w.cfg.EndpointURL()
	host, _ := url.Parse(address) // NewClient has parsed it
	sent := w.Clock.Now()
	response, err := get(ctx, w.Transport, address+"/", nil)
	if err != nil {
		unreached := &eci.Error{Endpoint: host.Host, Region: w.cfg.Region}
		return []Line{failed(unreached.Advice(), "%s does not answer: %v", address, err)}
	}
	defer response.Body.Close()
	took := w.Clock.Now().Sub(sent)
	date, err := http.ParseTime(response.Header.Get("Date"))
	off := w.Clock.Now().Sub(date).Abs()
	const ntp = "Set this host's clock by NTP."
	switch {
	case err != nil:
		return []Line{warning("See that endpoint is the API itself and no proxy in front of it.", "%s answers without a Date, by which reap tells the age of a group", address)}
	case off >= signatureGood:
		return []Line{failed(ntp, "%s answers, but this host's clock is off by %s: no signature is accepted", address, off.Round(time.Second))}
	case off >= clockOff:
		return []Line{warning(ntp, "%s answers, but this host's clock is off by %s", address, off.Round(time.Second))}
	}
	return []Line{ok("%s, answers in %s", address, took.Round(time.Millisecond))}
}

// credentials tells whose the keys are, and whether a signed call is accepted.
func credentials(ctx context.Context, w *world) []Line {
	key, err := w.client.Key(ctx)
	if err != nil {
		return []Line{failed(adviceOf(err, "Check [credentials]."), "%v", said(err))}
	}
	shown := "access key " + shortened(key.ID) + " (" + key.Source + ")"
	err = w.persist(ctx, func() error { _, err := w.client.DescribeRegions(ctx); return err })
	if isKeyError(err) {
		return []Line{failed(adviceOf(err, "Check [credentials]."), "%s is not accepted: %s", shown, said(err))}
	}
	if eci.CodeOf(err) == "" && err != nil {
		return []Line{failed(adviceOf(err, "Try again."), "%s: %s", shown, said(err))}
	}
	sts := w.STS
	if sts == "" {
		if sts = eci.STSEndpoint(w.cfg.EndpointURL()); sts == "" {
			return []Line{ok("%s; the endpoint is not Alibaba Cloud's, so nobody knows whose it is", shown)}
		}
	}
	whose, err := w.client.GetCallerIdentity(ctx, sts)
	switch {
	case isKeyError(err):
		return []Line{failed(adviceOf(err, "Check [credentials]."), "%s is not accepted: %s", shown, said(err))}
	case err != nil:
		return []Line{warning("Nothing is wrong with jobs; let this host reach "+sts+" to see whose the key is.", "%s is accepted; it is not known whose it is: %s", shown, said(err))}
	case whose.Type == "Account":
		return []Line{warning("Use a RAM user or, better, the RAM role of this ECS instance, with the actions that docs/setup.md lists.", "%s is the account's own, %s: it may do everything", shown, whose.ARN)}
	}
	return []Line{ok("%s, %s of account %s", shown, whose.ARN, whose.AccountID)}
}

// shortened is enough of an access key's id to find it in the console.
func shortened(id string) string {
	if len(id) < 12 {
		return strings.Repeat("*", len(id))
	}
	return id[:4] + "..." + id[len(id)-4:]
}

// region sees whether ECI is sold in the region.
func region(ctx context.Context, w *world) []Line {
	var regions map[string][]string
	err := w.persist(ctx, func() (err error) { regions, err = w.client.DescribeRegions(ctx); return err })
	const advice = "Set region to one that ECI has, and endpoint to the one of that region."
	switch {
	case eci.Denied(err):
		return []Line{ok("%s; whether ECI is sold there is not known without eci:DescribeRegions", w.cfg.Region)}
	case err != nil:
		return []Line{failed(adviceOf(err, advice), "%s: %s", w.cfg.Region, said(err))}
	}
	zones, known := regions[w.cfg.Region]
	if !known {
		return []Line{failed(advice, "%s is not among the %d regions of ECI", w.cfg.Region, len(regions))}
	}
	return []Line{ok("%s, zones %s", w.cfg.Region, strings.Join(zones, ", "))}
}

// execHost reaches for the host that exec's sockets are on, which is another one than
// the API's (sources.md: exec).
func execHost(ctx context.Context, w *world) []Line {
	address := w.WebSocket
	switch {
	case address != "":
	case w.local():
		address = w.cfg.EndpointURL()
	default:
		address = "https://eci-" + w.cfg.Region + ".aliyun.com"
	}
	sent := w.Clock.Now()
	response, err := get(ctx, w.Transport, address+"/", nil)
	if err != nil {
		return []Line{failed("Give this host a way to it (an EIP, a NAT gateway, or a proxy by HTTPS_PROXY): scripts travel over that connection. Its address is known to be public.",
			"%s can't be reached: %v", address, err)}
	}
	response.Body.Close()
	return []Line{ok("%s, answers in %s", address, w.Clock.Now().Sub(sent).Round(time.Millisecond))}
}
