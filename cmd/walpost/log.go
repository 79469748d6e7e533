package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"

	"walpost/cmd/walpost/internal/config"
)

// logger returns the logger. Without --log-format it writes text to a terminal and JSON to anything else. Its level can be changed later.
func (a *app) logger(cfg *config.Config) (*slog.Logger, *slog.LevelVar, error) {
	level := new(slog.LevelVar)
	_ = level.UnmarshalText([]byte(cfg.Log.Level)) // it knows all valid levels
	options := &slog.HandlerOptions{Level: level}
	asText := &slog.HandlerOptions{Level: level, ReplaceAttr: durationAsText}
	format := a.flags.logFormat
	if format == "" && terminal(a.stderr) {
		format = "text"
	}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(a.stderr, options)), level, nil
	case "json", "":
		return slog.New(slog.NewJSONHandler(a.stderr, asText)), level, nil
	}
	return nil, nil, &exitError{exitUsage, fmt.Errorf("--log-format %q is neither text nor json", format)}
}

// durationAsText writes durations as the text handler does, such as 1.5s. The JSON handler would write nanoseconds, and no unit.
func durationAsText(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
