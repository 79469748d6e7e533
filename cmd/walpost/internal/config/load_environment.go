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
//
// A variable that is none of ours is an error where one of ours was meant. Else it is only returned: pods carry variables like
// WALPOST_IMAGE_TAG, and a relay must not fail because of them.
func readEnvironment(environ []string) (settings []setting, errs []error, ignored []string) {
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
			near := nearestVariable(name)
			if near == "" && !inSection(name) {
				ignored = append(ignored, name)
				continue
			}
			errs = append(errs, fmt.Errorf("environment: unknown variable %s%s", PrintableName(name), didYouMean(near)))
		}
	}
	return settings, errs, ignored
}

// inSection reports whether a variable is named as those of one of our sections are.
func inSection(name string) bool {
	for _, s := range sections {
		if strings.HasPrefix(name, envName(s)+"_") {
			return true
		}
	}
	return false
}

// nearestVariable returns the variable that was most likely meant by one that there is not: one of a similar name, or the one that has the
// section besides. "" is none.
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
	for _, known := range all {
		if strings.HasSuffix(known, "_"+strings.TrimPrefix(name, prefix)) {
			return prefix + known
		}
	}
	return ""
}
