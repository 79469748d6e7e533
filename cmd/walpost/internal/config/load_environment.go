package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"walpost/internal/spelling"
)

// foreign matches variables that begin with WALPOST_ and are not ours: those of the tests, and those that Kubernetes sets in every
// container if there is a Service whose name begins with walpost.
var foreign = regexp.MustCompile(`^WALPOST_(TEST_.*|(.*_)?(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?))$`)

// readEnvironment returns the settings of variables in the form NAME=value.
//
// An empty variable sets nothing, as with libpq and OpenTelemetry. A compose file sets an empty variable where it refers to one that does
// not exist (WALPOST_KAFKA_CLIENT_ID: ${CLIENT_ID}). An empty variable counts only where it turns something off that cannot be turned off
// otherwise.
//
// An unknown variable is an error if it resembles one of ours. Any other is returned in ignored: pods have variables like WALPOST_IMAGE_TAG
// and WALPOST_KAFKA_IMAGE, and a relay must not fail because of them.
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
		case !strings.HasPrefix(name, envPrefix):
		case value == "" && (files[name] != nil || names[name] != nil && !names[name].off):
		case names[name] != nil:
			settings = append(settings, setting{key: names[name], text: value, origin: name})
		case files[name] != nil:
			settings = append(settings, setting{key: files[name], text: value, file: true, origin: name})
		case foreign.MatchString(name):
		default:
			if near := nearestVariable(name); near != "" {
				errs = append(errs, fmt.Errorf("environment: unknown variable %s%s", PrintableName(name), didYouMean(near)))
			} else {
				ignored = append(ignored, name)
			}
		}
	}
	return settings, errs, ignored
}

// nearestVariable returns the variable that an unknown one resembles; "" if it resembles none. Two names resemble each other if they differ
// in a few letters, if one is the beginning of the other, or if only the section is missing.
func nearestVariable(name string) string {
	name = envSpelling.Replace(strings.ToUpper(name))
	var all []string
	for _, k := range keys {
		all = append(all, k.env)
		if k.secret {
			all = append(all, k.env+envFileSuffix)
		}
	}
	if near := misspelt(name, all); near != "" {
		return near
	}
	if near := extended(name, all); near != "" {
		return near
	}
	for _, known := range all {
		if _, below, ok := strings.Cut(strings.TrimPrefix(known, envPrefix), "_"); ok && name == envPrefix+below {
			return known
		}
	}
	return ""
}

// misspelt returns the variable that name becomes by swapping two neighbouring letters, or by a few edits. The allowed number of edits
// depends on the length of the part after the section, not of the whole name: WALPOST_POSTGRES_HOST must not resemble
// WALPOST_POSTGRES_SLOT.
func misspelt(name string, all []string) string {
	for i := range len(name) - 1 {
		if swapped := name[:i] + name[i+1:i+2] + name[i:i+1] + name[i+2:]; slices.Contains(all, swapped) {
			return swapped
		}
	}
	own := strings.TrimPrefix(name, envPrefix)
	for _, s := range sections { // a nested section comes after the section around it
		if rest, ok := strings.CutPrefix(name, envName(s)+"_"); ok {
			own = rest
		}
	}
	edits := 1 + len(own)/4
	return spelling.Nearest(name, all, edits+1, func(name string) string { return name })
}

// extended returns the shortest variable that begins with name, or else the longest one that name begins with. The name of a section alone
// is the beginning of many variables and resembles none of them.
func extended(name string, all []string) (best string) {
	for _, known := range all {
		if strings.HasPrefix(known, name+"_") && (best == "" || len(known) < len(best)) {
			best = known
		}
	}
	if best != "" {
		if slices.ContainsFunc(sections, func(s string) bool { return envName(s) == name }) {
			return ""
		}
		return best
	}
	for _, known := range all {
		if strings.HasPrefix(name, known+"_") && len(known) > len(best) {
			best = known
		}
	}
	return best
}
