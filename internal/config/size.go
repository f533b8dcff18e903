package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes.
type Size int64

// The sizes that configurations are written in.
const (
	MiB Size = 1 << 20
	GiB Size = 1 << 30
)

// units by suffix: powers of 1024 with or without the B of IEC, powers of 1000 as
// Kubernetes writes them and with the B of SI.
var units = [...]struct {
	suffix string
	bytes  float64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"Ki", 1 << 10}, {"Mi", 1 << 20}, {"Gi", 1 << 30}, {"Ti", 1 << 40},
	{"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12},
	{"k", 1e3}, {"M", 1e6}, {"G", 1e9}, {"T", 1e12},
}

// ParseSize reads a number with its unit: "4GiB", "512MiB", "1.5Gi" are powers of
// 1024; "4G" and "4GB" are powers of 1000. A bare number is refused, since it might be
// meant in bytes as well as in GiB. The error does not repeat the text.
func ParseSize(text string) (Size, error) {
	for _, u := range units {
		number, ok := strings.CutSuffix(text, u.suffix)
		if !ok {
			continue
		}
		if number == "" || strings.Trim(number, "0123456789.") != "" {
			break
		}
		n, err := strconv.ParseFloat(number, 64)
		if err != nil || n*u.bytes >= math.MaxInt64 {
			break
		}
		return Size(math.Round(n * u.bytes)), nil
	}
	if text != "" && strings.Trim(text, "0123456789.") == "" {
		return 0, errors.New(`has no unit; write for instance "4GiB"`)
	}
	return 0, errors.New(`is no size; write for instance "4GiB", "512MiB" or "4G"`)
}

// UnmarshalText reads what ParseSize reads; "" is 0.
func (s *Size) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*s = 0
		return nil
	}
	n, err := ParseSize(string(text))
	if err != nil {
		return err
	}
	*s = n
	return nil
}

// MarshalText writes what String does, so that a size reads back as itself.
func (s Size) MarshalText() ([]byte, error) {
	if s == 0 {
		return nil, nil
	}
	return []byte(s.String()), nil
}

// GiB is the size in GiB, the unit of ECI's Memory.
func (s Size) GiB() float64 { return float64(s) / float64(GiB) }

// String writes the size in the largest unit that leaves a whole number, and in KiB
// with a fraction where none does.
func (s Size) String() string {
	for _, u := range []struct {
		suffix string
		bytes  Size
	}{{"GiB", GiB}, {"MiB", MiB}, {"KiB", 1 << 10}} {
		if s%u.bytes == 0 {
			return fmt.Sprintf("%d%s", s/u.bytes, u.suffix)
		}
	}
	return strconv.FormatFloat(float64(s)/1024, 'f', -1, 64) + "KiB"
}
