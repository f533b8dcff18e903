package stages_test

import (
	"testing"

	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

// BenchmarkPrepare is a job's prepare against a local ECI that starts groups at
// once: the driver's own share, polls that come too late included.
func BenchmarkPrepare(b *testing.B) {
	w := newWorld(b, ecitest.Options{})
	id := 1000
	for b.Loop() {
		id++
		v := w.another(b, id)
		if out, err := v.prepare(b); err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
		b.StopTimer()
		if err := v.cleanup(b); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
