// Push puts an image of one file into a registry, as kaniko and its like do inside a
// job: with the logins of config.json and without a daemon. It takes the image's
// reference and the file.
package main

import (
	"log"
	"os"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

func main() {
	log.SetFlags(0)
	content, err := os.ReadFile(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	image, err := crane.Image(map[string][]byte{"file": content})
	if err != nil {
		log.Fatal(err)
	}
	ref, err := name.ParseReference(os.Args[1], name.Insecure)
	if err != nil {
		log.Fatal(err)
	}
	if err := remote.Write(ref, image, remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
		log.Fatal(err)
	}
}
