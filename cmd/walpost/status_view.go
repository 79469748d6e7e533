package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"walpost/cmd/walpost/internal/adminclient"
	"walpost/cmd/walpost/internal/config"
	"walpost/cmd/walpost/internal/report"
	"walpost/relay/postgres"
	"walpost/relay/slotadmin"
)

// statusView is a relay's state, and whether it comes from the relay or from Postgres.
type statusView struct {
	report.Report
	text     []byte            // the same as JSON, including fields that only a newer relay has
	postgres *slotadmin.Status // what Postgres knows; nil: the relay has answered
	hidden   bool              // the relay has only shown whether it is ready
}

// queryStatus asks the relay, and Postgres if no relay answers. Unless anyRelay, a relay with another slot than the configuration's does not
// count. The error says why the state is unknown.
func queryStatus(ctx context.Context, cfg *config.Config, client *adminclient.Client, anyRelay bool) (*statusView, error) {
	silence := "admin.listen is empty, so there is not an address to ask a relay at"
	v := &statusView{}
	if client != nil {
		var err error
		if v.Report, v.text, err = client.Report(ctx); err == nil && (anyRelay || v.Slot.Name == cfg.Postgres.Slot) {
			return v, nil
		}
		if err == nil {
			err = fmt.Errorf("the relay there uses slot %s, and this configuration names slot %s: if several relays run on one machine, give each its own admin.listen", v.Slot.Name, cfg.Postgres.Slot)
			v.Report = report.Report{}
		}
		silence = fmt.Sprintf("no relay answers at %s: %v", client.Host(), err)
		if v.hidden = errors.Is(err, adminclient.ErrHidden); v.hidden {
			silence = fmt.Sprintf("the relay at %s shows no more: %v", client.Host(), err)
		}
	}
	o, err := slotadmin.ReadStatus(ctx, postgres.Config{ConnString: string(cfg.Postgres.URL), Slot: cfg.Postgres.Slot, Publication: cfg.Postgres.Publication})
	if err != nil && !v.hidden {
		return nil, fmt.Errorf("%s; and the slot's state cannot be read from Postgres: %w", silence, err)
	}
	v.Slot.Name = cfg.Postgres.Slot
	v.BlockedTopics, v.ParkedTopics, v.Alarms = []report.BlockedTopic{}, []report.ParkedTopic{}, []report.Alarm{}
	if err == nil {
		v.postgres = &o
		v.Slot.Set(o.Slot)
		v.SetParked(o.Parked)
	}
	if !v.hidden {
		v.Role, v.Reason = "none", silence
		if o.PID != 0 {
			v.Reason += "; a relay runs elsewhere: " + o.Holder()
		}
	}
	v.text, err = json.Marshal(v.Report)
	v.text = append(v.text, '\n')
	return v, err
}

// unknownStatus returns the view for a state that is unknown, because neither a relay nor Postgres answers.
func unknownStatus(cfg *config.Config, why error) *statusView {
	v := &statusView{Report: report.Report{Role: "none", Reason: why.Error(), Slot: report.Slot{Name: cfg.Postgres.Slot}, BlockedTopics: []report.BlockedTopic{}, ParkedTopics: []report.ParkedTopic{}, Alarms: []report.Alarm{}}}
	v.text, _ = json.Marshal(v.Report) // no error: every field of a report has a form in JSON
	v.text = append(v.text, '\n')
	return v
}

// exit returns the exit code, as an error.
func (v *statusView) exit() error {
	switch {
	case v.Slot.WALStatus == "lost":
		return &exitError{exitDifferent, nil}
	case v.Ready:
		return nil
	case v.Role == "none" && v.postgres != nil && v.postgres.PID != 0:
		return &exitError{exitRuntime, nil} // a relay runs elsewhere, and only it knows whether it is well
	}
	return &exitError{exitDifferent, nil}
}
