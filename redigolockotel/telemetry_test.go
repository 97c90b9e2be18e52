package redigolockotel_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/locktest"
	"github.com/redigolock/redigolock/redigolockotel"
	"go.opentelemetry.io/otel/attribute"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

var update = flag.Bool("update", false, "write testdata/metrics.txt")

// A rig is a Telemetry, and what it exports.
type rig struct {
	*redigolockotel.Telemetry
	reader *sdk.ManualReader
	tracer *sdktrace.TracerProvider
	spans  *tracetest.SpanRecorder
}

func newRig(t *testing.T, class func(key string) string) rig {
	r := rig{reader: sdk.NewManualReader(), spans: tracetest.NewSpanRecorder()}
	r.tracer = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(r.spans))
	var err error
	r.Telemetry, err = redigolockotel.New(sdk.NewMeterProvider(sdk.WithReader(r.reader)), r.tracer, class)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// collect returns a line for each series, with its number, or of a histogram how many values it has.
func (r rig) collect(t *testing.T) (lines []string) {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := r.reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			add := func(set attribute.Set, n any) {
				lines = append(lines, fmt.Sprintf("%s [%s] {%s} %v", m.Name, m.Unit, set.Encoded(attribute.DefaultEncoder()), n))
			}
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					add(p.Attributes, p.Value)
				}
			case metricdata.Histogram[float64]:
				for _, p := range data.DataPoints {
					add(p.Attributes, p.Count)
				}
			default:
				t.Fatalf("%s is a %T", m.Name, data)
			}
		}
	}
	slices.Sort(lines)
	return lines
}

// A day in the life of locks: some are obtained, one is waited for, one is taken away, one is held for too long, one is not
// renewed in time, a reply is lost, and the server is down.
func (r rig) run(t *testing.T) {
	server := locktest.Start(t)
	host, other := server.Locker(), server.Locker()
	host.MaxHold = time.Minute
	r.Watch(host)
	r.Watch(other)
	hold := func(locks *redigolock.Locker, d time.Duration) error {
		ctx, span := r.tracer.Tracer("test").Start(t.Context(), "request")
		defer span.End()
		return locks.Do(ctx, "order:17", 10*time.Second, func(ctx context.Context, _ *redigolock.Lock) error {
			select {
			case <-ctx.Done():
			case <-time.After(d):
			}
			return nil
		})
	}
	done := make(chan error)
	go func() { done <- hold(host, 20*time.Second) }()
	time.Sleep(time.Second)
	if _, err := other.TryAcquire(t.Context(), "order:17", time.Second); !errors.Is(err, redigolock.ErrHeld) {
		t.Fatal(err)
	}
	go func() { done <- hold(other, 3*time.Second) }()
	time.Sleep(time.Second)
	if got := r.collect(t); !slices.Contains(got, "redigolock.held [] {} 1") || !slices.Contains(got, "redigolock.waiting [] {} 1") {
		t.Errorf("one holds, and one waits: %q", got)
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}

	time.AfterFunc(time.Second, func() { server.Lose("order:17") })
	if err := hold(host, time.Hour); !errors.Is(err, redigolock.ErrLost) {
		t.Errorf("taken away: %v", err)
	}
	if err := hold(host, time.Hour); !errors.Is(err, redigolock.ErrLost) {
		t.Errorf("held for too long: %v", err)
	}
	stop := server.Refuse("READONLY You can't write against a read only replica.", "extend")
	if err := hold(host, time.Hour); !errors.Is(err, redigolock.ErrLost) {
		t.Errorf("not renewed: %v", err)
	}
	stop()
	server.LoseReplies(1, "acquire")
	if err := hold(host, 0); err != nil {
		t.Errorf("a reply was lost: %v", err)
	}
	up := server.Down()
	for i, want := range []error{redigolock.ErrUnknown, redigolock.ErrUnavailable} { // the first on a connection that was cut
		if _, err := host.TryAcquire(t.Context(), "order:17", time.Second); !errors.Is(err, want) {
			t.Errorf("down, try %d: %v", i, err)
		}
	}
	up()
	server.Refuse("NOPERM this user has no permissions to run the 'set' command", "acquire")
	if _, err := host.TryAcquire(t.Context(), "order:17", time.Second); err == nil {
		t.Error("refused, and no error")
	}
}

func TestContentionAndLosses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.run(t)
		got := r.collect(t)
		for _, want := range []string{
			`redigolock.acquire.wait [s] {outcome=acquired} 6`,
			`redigolock.acquire.wait [s] {outcome=held} 1`,
			`redigolock.acquire.wait [s] {outcome=unavailable} 1`,
			`redigolock.acquire.wait [s] {outcome=unknown} 1`,
			`redigolock.acquire.wait [s] {outcome=failed} 1`,
			`redigolock.hold [s] {} 6`,
			`redigolock.lost [] {cause=expired} 1`,
			`redigolock.lost [] {cause=max_hold} 1`,
			`redigolock.lost [] {cause=taken} 1`,
			`redigolock.held [] {} 0`,
			`redigolock.waiting [] {} 0`,
		} {
			if !slices.Contains(got, want) {
				t.Errorf("no %s", want)
			}
		}
		// Whether the clean-up of the try that met a broken connection meets another depends on which goroutine goes first.
		if !slices.Contains(got, "redigolock.unknown [] {} 3") && !slices.Contains(got, "redigolock.unknown [] {} 4") {
			t.Error("neither three nor four unknown outcomes")
		}
		if t.Failed() {
			t.Log(strings.Join(got, "\n"))
		}
	})
}

// What dashboards and alerts are written against changes only with this file.
func TestNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(key string) string { class, _, _ := strings.Cut(key, ":"); return class })
		r.run(t)
		var names []string
		for _, line := range r.collect(t) {
			names = append(names, line[:strings.LastIndex(line, " ")])
		}
		got := strings.Join(names, "\n") + "\n"
		if *update {
			if err := os.WriteFile("testdata/metrics.txt", []byte(got), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile("testdata/metrics.txt")
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("the names are\n%s\nwant\n%s\nTo accept them: go test -run Names -update", got, want)
		}
	})
}

// The spans of a call are children of the caller's, and nothing in them shows a key.
func TestSpans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(string) string { return "order" })
		r.run(t)
		kinds := map[string]int{}
		for _, span := range r.spans.Ended() {
			var text strings.Builder
			fmt.Fprint(&text, span.Attributes(), span.Status())
			for _, e := range span.Events() {
				fmt.Fprint(&text, e.Name, e.Attributes)
			}
			if strings.Contains(text.String(), "17") {
				t.Errorf("%s shows a key: %s", span.Name(), &text)
			}
			if n := len(span.Events()); n > 3 {
				t.Errorf("%s has %d events", span.Name(), n)
			}
			for _, e := range span.Events() {
				// The clean-up of a try without an answer begins at once: it may fail before the span of its acquire ends, or after that.
				if span.Name() == "redigolock acquire" && valueOf(e.Attributes, "redigolock.verb") != "clean up" {
					kinds["acquire: "+e.Name+" "+valueOf(e.Attributes, "error.type")]++
				}
			}
			if span.Name() == "request" {
				for _, e := range span.Events() {
					kinds["request: "+e.Name+" "+valueOf(e.Attributes, "error.type")]++
				}
				continue
			}
			if got := valueOf(span.Attributes(), "redigolock.class"); got != "order" {
				t.Errorf("%s has the class %q", span.Name(), got)
			}
			if d := span.EndTime().Sub(span.StartTime()); d < 0 || d > 2*time.Minute {
				t.Errorf("%s took %v", span.Name(), d)
			}
			name := span.Name() + " " + valueOf(span.Attributes(), "redigolock.outcome") + valueOf(span.Attributes(), "error.type")
			if r.parentOf(span) == "request" {
				name += " in request"
			}
			kinds[name]++
		}
		for want, n := range map[string]int{
			"redigolock acquire acquired in request": 6,
			"redigolock acquire held":                1,
			"redigolock acquire unknownunknown":      1,
			"redigolock acquire failedNOPERM":        1,
			"redigolock hold  in request":            5, // of two that were lost, the key was there still
			"redigolock hold not_held in request":    1,
			"acquire: redigolock unknown unknown":    3,
			"acquire: redigolock failed unavailable": 1,
			"request: redigolock failed not_held":    1, // the release
			"request: redigolock lost lost":          3,
		} {
			if kinds[want] != n {
				t.Errorf("%d of %s, want %d", kinds[want], want, n)
			}
		}
		if t.Failed() {
			t.Log(kinds)
		}
	})
}

func (r rig) parentOf(span sdktrace.ReadOnlySpan) string {
	for _, other := range r.spans.Ended() {
		if other.SpanContext().SpanID() == span.Parent().SpanID() && other.SpanContext().TraceID() == span.SpanContext().TraceID() {
			return other.Name()
		}
	}
	return ""
}

func valueOf(list []attribute.KeyValue, key attribute.Key) string {
	for _, x := range list {
		if x.Key == key {
			return x.Value.AsString()
		}
	}
	return ""
}

// The Observer that was there before goes on being told, and what its Waiting returned goes on.
func TestWatchKeepsTheObserver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type id struct{}
		server := locktest.Start(t)
		locks := server.Locker()
		var told []string
		tell := func(ctx context.Context, what string) {
			told = append(told, fmt.Sprint(what, ctx.Value(id{})))
		}
		locks.Observer = &redigolock.Observer{
			Waiting:   func(ctx context.Context, _, _ string) context.Context { return context.WithValue(ctx, id{}, "1") },
			Acquired:  func(ctx context.Context, _ *redigolock.Lock, _ time.Duration) { tell(ctx, "acquired") },
			GaveUp:    func(ctx context.Context, _ string, _ time.Duration, _ error) { tell(ctx, "gave up") },
			Contended: func(ctx context.Context, _ string, _ *redigolock.HeldError) { tell(ctx, "contended") },
			Failed:    func(ctx context.Context, _, _ string, _ error) { tell(ctx, "failed") },
			Extended:  func(ctx context.Context, _ *redigolock.Lock, _ time.Duration) { tell(ctx, "extended") },
			Lost:      func(ctx context.Context, _ *redigolock.Lock, _ error) { tell(ctx, "lost") },
			Released:  func(ctx context.Context, _ *redigolock.Lock, _ time.Duration, _ error) { tell(ctx, "released") },
			Unknown:   func(ctx context.Context, _, _ string, _ error) { tell(ctx, "unknown") },
		}
		newRig(t, nil).Watch(locks)
		k, err := locks.TryAcquire(t.Context(), "a", time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := locks.TryAcquire(t.Context(), "a", time.Second); !errors.Is(err, redigolock.ErrHeld) {
			t.Fatal(err)
		}
		ctx := context.WithValue(t.Context(), id{}, "2")
		if err := k.Extend(ctx, time.Second); err != nil {
			t.Fatal(err)
		}
		server.LoseReplies(2, "extend")
		if err := k.Extend(ctx, time.Second); !errors.Is(err, redigolock.ErrUnknown) {
			t.Fatal(err)
		}
		server.Lose("a")
		<-k.KeepAlive(ctx).Done()
		if err := k.Release(ctx); !errors.Is(err, redigolock.ErrNotHeld) {
			t.Fatal(err)
		}
		want := "acquired1 contended1 gave up1 extended2 unknown2 unknown2 failed2 lost2 failed2 released2"
		if got := strings.Join(told, " "); got != want {
			t.Errorf("told %s, want %s", got, want)
		}
	})
}
