package stages

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/pkg/eci"
)

// ImageCacheAPI is the part of the ECI API that image caches need; each method is
// one RAM action of the same name.
type ImageCacheAPI interface {
	CreateImageCache(ctx context.Context, s eci.ImageCacheSpec) (id, group string, err error)
	DescribeImageCaches(ctx context.Context, id string) (eci.ImageCacheListing, error)
	DeleteImageCache(ctx context.Context, id string) error
	DescribeContainerGroupPrice(ctx context.Context, q eci.PriceQuery) (eci.Price, error)
}

// ImageCaches lists, makes, renews and deletes image caches: images of jobs on a
// disk that groups start from (sources.md: caches). It needs no job and no state_dir.
type ImageCaches struct {
	Config        *config.Config
	API           ImageCacheAPI
	Clock         Clock // of this host; ages are reckoned by the server's
	Stdout        io.Writer
	Wait          func(what string) // shows a person at a terminal what is waited for, "" for nothing; nil = news are lines of Stdout
	RunnerVersion string            // of the helper's image; "" where nobody has told
}

// Tags of a cache beside those that groups have too: which images it is of, and
// what their tags stood for.
const (
	tagImages  = "images"
	tagDigests = "digests"

	imagesOfFile = "file"  // of [image_cache]: refresh keeps these caches up to date
	imagesGiven  = "given" // with the command
)

// ListedCache is one image cache as list shows it, and the JSON of list --json.
type ListedCache struct {
	ID      string     `json:"id"`
	Name    string     `json:"name"`
	Status  string     `json:"status"`
	SizeGiB float64    `json:"size_gib"`
	Images  []string   `json:"images"`
	Created *time.Time `json:"created"`     // null where ECI tells none
	Age     *int64     `json:"age_seconds"` // by the server's clock; null where it tells none
	Used    *time.Time `json:"last_used"`   // null = never
	Expires *time.Time `json:"expires"`     // null = never
	Ours    bool       `json:"ours"`        // has the driver's tags and this file's runner_name
	Runner  string     `json:"runner"`      // runner_name of the file that it was made by
}

// List shows every image cache of the region, oldest first, and which are ours.
func (k *ImageCaches) List(ctx context.Context, asJSON bool) error {
	listing, err := k.listing(ctx, "")
	if err != nil {
		return err
	}
	list := []ListedCache{} // never null
	for i := range listing.Caches {
		list = append(list, k.listed(&listing.Caches[i], listing.Date))
	}
	if asJSON {
		encoder := json.NewEncoder(k.Stdout)
		encoder.SetIndent("", "  ")
		return encoder.Encode(list)
	}
	return k.table(list)
}

// listing asks for the region's caches, oldest first, or for the one with an id.
func (k *ImageCaches) listing(ctx context.Context, id string) (eci.ImageCacheListing, error) {
	var listing eci.ImageCacheListing
	err := eci.Persist(ctx, askingLimit, func() (err error) {
		listing, err = k.API.DescribeImageCaches(ctx, id)
		return err
	})
	if err != nil {
		return listing, withAdvice(fmt.Errorf("looking for image caches in %s: %w", k.Config.Region, err))
	}
	if id != "" { // a server that filters nothing lists others
		listing.Caches = slices.DeleteFunc(listing.Caches, func(c eci.ImageCache) bool { return c.ID != id })
	}
	slices.SortStableFunc(listing.Caches, func(a, b eci.ImageCache) int { return a.CreationTime.Compare(b.CreationTime) })
	return listing, nil
}

// ours tells whether a cache was made with a driver's file of the same runner_name.
func (k *ImageCaches) ours(c *eci.ImageCache) bool {
	return c.Tags[tagManagedBy] == DriverName && c.Tags[tagRunner] == tagValue(k.Config.RunnerName)
}

func (k *ImageCaches) listed(c *eci.ImageCache, now time.Time) ListedCache {
	l := ListedCache{ID: c.ID, Name: c.Name, Status: c.Status, SizeGiB: c.SizeGiB, Images: c.Images, Ours: k.ours(c),
		Created: told(c.CreationTime), Used: told(c.MatchedTime), Expires: told(c.ExpireTime)}
	if c.Tags[tagManagedBy] == DriverName {
		l.Runner = c.Tags[tagRunner]
	}
	if l.Created != nil && !now.IsZero() {
		seconds := int64(age(now, c.CreationTime).Seconds())
		l.Age = &seconds
	}
	return l
}

// told is a time for JSON, nil where there is none.
func told(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func (k *ImageCaches) table(list []ListedCache) error {
	if len(list) == 0 {
		_, err := fmt.Fprintf(k.Stdout, "No image caches in %s\n", k.Config.Region)
		return err
	}
	w := tabwriter.NewWriter(k.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tNAME\tSTATUS\tGIB\tAGE\tOURS\tIMAGES") //nolint:errcheck // Flush tells
	for _, l := range list {
		old, ours := "?", "no"
		if l.Age != nil {
			old = (time.Duration(*l.Age) * time.Second).String()
		}
		switch {
		case l.Ours:
			ours = "yes"
		case l.Runner != "":
			ours = "of " + clean(l.Runner)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%g\t%s\t%s\t%s\n", clean(l.ID), cell(l.Name, "-"), cell(l.Status, "?"), l.SizeGiB, old, ours, //nolint:errcheck // Flush tells
			cell(strings.Join(l.Images, " "), "-"))
	}
	return w.Flush()
}

// say prints a line for the person who waits.
func (k *ImageCaches) say(format string, args ...any) {
	fmt.Fprintf(k.Stdout, format+"\n", args...) //nolint:errcheck // the exit status tells what came of it
}
