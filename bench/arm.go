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
}

// arms returns the arms that take turns: this binary with each variant, and the other binary with its defaults.
func (r *rig) arms() ([]arm, error) {
	var all []arm
	for _, name := range r.variants {
		env, err := variant(name)
		if err != nil {
			return nil, err
		}
		all = append(all, arm{name, r.walpost, env})
	}
	if r.other != "" {
		all = append(all, arm{"other", r.other, nil})
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

// rotated returns the order of the arms in a round: each is first, second and so on in turn.
func rotated(all []arm, round int) []int {
	order := make([]int, len(all))
	for i := range order {
		order[i] = (i + round) % len(all)
	}
	return order
}
