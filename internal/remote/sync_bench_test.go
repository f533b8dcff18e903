package remote

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// lags takes in lines that hold the time at which they were printed, in nanoseconds.
type lags struct {
	rest bytes.Buffer
	all  []time.Duration
}

func (l *lags) Write(p []byte) (int, error) {
	now := time.Now()
	l.rest.Write(p)
	for {
		line, err := l.rest.ReadString('\n')
		if err != nil {
			l.rest.WriteString(line)
			return len(p), nil
		}
		at, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
		if err != nil {
			return 0, err
		}
		l.all = append(l.all, now.Sub(time.Unix(0, at)))
	}
}

// BenchmarkSyncLag is how long output takes without a WebSocket, by the times of the
// cloud and calls that take hardly any.
func BenchmarkSyncLag(b *testing.B) {
	for _, seconds := range []int{5, 40} {
		b.Run(fmt.Sprintf("%d s of lines", seconds), func(b *testing.B) {
			for b.Loop() {
				g := newGroup(b, nil)
				g.answered = whole
				l := &lags{}
				session := g.session(b, l)
				session.Settings = DefaultSettings()
				session.Open = g.sync(session.Settings).Open
				script := fmt.Sprintf("i=0; while [ $i -lt %d ]; do date +%%s%%N; sleep 0.1; i=$((i+1)); done", seconds*10)
				if _, err := session.Run(context.Background(), Job{Role: Build, Shell: "sh", Body: []byte(script)}); err != nil {
					b.Fatal(err)
				}
				slices.Sort(l.all)
				b.ReportMetric(float64(l.all[len(l.all)/2].Milliseconds()), "ms-p50")
				b.ReportMetric(float64(l.all[len(l.all)*99/100].Milliseconds()), "ms-p99")
				b.ReportMetric(float64(g.execs), "execs")
			}
		})
	}
}

// BenchmarkSyncLog is a large log without a WebSocket, each exec at its turn.
func BenchmarkSyncLog(b *testing.B) {
	const size = 8 << 20
	b.SetBytes(size)
	for b.Loop() {
		g := newGroup(b, nil)
		g.answered = whole
		session := g.session(b, io.Discard)
		session.Settings = DefaultSettings()
		s := g.sync(session.Settings)
		turn := time.NewTicker(time.Minute / 400)
		s.Turn = func(ctx context.Context, urgent bool) error { <-turn.C; return g.turn(ctx, urgent) }
		session.Open = s.Open
		result, err := session.Run(context.Background(), Job{Role: Build, Shell: "sh", Body: fmt.Appendf(nil, "head -c %d /dev/zero", size)})
		if err != nil || result.Length != size {
			b.Fatalf("%d bytes, %v", result.Length, err)
		}
		b.ReportMetric(float64(g.execs), "execs")
	}
}
