package eci_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/eci-executor/eci-executor/pkg/eci"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

func startCaches(t *testing.T, o ecitest.Options) *eci.Client {
	t.Helper()
	o.Dir, o.Images = t.TempDir(), map[string]ecitest.Image{"host": {Layers: []string{"/"}}}
	server, err := ecitest.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	ecitest.LeakCheck(t, server, time.Minute)
	client, err := eci.New(eci.Options{Region: "ap-northeast-1", Endpoint: server.URL(),
		Credentials: eci.Credentials{AccessKeyID: "local", AccessKeySecret: "local-secret"}})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func TestImageCacheParams(t *testing.T) {
	tests := []struct {
		name string
		spec eci.ImageCacheSpec
		want eci.Params
	}{
		{"the least", eci.ImageCacheSpec{Name: "c", Images: []string{"a:1", "b:2"}},
			eci.Params{"ImageCacheName": "c", "Image.1": "a:1", "Image.2": "b:2"}},
		{"all", eci.ImageCacheSpec{Name: "c", ClientToken: "t", Images: []string{"a:1"}, VSwitchIDs: []string{"vsw-1", "vsw-2"}, SecurityGroupID: "sg-1",
			ResourceGroupID: "rg-1", EIPID: "eip-1", SizeGiB: 30, RetentionDays: 7, PlainHTTPRegistries: []string{"p:1", "p:2"}, InsecureRegistries: []string{"i:1"},
			RegistryCredentials: []eci.RegistryCredential{{Server: "r:1", UserName: "u", Password: "s"}},
			ACRRegistries:       []eci.ACRRegistry{{InstanceID: "cri-1", RegionID: "cn-x", Domains: []string{"d:1"}}}, Tags: map[string]string{"k": "v"}},
			eci.Params{"ImageCacheName": "c", "ClientToken": "t", "Image.1": "a:1", "VSwitchId": "vsw-1,vsw-2", "SecurityGroupId": "sg-1",
				"ResourceGroupId": "rg-1", "EipInstanceId": "eip-1", "ImageCacheSize": "30", "RetentionDays": "7", "PlainHttpRegistry": "p:1,p:2", "InsecureRegistry": "i:1",
				"ImageRegistryCredential.1.Server": "r:1", "ImageRegistryCredential.1.UserName": "u", "ImageRegistryCredential.1.Password": "s",
				"AcrRegistryInfo.1.InstanceId": "cri-1", "AcrRegistryInfo.1.RegionId": "cn-x", "AcrRegistryInfo.1.Domain.1": "d:1", "Tag.1.Key": "k", "Tag.1.Value": "v"}},
	}
	client := startCaches(t, ecitest.Options{})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if d := cmp.Diff(tt.want, tt.spec.Params()); d != "" {
				t.Errorf("-want +got\n%s", d)
			}
			if _, _, err := client.CreateImageCache(t.Context(), tt.spec); err != nil {
				t.Errorf("the local ECI refuses it: %v", err)
			}
		})
	}
}

// TestImageCache: made once for one token, listed over pages with all that is told,
// found by id, deleted.
func TestImageCache(t *testing.T) {
	client, ctx := startCaches(t, ecitest.Options{}), t.Context()
	made := map[string]string{}
	for i := range 25 { // more than a page
		spec := eci.ImageCacheSpec{Name: fmt.Sprintf("cache-%d", i), ClientToken: fmt.Sprint("token", i), Images: []string{"host"},
			RetentionDays: 1, Tags: map[string]string{"k": "v"}}
		id, group, err := client.CreateImageCache(ctx, spec)
		again, _, againErr := client.CreateImageCache(ctx, spec)
		if err != nil || againErr != nil || id == "" || group == "" || again != id {
			t.Fatalf("%q %q %v, again %q %v", id, group, err, again, againErr)
		}
		made[id] = spec.Name
	}
	listing, err := client.DescribeImageCaches(ctx, "")
	if err != nil || len(listing.Caches) != len(made) || listing.Date.IsZero() {
		t.Fatalf("%d listed of %d, date %v, %v", len(listing.Caches), len(made), listing.Date, err)
	}
	for _, c := range listing.Caches {
		if made[c.ID] != c.Name || c.Status == "" || c.SizeGiB != 20 || c.CreationTime.IsZero() || c.ExpireTime.Sub(c.CreationTime) != 24*time.Hour ||
			c.GroupID == "" || c.Tags["k"] != "v" || fmt.Sprint(c.Images) != "[host]" {
			t.Errorf("%+v", c)
		}
	}
	first := listing.Caches[0].ID
	if err := client.DeleteImageCache(ctx, first); err != nil {
		t.Fatal(err)
	}
	if err := client.DeleteImageCache(ctx, first); eci.ClassOf(err) != eci.NotFound {
		t.Errorf("deleted twice: %v", err)
	}
	if l, err := client.DescribeImageCaches(ctx, first); err != nil || len(l.Caches) != 0 {
		t.Errorf("gone: %v, %v", l, err)
	}
	if l, err := client.DescribeImageCaches(ctx, listing.Caches[1].ID); err != nil || len(l.Caches) != 1 {
		t.Errorf("by id: %v, %v", l, err)
	}
}

func TestImageCacheErrors(t *testing.T) {
	client := startCaches(t, ecitest.Options{Stock: ecitest.Stock{MaxImageCaches: 1}})
	spec := eci.ImageCacheSpec{Name: "one", Images: []string{"host"}}
	if _, _, err := client.CreateImageCache(t.Context(), eci.ImageCacheSpec{Name: "none"}); eci.ClassOf(err) != eci.Config {
		t.Errorf("no image: %v", err)
	}
	if _, _, err := client.CreateImageCache(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	if _, _, err := client.CreateImageCache(t.Context(), spec); eci.CodeOf(err) != "QuotaExceeded" {
		t.Errorf("at the quota: %v", err)
	}
}
