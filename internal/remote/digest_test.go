package remote

import (
	"bytes"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"
)

// TestDigest holds both kinds against the tools that a group takes them with.
func TestDigest(t *testing.T) {
	random := make([]byte, 3<<20+5)
	rand.NewChaCha8([32]byte{}).Read(random) //nolint:errcheck // never fails
	tests := []struct {
		name string
		data []byte
	}{
		{"nothing", nil},
		{"one byte", []byte("a")},
		{"zeros", make([]byte, 1000)},
		{"POSIX's example", []byte("123456789")},
		{"3 MiB", random},
	}
	for _, tt := range tests {
		for kind, tool := range map[string]string{sumSHA256: "sha256sum", sumCRC: "cksum"} {
			t.Run(tt.name+" by "+tool, func(t *testing.T) {
				cmd := exec.Command(tool)
				cmd.Stdin = bytes.NewReader(tt.data)
				out, err := cmd.Output()
				if err != nil {
					t.Fatal(err)
				}
				want, _, _ := strings.Cut(string(out), " ")
				for _, piece := range []int{1 << 30, 7, 64 << 10} {
					d := newDigest(kind)
					for rest := tt.data; len(rest) > 0; {
						n := min(piece, len(rest))
						d.Write(rest[:n]) //nolint:errcheck // never fails
						rest = rest[n:]
					}
					if got := d.digest(); got != want {
						t.Errorf("in pieces of %d: %s, want %s", piece, got, want)
					}
				}
			})
		}
	}
	if newDigest("md5") != nil {
		t.Error("a kind that no group has is taken")
	}
}

func BenchmarkDigest(b *testing.B) {
	for _, kind := range []string{sumSHA256, sumCRC} {
		b.Run(kind, func(b *testing.B) {
			d, p := newDigest(kind), make([]byte, 1<<20)
			b.SetBytes(int64(len(p)))
			for b.Loop() {
				d.Write(p) //nolint:errcheck // never fails
			}
		})
	}
}
