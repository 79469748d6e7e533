package main

import (
	"fmt"
	"strconv"
	"strings"
)

// arm is a binary with some settings, which a latency measurement compares with others.
type arm struct {
	name string
	file string
	env  []string // in addition to the database, slot, topic and broker

	parked int // keys of which an event is parked
}

// arms returns the arms that take turns: this binary with each variant, and the other binary with its defaults. With -parked, the first arm
// is the first variant with parked keys, because the tables compare the first one with all others.
func (r *rig) arms() ([]arm, error) {
	var all []arm
	for _, name := range r.variants {
		env, err := variant(name)
		if err != nil {
			return nil, err
		}
		if r.parked > 0 && len(all) == 0 {
			all = append(all, arm{name: parkedName(name, r.parked), file: r.walpost, env: env, parked: r.parked})
		}
		all = append(all, arm{name: name, file: r.walpost, env: env})
	}
	if r.other != "" {
		all = append(all, arm{name: "other", file: r.other})
	}
	return all, nil
}

// variant returns the environment of a variant: "default", "lingerN" for linger.ms=N, or properties as -X takes them, joined by "+".
func variant(name string) (env []string, err error) {
	if name == "default" {
		return nil, nil
	}
	if ms, ok := strings.CutPrefix(name, "linger"); ok {
		if _, err := strconv.Atoi(ms); err == nil {
			name = "linger.ms=" + ms
		}
	}
	for property := range strings.SplitSeq(name, "+") {
		key, value, ok := strings.Cut(property, "=")
		if !ok {
			return nil, fmt.Errorf("variant %q: want default, lingerN or properties such as linger.ms=5+compression.type=none", name)
		}
		env = append(env, "WALPOST_KAFKA_"+strings.ToUpper(strings.ReplaceAll(key, ".", "_"))+"="+value)
	}
	return env, nil
}

// parkedName names what is measured while keys are parked.
func parkedName(name string, keys int) string { return fmt.Sprintf("%s, %d keys parked", name, keys) }

// rotated returns the order of the arms in a round: each is first, second and so on in turn.
func rotated[T any](all []T, round int) []int {
	order := make([]int, len(all))
	for i := range order {
		order[i] = (i + round) % len(all)
	}
	return order
}
