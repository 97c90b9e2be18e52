package examples_test

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	exporter "go.opentelemetry.io/otel/exporters/prometheus"
	sdk "go.opentelemetry.io/otel/sdk/metric"

	"github.com/redigolock/redigolock/locktest"
	"github.com/redigolock/redigolock/redigolockotel"
	"github.com/redigolock/redigolock/redigolockprom"
)

// What redigolockotel exports by OpenTelemetry has, in Prometheus, the names and types of what redigolockprom does; and both may watch
// one Locker.
func TestBothModulesHaveTheSameNames(t *testing.T) {
	direct, exported := prometheus.NewRegistry(), prometheus.NewRegistry()
	metrics := redigolockprom.New(nil)
	direct.MustRegister(metrics)
	reader, err := exporter.New(exporter.WithRegisterer(exported))
	if err != nil {
		t.Fatal(err)
	}
	telemetry, err := redigolockotel.New(sdk.NewMeterProvider(sdk.WithReader(reader)), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	locks := locktest.Start(t).Locker()
	metrics.Watch(locks)
	telemetry.Watch(locks)

	k, err := locks.TryAcquire(t.Context(), "a", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Extend(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := k.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	one, other := names(t, direct), names(t, exported)
	if !maps.Equal(one, other) || len(one) != 8 {
		t.Errorf("redigolockprom has %v, and redigolockotel %v", one, other)
	}
}

func names(t *testing.T, g prometheus.Gatherer) map[string]string {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), "redigolock") {
			found[f.GetName()] = f.GetType().String()
		}
	}
	return found
}
