package imageref

import (
	_ "crypto/sha512" // Docker's library takes the digests whose computing is linked, as it is with TLS
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/distribution/reference"
)

const sum = "7cc4b5aefd1d0cadf8d97d4350462ba51c694ebca145b08d7d41b41acc8db5aa"

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		name, image string
		want        Ref
		whole       string // the whole name, of what is pulled
		familiar    string
	}{
		{"official", "maven", Ref{"maven", "docker.io", "library/maven", "", ""}, "docker.io/library/maven:latest", "maven"},
		{"tag", "maven:3-eclipse-temurin-21", Ref{"maven", "docker.io", "library/maven", "3-eclipse-temurin-21", ""}, "docker.io/library/maven:3-eclipse-temurin-21", "maven"},
		{"somebody's", "group/app:1", Ref{"group/app", "docker.io", "group/app", "1", ""}, "docker.io/group/app:1", "group/app"},
		{"docker's old name", "index.docker.io/app", Ref{"index.docker.io/app", "docker.io", "library/app", "", ""}, "docker.io/library/app:latest", "app"},
		{"registry", "registry.example.com/a/b", Ref{"registry.example.com/a/b", "registry.example.com", "a/b", "", ""}, "registry.example.com/a/b:latest", "registry.example.com/a/b"},
		{"port", "registry:5000/a:1", Ref{"registry:5000/a", "registry:5000", "a", "1", ""}, "registry:5000/a:1", "registry:5000/a"},
		{"localhost", "localhost/a", Ref{"localhost/a", "localhost", "a", "", ""}, "localhost/a:latest", "localhost/a"},
		{"IPv6", "[::1]:5000/a", Ref{"[::1]:5000/a", "[::1]:5000", "a", "", ""}, "[::1]:5000/a:latest", "[::1]:5000/a"},
		{"digest", "a@sha256:" + sum, Ref{"a", "docker.io", "library/a", "", "sha256:" + sum}, "docker.io/library/a@sha256:" + sum, "a"},
		{"tag and digest", "a:1@sha256:" + sum, Ref{"a", "docker.io", "library/a", "1", "sha256:" + sum}, "docker.io/library/a@sha256:" + sum, "a"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := Parse(tc.image)
			if err != nil || got != tc.want || got.Familiar() != tc.familiar {
				t.Errorf("%+v, %q, %v; want %+v, %q", got, got.Familiar(), err, tc.want, tc.familiar)
			}
			if pulled, err := Pulled(tc.image); err != nil || pulled.String() != tc.whole {
				t.Errorf("pulled %q, %v; want %q", pulled, err, tc.whole)
			}
		})
	}
}

func TestNoReference(t *testing.T) {
	for _, image := range []string{"", " ", "A", "a b", "a:", "a:.1", "a@", "a@sha256:12", "a@md5:" + sum[:32], "/a", "a/", "a//b", "a..b", "-a", "a-", "a___b",
		sum, "http://a", "registry:port/a", "[::1/a", "$IMAGE", "ä", strings.Repeat("a", 300), "a:" + strings.Repeat("1", 129)} {
		if r, err := Parse(image); err == nil {
			t.Errorf("%q was taken for %+v", image, r)
		}
		if _, err := Pulled(image); err == nil {
			t.Errorf("%q would be pulled", image)
		}
	}
}

// TestAsDocker holds 200,000 names put together at random to what Docker's own library
// makes of them.
func TestAsDocker(t *testing.T) {
	pieces := strings.Fields("a b0 A Z9 0 1 . .. - -- _ __ ___ / // : :1 :5000 @ @sha256: @sha512: @SHA256: localhost docker.io index.docker.io library/ example.com [::1] [ ] latest ä $ " + sum + " " + sum + sum)
	pieces = append(pieces, " ", "\n", "@sha256:"+sum, ":latest", strings.Repeat("x", 120))
	seed := rand.Uint64()
	draw, taken := rand.New(rand.NewPCG(seed, 0)), 0
	for range 200_000 {
		var image strings.Builder
		for range 1 + draw.IntN(6) {
			image.WriteString(pieces[draw.IntN(len(pieces))])
		}
		if asDocker(t, image.String()) {
			taken++
		}
	}
	if taken < 10_000 || t.Failed() {
		t.Errorf("seed %d: %d names were references; want at least 10000", seed, taken)
	}
}

func FuzzAsDocker(f *testing.F) {
	f.Add("registry.example.com:5000/group/app:1.0@sha256:" + sum)
	f.Fuzz(func(t *testing.T, image string) { asDocker(t, image) })
}

// asDocker compares what is made of a name, and tells whether it is a reference.
func asDocker(t *testing.T, image string) bool {
	t.Helper()
	want, wantErr := reference.ParseNormalizedNamed(image)
	got, err := Parse(image)
	if (err == nil) != (wantErr == nil) {
		t.Errorf("%q: %+v, %v; Docker's: %v, %v", image, got, err, want, wantErr)
	}
	if err != nil || wantErr != nil {
		return false
	}
	parts := [...]string{got.String(), got.Name(), got.Familiar(), got.Domain, got.Path}
	if docker := [...]string{want.String(), want.Name(), reference.FamiliarName(want), reference.Domain(want), reference.Path(want)}; parts != docker {
		t.Errorf("%q: %q; Docker's: %q", image, parts, docker)
	}
	written, _ := reference.Parse(image)
	if named, ok := written.(reference.Named); !ok || named.Name() != got.Written {
		t.Errorf("%q: written %q; Docker's: %v", image, got.Written, written)
	}
	pulled, err := Pulled(image)
	if docker, dockerErr := reference.ParseDockerRef(image); err != nil || dockerErr != nil || pulled.String() != docker.String() {
		t.Errorf("%q: pulled %q, %v; Docker's: %q, %v", image, pulled, err, docker, dockerErr)
	}
	return true
}
