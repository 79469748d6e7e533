package main

import "testing"

func TestShowLength(t *testing.T) {
	for text, want := range map[string]float64{"": 30, "0": 0, "1": 1, "20": 20} {
		if got, err := showLength(text); err != nil || got.Seconds() != want {
			t.Errorf("showLength(%q) = %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"-5", "soon", "2.5", "100000"} {
		if _, err := showLength(text); err == nil {
			t.Errorf("showLength(%q): no error", text)
		}
	}
}
