package main

import (
	"context"
	"time"

	"walpost/chaos/kafkaproxy"
)

// answerFaults are what a broker may answer a produce request, a fault for each code: in its place, or after it has appended, where its
// own answer may mean that too.
func answerFaults() []fault {
	all := []fault{
		{"Kafka: the connection dies after the append", 60, brief, func(ctx context.Context, r *round) error {
			return r.used(ctx)(r.toKafka.Swallow(1 + r.r.IntN(3)))
		}},
	}
	for _, code := range kafkaproxy.Retriable {
		all = append(all, fault{"Kafka answers " + code.Name, 4, brief, func(ctx context.Context, r *round) error {
			return r.used(ctx)(r.toKafka.Answer(code.Number, 1+r.r.IntN(3)))
		}})
		if code.Ambiguous { // after the others no broker has appended
			all = append(all, fault{"Kafka appends, and answers " + code.Name, 8, brief, func(ctx context.Context, r *round) error {
				return r.used(ctx)(r.toKafka.Mask(code.Number, 1+r.r.IntN(3)))
			}})
		}
	}
	for _, api := range kafkaproxy.Besides {
		for i, code := range api.Codes {
			traits := trait(0)
			if i == 0 {
				traits = brief
			}
			all = append(all, fault{"Kafka answers " + api.Name + " with " + code.Name, 2, traits, func(ctx context.Context, r *round) error {
				return r.deny(ctx, api, code.Number)
			}})
		}
	}
	return all
}

// deny lets a relay that starts meet answers to what it asks then. What it does not ask again by itself it asks when connections are cut.
func (r *round) deny(ctx context.Context, api *kafkaproxy.API, code int16) error {
	if err := r.relay.stop(ctx); err != nil {
		return err
	}
	f, err := r.toKafka.Deny(api, code, 1+r.r.IntN(3))
	if err != nil {
		return err
	}
	defer f.Cancel()
	if err := r.relay.start(); err != nil {
		return err
	}
	for {
		select {
		case <-f.Done():
			return nil
		case <-ctx.Done():
			return f.Wait(ctx)
		case <-time.After(200 * time.Millisecond):
			if err := r.toKafka.Cut(); err != nil {
				return err
			}
		}
	}
}

// used waits until produce requests have met a fault of the proxy's.
func (r *round) used(ctx context.Context) func(*kafkaproxy.Fault, error) error {
	return func(f *kafkaproxy.Fault, err error) error {
		if err != nil {
			return err
		}
		return f.Wait(ctx)
	}
}
