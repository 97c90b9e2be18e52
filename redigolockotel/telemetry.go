// Package redigolockotel exports metrics and spans of locks by OpenTelemetry.
//
//	telemetry, err := redigolockotel.New(nil, nil, nil) // the global providers; no classes
//	telemetry.Watch(locks)                              // before the Locker is used
//
// The metrics have the names that package redigolockprom has once they are exported to Prometheus: redigolock.acquire.wait is
// redigolock_acquire_wait_seconds there.
//
//	redigolock.acquire.wait   s       outcome  how long calls that were to obtain a lock took
//	redigolock.hold           s                how long after its acquire a lock was released
//	redigolock.renew.margin   s                what was left of a lock's validity when it was extended
//	redigolock.lost                   cause    locks that were lost while KeepAlive or Do kept them
//	redigolock.unknown                         commands that were sent and not answered
//	redigolock.failed                          commands that were refused, or could not be sent
//	redigolock.held                            locks that are held now
//	redigolock.waiting                         calls that wait for a lock now
//
// outcome is acquired, held (somebody else had the lock, until the context ended or Retry gave up), unavailable, unknown,
// canceled (the context ended without it being known whether the lock was held) or failed. cause is taken (the server said that
// the key does not carry the lock's token), expired (no renewal succeeded in time) or max_hold.
//
// There are two spans, both children of the span in the caller's context: "redigolock acquire", with an event for each command
// that failed or was not answered, and "redigolock hold", from the acquire to the end of the release. That a lock was lost is an
// event of the span in the context that KeepAlive or Do was given. Tries that find the lock held, and renewals that fail but are tried
// again, are no events: in a long wait they would push all others out of a span.
//
// No key is an attribute: keys are many, and may tell of people. Where some kinds of locks are to be told apart, New gets a func
// that returns the class of a key, one of few; it is the attribute redigolock.class of spans, and class of all metrics but held and
// waiting.
package redigolockotel

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"
	"github.com/redigolock/redigolock"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

const scope = "github.com/redigolock/redigolock/redigolockotel"

// A Telemetry observes any number of Lockers and Quorums. It is safe for concurrent use.
type Telemetry struct {
	class                 func(key string) string
	tracer                trace.Tracer
	wait, hold, margin    metric.Float64Histogram
	lost, unknown, failed metric.Int64Counter

	mu    sync.Mutex // protects stats
	stats []func() redigolock.Stats
}

// buckets are for waits and holds, from less than a round trip to minutes, and for margins, at most a ttl.
var buckets = metric.WithExplicitBucketBoundaries(.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300)

// New returns what observes nothing yet. A provider that is nil is the global one. class returns the class of a key; nil: there are
// no classes. An error is that of the provider that refused to make an instrument.
func New(meters metric.MeterProvider, tracers trace.TracerProvider, class func(key string) string) (*Telemetry, error) {
	if meters == nil {
		meters = otel.GetMeterProvider()
	}
	if tracers == nil {
		tracers = otel.GetTracerProvider()
	}
	meter := meters.Meter(scope)
	t := &Telemetry{class: class, tracer: tracers.Tracer(scope)}
	var failed error
	histogram := func(name, text string) metric.Float64Histogram {
		h, err := meter.Float64Histogram("redigolock."+name, metric.WithUnit("s"), metric.WithDescription(text), buckets)
		failed = errors.Join(failed, err)
		return h
	}
	counter := func(name, text string) metric.Int64Counter {
		c, err := meter.Int64Counter("redigolock."+name, metric.WithDescription(text))
		failed = errors.Join(failed, err)
		return c
	}
	gauge := func(name, text string, count func(redigolock.Stats) int) {
		_, err := meter.Int64ObservableUpDownCounter("redigolock."+name, metric.WithDescription(text),
			metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error {
				o.Observe(t.sum(count))
				return nil
			}))
		failed = errors.Join(failed, err)
	}
	t.wait = histogram("acquire.wait", "How long calls that were to obtain a lock took.")
	t.hold = histogram("hold", "How long after its acquire a lock was released.")
	t.margin = histogram("renew.margin", "What was left of a lock's validity when it was extended.")
	t.lost = counter("lost", "Locks that were lost while they were kept alive.")
	t.unknown = counter("unknown", "Commands that were sent and not answered.")
	t.failed = counter("failed", "Commands that were refused, or could not be sent.")
	gauge("held", "Locks that are held now.", func(s redigolock.Stats) int { return s.Held })
	gauge("waiting", "Calls that wait for a lock now.", func(s redigolock.Stats) int { return s.Waiting })
	if failed != nil {
		return nil, failed
	}
	if class == nil { // an alert on the increase of a counter needs it to be there before
		for _, cause := range []string{"taken", "expired", "max_hold"} {
			t.lost.Add(context.Background(), 0, t.labels("", attribute.String("cause", cause)))
		}
		t.unknown.Add(context.Background(), 0)
		t.failed.Add(context.Background(), 0)
	}
	return t, nil
}

// Watch has a Locker observed. It sets locks.Observer to one that tells the Observer that was there, too, and must be called before
// the Locker is used. The Telemetry keeps the Locker from being collected as garbage.
func (t *Telemetry) Watch(locks *redigolock.Locker) {
	t.watch(&locks.Observer, locks.Stats)
}

// WatchQuorum is Watch for a Quorum. unknown and failed count at each of its servers.
func (t *Telemetry) WatchQuorum(q *redigolock.Quorum) {
	t.watch(&q.Observer, q.Stats)
}

func (t *Telemetry) watch(observer **redigolock.Observer, stats func() redigolock.Stats) {
	*observer = t.observer(*observer)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stats = append(t.stats, stats)
}

// sum counts now, so that the counts do not drift.
func (t *Telemetry) sum(count func(redigolock.Stats) int) (n int64) {
	t.mu.Lock()
	stats := t.stats
	t.mu.Unlock()
	for _, f := range stats {
		n += int64(count(f()))
	}
	return n
}

// observer records what it is told, and tells next.
func (t *Telemetry) observer(next *redigolock.Observer) *redigolock.Observer {
	var o redigolock.Observer
	if next != nil {
		o = *next
	}
	then := o
	o.Waiting = func(ctx context.Context, key, verb string) context.Context {
		if then.Waiting != nil {
			if own := then.Waiting(ctx, key, verb); own != nil {
				ctx = own
			}
		}
		ctx, _ = t.tracer.Start(ctx, "redigolock acquire", t.attributes(key, attribute.String("redigolock.verb", verb)))
		return ctx
	}
	o.Acquired = func(ctx context.Context, k *redigolock.Lock, waited time.Duration) {
		t.obtained(ctx, k.Key(), waited, "acquired", nil)
		if then.Acquired != nil {
			then.Acquired(ctx, k, waited)
		}
	}
	o.GaveUp = func(ctx context.Context, key string, waited time.Duration, err error) {
		t.obtained(ctx, key, waited, outcome(err), err)
		if then.GaveUp != nil {
			then.GaveUp(ctx, key, waited, err)
		}
	}
	o.Released = func(ctx context.Context, k *redigolock.Lock, held time.Duration, err error) {
		t.hold.Record(ctx, held.Seconds(), t.labels(k.Key()))
		now := time.Now()
		_, span := t.tracer.Start(ctx, "redigolock hold", trace.WithTimestamp(now.Add(-held)), t.attributes(k.Key()))
		fail(span, err)
		span.End(trace.WithTimestamp(now))
		if then.Released != nil {
			then.Released(ctx, k, held, err)
		}
	}
	o.Extended = func(ctx context.Context, k *redigolock.Lock, margin time.Duration) {
		t.margin.Record(ctx, margin.Seconds(), t.labels(k.Key()))
		if then.Extended != nil {
			then.Extended(ctx, k, margin)
		}
	}
	o.Lost = func(ctx context.Context, k *redigolock.Lock, cause error) {
		t.lost.Add(ctx, 1, t.labels(k.Key(), attribute.String("cause", lossOf(k, cause))))
		t.event(ctx, "redigolock lost", k.Key(), cause)
		if then.Lost != nil {
			then.Lost(ctx, k, cause)
		}
	}
	o.Unknown = func(ctx context.Context, key, verb string, err error) {
		t.unknown.Add(ctx, 1, t.labels(key))
		t.failure(ctx, "redigolock unknown", key, verb, err)
		if then.Unknown != nil {
			then.Unknown(ctx, key, verb, err)
		}
	}
	o.Failed = func(ctx context.Context, key, verb string, err error) {
		t.failed.Add(ctx, 1, t.labels(key))
		t.failure(ctx, "redigolock failed", key, verb, err)
		if then.Failed != nil {
			then.Failed(ctx, key, verb, err)
		}
	}
	return &o
}

// obtained ends the span that Waiting began, which is ctx's.
func (t *Telemetry) obtained(ctx context.Context, key string, waited time.Duration, outcome string, err error) {
	t.wait.Record(ctx, waited.Seconds(), t.labels(key, attribute.String("outcome", outcome)))
	span := trace.SpanFromContext(ctx)
	span.SetAttributes(attribute.String("redigolock.outcome", outcome))
	if outcome != "held" { // which is what a TryAcquire is to find out
		fail(span, err)
	}
	span.End()
}

// failure adds an event to the span of an acquire, or of the caller of another verb.
func (t *Telemetry) failure(ctx context.Context, name, key, verb string, err error) {
	if verb != "extend" { // a renewal may fail many times
		t.event(ctx, name, key, err, attribute.String("redigolock.verb", verb))
	}
}

// event adds an event to the caller's span.
func (t *Telemetry) event(ctx context.Context, name, key string, err error, more ...attribute.KeyValue) {
	span := trace.SpanFromContext(ctx)
	if span.IsRecording() {
		span.AddEvent(name, t.attributes(key, append(more, attribute.String("error.type", kind(err)))...))
	}
}

// fail marks a span as failed. The text of an error shows a key, which is no attribute either.
func fail(span trace.Span, err error) {
	if err != nil {
		span.SetAttributes(attribute.String("error.type", kind(err)))
		span.SetStatus(codes.Error, "")
	}
}

// labels are those of a metric.
func (t *Telemetry) labels(key string, values ...attribute.KeyValue) metric.MeasurementOption {
	if t.class != nil {
		values = append(values, attribute.String("class", t.class(key)))
	}
	return metric.WithAttributeSet(attribute.NewSet(values...))
}

// attributes are those of a span, or of an event of one.
func (t *Telemetry) attributes(key string, values ...attribute.KeyValue) trace.SpanStartEventOption {
	if t.class != nil {
		values = append(values, attribute.String("redigolock.class", t.class(key)))
	}
	return trace.WithAttributes(values...)
}

// outcome is how a call ended that has obtained no lock.
func outcome(err error) string {
	switch {
	case errors.Is(err, redigolock.ErrUnknown):
		return "unknown"
	case errors.Is(err, redigolock.ErrHeld):
		return "held"
	case errors.Is(err, redigolock.ErrUnavailable):
		return "unavailable"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return "canceled"
	}
	return "failed"
}

// kind is what an error is, without its text.
func kind(err error) string {
	if errors.Is(err, redigolock.ErrLost) {
		return "lost"
	}
	if errors.Is(err, redigolock.ErrNotHeld) {
		return "not_held"
	}
	if reply := redis.Error(""); errors.As(err, &reply) && outcome(err) == "failed" {
		word, _, _ := strings.Cut(string(reply), " ") // READONLY, NOPERM
		return word
	}
	return outcome(err)
}

// lossOf is why a lock was lost. Its validity is over, by either clock, at most 25 ms after a loss by time is told.
func lossOf(k *redigolock.Lock, cause error) string {
	now, end := time.Now(), k.Deadline()
	switch {
	case min(end.Sub(now), end.Round(0).Sub(now.Round(0))) <= 25*time.Millisecond:
		return "expired"
	case errors.Is(cause, redigolock.ErrNotHeld), errors.Is(cause, redigolock.ErrConflict):
		return "taken"
	}
	return "max_hold"
}
