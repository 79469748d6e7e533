// Package diagnosis has the form in which the checks of Postgres and of Kafka report their findings.
package diagnosis

import "fmt"

// Level is how bad a finding is.
type Level string

// The levels of findings.
const (
	OK      Level = "ok"
	Warning Level = "warning" // it works, but would make a possible failure worse than necessary
	Failed  Level = "failed"  // it does not work
)

// Finding is the outcome of one check.
type Finding struct {
	Target string `json:"target"` // what was checked: postgres, kafka or relay
	Check  string `json:"check"`  // a name for scripts, which never changes: publication
	Level  Level  `json:"level"`
	Found  string `json:"found"` // what was found, on one line, with the name of the object
	Cure   string `json:"cure"`  // the SQL, ACL or setting that helps; "" where none is needed
}

// List collects the findings of one target. The zero value with a Target is empty and ready to use.
type List struct {
	Target   string
	Findings []Finding
}

// Add appends a finding.
func (l *List) Add(check string, level Level, found, cure string) {
	l.Findings = append(l.Findings, Finding{Target: l.Target, Check: check, Level: level, Found: found, Cure: cure})
}

// OK appends a finding that needs no cure.
func (l *List) OK(check, format string, args ...any) {
	l.Add(check, OK, fmt.Sprintf(format, args...), "")
}

// AnyFailed reports whether a check failed.
func AnyFailed(findings []Finding) bool {
	for _, f := range findings {
		if f.Level == Failed {
			return true
		}
	}
	return false
}
