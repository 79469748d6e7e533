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

// statusView is a relay's state, and where that is known from.
type statusView struct {
	report.Report
	text     []byte            // the same as JSON, with all that a newer relay may say
	postgres *slotadmin.Status // what Postgres knows; nil: the relay told
	hidden   bool              // the relay told that it is well or not, and no more
}

// queryStatus asks the relay, and Postgres if there is none. The error says why nothing can be told.
func queryStatus(ctx context.Context, cfg *config.Config, client *adminclient.Client) (*statusView, error) {
	silence := "admin.listen is empty, so no relay of this configuration can be asked"
	v := &statusView{}
	if client != nil {
		var err error
		if v.Report, v.text, err = client.Report(ctx); err == nil {
			return v, nil
		}
		silence = fmt.Sprintf("no relay answers at %s: %v", client.Host(), err)
		if v.hidden = errors.Is(err, adminclient.ErrHidden); v.hidden {
			silence = fmt.Sprintf("the relay at %s tells no more: %v", client.Host(), err)
		}
	}
	o, err := slotadmin.ReadStatus(ctx, postgres.Config{ConnString: string(cfg.Postgres.URL), Slot: cfg.Postgres.Slot, Publication: cfg.Postgres.Publication})
	if err != nil && !v.hidden {
		return nil, fmt.Errorf("%s; and Postgres does not tell of the slot: %w", silence, err)
	}
	v.Slot.Name = cfg.Postgres.Slot
	v.BlockedTopics = []report.BlockedTopic{}
	if err == nil {
		v.postgres = &o
		v.Slot.Set(o.Slot)
	}
	if !v.hidden {
		v.Role, v.Reason = "none", silence
		if o.PID != 0 {
			v.Reason += "; one runs elsewhere: " + o.Holder()
		}
	}
	v.text, err = json.Marshal(v.Report)
	v.text = append(v.text, '\n')
	return v, err
}

// unknownStatus is what there is to say when neither a relay nor Postgres answers.
func unknownStatus(cfg *config.Config, why error) *statusView {
	v := &statusView{Report: report.Report{Role: "none", Reason: why.Error(), Slot: report.Slot{Name: cfg.Postgres.Slot}, BlockedTopics: []report.BlockedTopic{}}}
	v.text, _ = json.Marshal(v.Report) // as of every report, which has nothing that JSON has not
	v.text = append(v.text, '\n')
	return v
}

// exit is the exit code, as an error.
func (v *statusView) exit() error {
	switch {
	case v.Slot.WALStatus == "lost":
		return &exitError{exitDifferent, nil}
	case v.Ready:
		return nil
	case v.Role == "none" && v.postgres != nil && v.postgres.PID != 0:
		return &exitError{exitRuntime, nil} // how it is, only that one knows
	}
	return &exitError{exitDifferent, nil}
}
