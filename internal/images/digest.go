package images

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// digest computes a sha256 as images name their parts by.
type digest struct{ hash.Hash }

func newDigest() digest { return digest{sha256.New()} }

func (d digest) hash() v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(d.Sum(nil))}
}

func hashOf(b []byte) v1.Hash {
	d := newDigest()
	_, _ = d.Write(b) // a hash takes everything
	return d.hash()
}
