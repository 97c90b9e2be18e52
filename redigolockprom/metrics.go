// Package redigolockprom exports metrics of locks to Prometheus.
//
//	metrics := redigolockprom.New(nil)
//	metrics.Watch(locks) // before the Locker is used
//	prometheus.MustRegister(metrics)
//
// The metrics, all durations in seconds:
//
//	redigolock_acquire_wait_seconds{outcome}  how long calls that were to obtain a lock took
//	redigolock_hold_seconds                   how long after its acquire a lock was released
//	redigolock_renew_margin_seconds           what was left of a lock's validity when it was extended
//	redigolock_lost_total{cause}              locks that were lost while KeepAlive or Do kept them
//	redigolock_unknown_total                  commands that were sent and not answered
//	redigolock_failed_total                   commands that were refused, or could not be sent
//	redigolock_held                           locks that are held now
//	redigolock_waiting                        calls that wait for a lock now
//
// outcome is acquired, held (somebody else had the lock, until the context ended or Retry gave up), unavailable, unknown,
// canceled (the context ended without it being known whether the lock was held) or failed. cause is taken (the server said that
// the key does not carry the lock's token), expired (no renewal succeeded in time) or max_hold.
//
// No key is a label: keys are many, and each would be a series for ever. Where some kinds of locks are to be told apart, New gets
// a func that returns the class of a key, one of few; all metrics but held and waiting then have the label class.
package redigolockprom

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redigolock/redigolock"
)

// Metrics are a [prometheus.Collector] over any number of Lockers and Quorums. They are safe for concurrent use.
type Metrics struct {
	class            func(key string) string
	wait             *prometheus.HistogramVec
	hold, margin     *prometheus.HistogramVec
	lost             *prometheus.CounterVec
	unknown, failed  *prometheus.CounterVec
	held, waitingNow *prometheus.Desc

	mu    sync.Mutex // protects stats
	stats []func() redigolock.Stats
}

var (
	_ prometheus.Collector = (*Metrics)(nil)

	// waits and holds last from less than a round trip to minutes; a margin is at most a ttl.
	buckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}
)

// New returns metrics of nothing. class returns what the label class is to be for a key; nil: there is no such label.
func New(class func(key string) string) *Metrics {
	var labels []string
	if class != nil {
		labels = []string{"class"}
	}
	histogram := func(name, help string, more ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(
			prometheus.HistogramOpts{Name: "redigolock_" + name, Help: help, Buckets: buckets}, append(more, labels...))
	}
	counter := func(name, help string, more ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "redigolock_" + name, Help: help}, append(more, labels...))
	}
	m := &Metrics{
		class:   class,
		wait:    histogram("acquire_wait_seconds", "How long calls that were to obtain a lock took.", "outcome"),
		hold:    histogram("hold_seconds", "How long after its acquire a lock was released."),
		margin:  histogram("renew_margin_seconds", "What was left of a lock's validity when it was extended."),
		lost:    counter("lost_total", "Locks that were lost while they were kept alive.", "cause"),
		unknown: counter("unknown_total", "Commands that were sent and not answered."),
		failed:  counter("failed_total", "Commands that were refused, or could not be sent."),

		held:       prometheus.NewDesc("redigolock_held", "Locks that are held now.", nil, nil),
		waitingNow: prometheus.NewDesc("redigolock_waiting", "Calls that wait for a lock now.", nil, nil),
	}
	if class == nil { // an alert on the increase of a counter needs it to be there before
		for _, cause := range []string{"taken", "expired", "max_hold"} {
			m.lost.WithLabelValues(cause)
		}
		m.unknown.WithLabelValues()
		m.failed.WithLabelValues()
	}
	return m
}

// Watch has the metrics include a Locker's. It sets locks.Observer to one that tells the Observer that was there, too, and must
// be called before the Locker is used. The metrics keep the Locker from being collected as garbage.
func (m *Metrics) Watch(locks *redigolock.Locker) {
	m.watch(&locks.Observer, locks.Stats)
}

// WatchQuorum is Watch for a Quorum. unknown and failed count at each of its servers.
func (m *Metrics) WatchQuorum(q *redigolock.Quorum) {
	m.watch(&q.Observer, q.Stats)
}

func (m *Metrics) watch(observer **redigolock.Observer, stats func() redigolock.Stats) {
	*observer = m.observer(*observer)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stats = append(m.stats, stats)
}

// observer counts what it is told, and tells next.
func (m *Metrics) observer(next *redigolock.Observer) *redigolock.Observer {
	var o redigolock.Observer
	if next != nil {
		o = *next
	}
	then := o
	o.Acquired = func(ctx context.Context, k *redigolock.Lock, waited time.Duration) {
		m.wait.WithLabelValues(m.labels(k.Key(), "acquired")...).Observe(waited.Seconds())
		if then.Acquired != nil {
			then.Acquired(ctx, k, waited)
		}
	}
	o.GaveUp = func(ctx context.Context, key string, waited time.Duration, err error) {
		m.wait.WithLabelValues(m.labels(key, outcome(err))...).Observe(waited.Seconds())
		if then.GaveUp != nil {
			then.GaveUp(ctx, key, waited, err)
		}
	}
	o.Released = func(ctx context.Context, k *redigolock.Lock, held time.Duration, err error) {
		m.hold.WithLabelValues(m.labels(k.Key())...).Observe(held.Seconds())
		if then.Released != nil {
			then.Released(ctx, k, held, err)
		}
	}
	o.Extended = func(ctx context.Context, k *redigolock.Lock, margin time.Duration) {
		m.margin.WithLabelValues(m.labels(k.Key())...).Observe(margin.Seconds())
		if then.Extended != nil {
			then.Extended(ctx, k, margin)
		}
	}
	o.Lost = func(ctx context.Context, k *redigolock.Lock, cause error) {
		m.lost.WithLabelValues(m.labels(k.Key(), lossOf(k, cause))...).Inc()
		if then.Lost != nil {
			then.Lost(ctx, k, cause)
		}
	}
	o.Unknown = func(ctx context.Context, key, verb string, err error) {
		m.unknown.WithLabelValues(m.labels(key)...).Inc()
		if then.Unknown != nil {
			then.Unknown(ctx, key, verb, err)
		}
	}
	o.Failed = func(ctx context.Context, key, verb string, err error) {
		m.failed.WithLabelValues(m.labels(key)...).Inc()
		if then.Failed != nil {
			then.Failed(ctx, key, verb, err)
		}
	}
	return &o
}

// labels appends the class of a key, if there are classes.
func (m *Metrics) labels(key string, values ...string) []string {
	if m.class == nil {
		return values
	}
	return append(values, m.class(key))
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

// Describe implements [prometheus.Collector].
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, v := range m.vectors() {
		v.Describe(ch)
	}
	ch <- m.held
	ch <- m.waitingNow
}

// Collect implements [prometheus.Collector]. held and waiting are counted now, so that they do not drift.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	for _, v := range m.vectors() {
		v.Collect(ch)
	}
	m.mu.Lock()
	stats := m.stats
	m.mu.Unlock()
	var held, waiting int
	for _, f := range stats {
		s := f()
		held += s.Held
		waiting += s.Waiting
	}
	ch <- prometheus.MustNewConstMetric(m.held, prometheus.GaugeValue, float64(held))
	ch <- prometheus.MustNewConstMetric(m.waitingNow, prometheus.GaugeValue, float64(waiting))
}

func (m *Metrics) vectors() []prometheus.Collector {
	return []prometheus.Collector{m.wait, m.hold, m.margin, m.lost, m.unknown, m.failed}
}
