package main

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// newRegistry returns the registry of the process, with the metrics of the process itself. The parts register their own.
func newRegistry(b build) (*prometheus.Registry, error) {
	registry := prometheus.NewRegistry()
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "walpost_build_info",
		Help:        "What was built, in the labels; the value is always 1.",
		ConstLabels: prometheus.Labels{"version": b.version, "goversion": b.goVersion},
	})
	info.Set(1)
	return registry, errors.Join(
		registry.Register(info),
		registry.Register(collectors.NewGoCollector()),
		registry.Register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})),
	)
}
