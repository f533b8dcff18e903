package eci

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// ImageCacheSpec is an image cache as a caller wants it; Params turns it into
// request parameters of CreateImageCache (sources.md: api-types).
type ImageCacheSpec struct {
	Name                string
	ClientToken         string
	Images              []string // at most 20
	VSwitchIDs          []string // at most 10
	SecurityGroupID     string
	ResourceGroupID     string
	EIPID               string // of the temporary group that pulls
	SizeGiB             int    // 0 leaves it to ECI: 20
	RetentionDays       int    // 0 = for ever
	PlainHTTPRegistries []string
	InsecureRegistries  []string
	RegistryCredentials []RegistryCredential
	ACRRegistries       []ACRRegistry
	Tags                map[string]string
}

// ImageCache is an image cache as DescribeImageCaches returns it.
type ImageCache struct {
	ID           string // imc-...
	Name         string
	Status       string // Preparing, Creating, Ready, Failed, Updating, UpdateFailed; unknown strings are kept
	Progress     string // such as 100%
	SizeGiB      float64
	Images       []string
	SnapshotID   string
	GroupID      string // the temporary group of the last build, gone or not
	CreationTime time.Time
	ExpireTime   time.Time // zero = never
	MatchedTime  time.Time // of the last use, zero = never
	Tags         map[string]string
	Events       []Event // of its builds
}

// ImageCacheListing is image caches and when, by the server's clock, they were
// listed: zero where no answer told.
type ImageCacheListing struct {
	Caches []ImageCache
	Date   time.Time // to the second
}

// Params are the parameters of CreateImageCache for s. It is pure.
func (s ImageCacheSpec) Params() Params {
	p := Params{}
	p.set("ImageCacheName", s.Name)
	p.set("ClientToken", s.ClientToken)
	p.list("Image", s.Images)
	p.set("VSwitchId", strings.Join(s.VSwitchIDs, ","))
	p.set("SecurityGroupId", s.SecurityGroupID)
	p.set("ResourceGroupId", s.ResourceGroupID)
	p.set("EipInstanceId", s.EIPID)
	p.integer("ImageCacheSize", int64(s.SizeGiB))
	p.integer("RetentionDays", int64(s.RetentionDays))
	p.tags(s.Tags)
	GroupSpec{
		PlainHTTPRegistries: s.PlainHTTPRegistries, InsecureRegistries: s.InsecureRegistries,
		RegistryCredentials: s.RegistryCredentials, ACRRegistries: s.ACRRegistries,
	}.images(p) // the same names as of a group
	return p
}

// CreateImageCache asks for an image cache and returns its id and that of the
// temporary group that pulls its images. The call is asynchronous. The same client
// token with the same parameters is one cache.
func (c *Client) CreateImageCache(ctx context.Context, s ImageCacheSpec) (id, group string, err error) {
	var answer struct{ ImageCacheId, ContainerGroupId, RequestId string }
	call := call{action: "CreateImageCache", op: "create image cache", id: s.Name, params: s.Params()}
	if err := c.do(ctx, call, &answer); err != nil {
		return "", "", err
	}
	if answer.ImageCacheId == "" {
		return "", "", &Error{Op: call.op, ID: call.id, Action: call.action, RequestID: answer.RequestId, Message: "the answer holds no image cache id"}
	}
	return answer.ImageCacheId, answer.ContainerGroupId, nil
}

// DeleteImageCache deletes an image cache, its snapshot too. One that does not
// exist is an error of class NotFound.
func (c *Client) DeleteImageCache(ctx context.Context, id string) error {
	var answer struct{}
	return c.do(ctx, call{"DeleteImageCache", "delete image cache", id, Params{"ImageCacheId": id}}, &answer)
}

// DescribeImageCaches returns the region's image caches page by page, or with an id
// that one: none where it does not exist.
func (c *Client) DescribeImageCaches(ctx context.Context, id string) (ImageCacheListing, error) {
	params := Params{"Limit": fmt.Sprint(mostIDs)}
	params.set("ImageCacheId", id)
	var listing ImageCacheListing
	call := call{"DescribeImageCaches", "describe image caches", id, params}
	err := call.pages(func() (string, error) {
		var answer struct {
			NextToken   string
			ImageCaches []imageCacheJSON
		}
		date, err := c.doDated(ctx, call, &answer)
		if err != nil {
			return "", err
		}
		if listing.Date.IsZero() {
			listing.Date = date
		}
		for _, j := range answer.ImageCaches {
			listing.Caches = append(listing.Caches, j.cache())
		}
		return answer.NextToken, nil
	})
	if err != nil && (id == "" || CodeOf(err) != "InvalidParameter.NotFound") {
		return ImageCacheListing{}, err
	}
	return listing, nil
}

// imageCacheJSON is an image cache as the API writes it.
type imageCacheJSON struct {
	ImageCacheId, ImageCacheName, Status, Progress, SnapshotId, ContainerGroupId string
	ImageCacheSize                                                               float64
	Images                                                                       []string
	CreationTime, ExpireDateTime, LastMatchedTime                                string
	Tags                                                                         []struct{ Key, Value string }
	Events                                                                       []eventJSON
}

func (j imageCacheJSON) cache() ImageCache {
	c := ImageCache{
		ID: j.ImageCacheId, Name: j.ImageCacheName, Status: j.Status, Progress: j.Progress, SizeGiB: j.ImageCacheSize,
		Images: j.Images, SnapshotID: j.SnapshotId, GroupID: j.ContainerGroupId, CreationTime: when(j.CreationTime),
		ExpireTime: when(j.ExpireDateTime), MatchedTime: when(j.LastMatchedTime), Tags: map[string]string{},
	}
	for _, t := range j.Tags {
		c.Tags[t.Key] = t.Value
	}
	for _, e := range j.Events {
		c.Events = append(c.Events, e.event())
	}
	return c
}
