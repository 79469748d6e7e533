package deadletter

import (
	"fmt"
	"strings"
)

// Filter chooses dead letters. All of its parts have to fit.
type Filter struct {
	IDs    []int64  // of the rows; nil: any
	Event  string   // the event's id; "": any
	Topic  string   // "": any
	Key    *string  // nil: any
	Reason string   // "": any
	States []string // nil: those that are parked
}

// Parked are the states of events that wait.
var Parked = []string{"head", "waiting", "retrying"}

// States are all states.
var States = append(append([]string(nil), Parked...), "released", "discarded")

// where returns the condition of a slot's dead letters that fit, and its arguments.
func (f Filter) where(slot string) (string, []any) {
	states := f.States
	if states == nil {
		states = Parked
	}
	conditions, args := []string{"slot = $1", "state = any($2)"}, []any{slot, states}
	add := func(condition string, arg any) {
		args = append(args, arg)
		conditions = append(conditions, fmt.Sprintf(condition, len(args)))
	}
	if f.IDs != nil {
		add("id = any($%d)", f.IDs)
	}
	if f.Event != "" {
		add("event_id = $%d", f.Event)
	}
	if f.Topic != "" {
		add("topic = $%d", f.Topic)
	}
	if f.Key != nil {
		add("key = $%d", []byte(*f.Key))
	}
	if f.Reason != "" {
		add("reason = $%d", f.Reason)
	}
	return strings.Join(conditions, " and "), args
}
