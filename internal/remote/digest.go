package remote

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"
	"math/bits"
)

// The kinds of digests that eci-remote may take; its record up says which.
// docs/architecture.md says why there are two.
const (
	sumSHA256 = "sha256" // sha256sum: 64 hexadecimal digits
	sumCRC    = "crc"    // cksum: POSIX's CRC-32, a decimal number
)

// digest is a hash whose result is what the tools in the group print.
type digest interface {
	io.Writer
	digest() string
}

// newDigest is a digest of a kind, nil where the kind is none of the above.
func newDigest(kind string) digest {
	switch kind {
	case sumSHA256:
		return sha256Digest{sha256.New()}
	case sumCRC:
		return &crcDigest{crc: ^uint32(0)}
	}
	return nil
}

type sha256Digest struct{ io.Writer }

func (d sha256Digest) digest() string {
	return hex.EncodeToString(d.Writer.(interface{ Sum([]byte) []byte }).Sum(nil))
}

// crcDigest is the CRC of POSIX's cksum. It has the polynomial of crc32.IEEE, takes the bits
// of each byte from the highest one on, and at the end the number of bytes, lowest byte
// first. With the bits of each byte and of the result in reverse order it is crc32.IEEE
// itself, for which processors have an instruction.
type crcDigest struct {
	crc    uint32
	length uint64
	turned [8 << 10]byte
}

func (d *crcDigest) Write(p []byte) (int, error) {
	d.length += uint64(len(p))
	for rest := p; len(rest) > 0; {
		n := turn(d.turned[:], rest)
		d.crc = crc32.Update(d.crc, crc32.IEEETable, d.turned[:n])
		rest = rest[n:]
	}
	return len(p), nil
}

func (d *crcDigest) digest() string {
	crc := d.crc
	for n := d.length; n > 0; n >>= 8 {
		crc = crc32.Update(crc, crc32.IEEETable, []byte{bits.Reverse8(byte(n))})
	}
	return fmt.Sprint(bits.Reverse32(crc))
}

// turn copies bytes with the bits of each in reverse order, and returns how many fitted. It
// is most of the digest's cost; with 32 bytes a round it takes two thirds of the time that
// it takes with 8.
func turn(dst, src []byte) int {
	n := min(len(dst), len(src))
	dst, src = dst[:n], src[:n]
	for len(src) >= 32 && len(dst) >= 32 {
		to, from := (*[32]byte)(dst), (*[32]byte)(src)
		turn8(to[0:8], from[0:8])
		turn8(to[8:16], from[8:16])
		turn8(to[16:24], from[16:24])
		turn8(to[24:32], from[24:32])
		dst, src = dst[32:], src[32:]
	}
	for i, b := range src {
		dst[i] = bits.Reverse8(b)
	}
	return n
}

// turn8 reverses the bits of each of eight bytes.
func turn8(dst, src []byte) {
	x := binary.NativeEndian.Uint64(src)
	binary.NativeEndian.PutUint64(dst, bits.ReverseBytes64(bits.Reverse64(x)))
}
