package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// foreign are variables that begin like ours and are not: those of the tests, and those that Kubernetes sets in every container beside a
// Service whose name begins with walpost.
var foreign = regexp.MustCompile(`^WALPOST_(TEST_.*|(.*_)?(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?))$`)

// readEnvironment returns what variables of the form NAME=value set.
//
// An empty one sets nothing: that is how libpq and OpenTelemetry have it, and what a compose file leaves of a variable that is not there
// (WALPOST_KAFKA_CLIENT_ID: ${CLIENT_ID}). Only where empty says something, and nothing else would say it, it counts.
func readEnvironment(environ []string) (settings []setting, errs []error) {
	names := map[string]*key{}
	files := map[string]*key{}
	for i := range keys {
		names[keys[i].env] = &keys[i]
		if keys[i].secret {
			files[keys[i].env+envFileSuffix] = &keys[i]
		}
	}
	for _, v := range slices.Sorted(slices.Values(environ)) {
		name, value, _ := strings.Cut(v, "=")
		switch {
		case !strings.HasPrefix(name, "WALPOST_"):
		case value == "" && (files[name] != nil || names[name] != nil && !names[name].off):
		case names[name] != nil:
			settings = append(settings, setting{key: names[name], text: value, origin: name})
		case files[name] != nil:
			settings = append(settings, setting{key: files[name], text: value, file: true, origin: name})
		case foreign.MatchString(name):
		default:
			errs = append(errs, fmt.Errorf("environment: unknown variable %s%s", PrintableName(name), didYouMean(nearestVariable(name))))
		}
	}
	return settings, errs
}

func nearestVariable(name string) string {
	const prefix = "WALPOST_"
	var all []string
	for _, k := range keys {
		all = append(all, strings.TrimPrefix(k.env, prefix))
		if k.secret {
			all = append(all, strings.TrimPrefix(k.env, prefix)+envFileSuffix)
		}
	}
	if near := Nearest(strings.TrimPrefix(name, prefix), all); near != "" {
		return prefix + near
	}
	return ""
}
