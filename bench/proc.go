package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of CPU time in /proc. Linux shows hundredths of a second to
// user space, whatever unit the kernel uses itself.
const tick = 10 * time.Millisecond

// stat is the part of /proc/<pid>/stat that is used here.
type stat struct {
	name   string
	parent int
	own    time.Duration // user and system time of its own
	waited time.Duration // of its children that have ended and were waited for
}

func readStat(pid int) (stat, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	// "pid (name) state ppid …": the name may contain any characters.
	open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	fields := strings.Fields(string(text[end+1:]))
	if open < 0 || len(fields) < 15 {
		return stat{}, fmt.Errorf("/proc/%d/stat: %q", pid, text)
	}
	number := func(field int) time.Duration { // numbered as in proc(5)
		n, _ := strconv.ParseInt(fields[field-3], 10, 64)
		return time.Duration(n)
	}
	return stat{
		name:   string(text[open+1 : end]),
		parent: int(number(4)),
		own:    tick * (number(14) + number(15)),
		waited: tick * (number(16) + number(17)),
	}, nil
}

// cpuOf returns the CPU time that a process has used so far; 0 if it has ended.
func cpuOf(pid int) time.Duration {
	s, _ := readStat(pid)
	return s.own
}

// childNamed returns the process id of a child of this process; 0 if no child has the name.
func childNamed(name string) int {
	for pid, s := range processes() {
		if s.parent == os.Getpid() && s.name == name {
			return pid
		}
	}
	return 0
}

func processes() map[int]stat {
	all := make(map[int]stat)
	folders, _ := filepath.Glob("/proc/[0-9]*")
	for _, folder := range folders {
		pid, err := strconv.Atoi(filepath.Base(folder))
		if err != nil {
			continue
		}
		if s, err := readStat(pid); err == nil { // otherwise it has ended meanwhile
			all[pid] = s
		}
	}
	return all
}

// machine is how busy the machine was until now: in all, and by this process
// and its descendants.
type machine struct {
	at         time.Time
	busy, ours time.Duration
}

func look() machine {
	m := machine{at: time.Now(), busy: busy()}
	all := processes()
	for pid, s := range all {
		for up, next := pid, s; ; {
			if up == os.Getpid() {
				m.ours += s.own + s.waited
				break
			}
			parent, there := all[next.parent]
			if !there {
				break
			}
			up, next = next.parent, parent
		}
	}
	return m
}

// busy returns the CPU time of the whole machine, without idle time.
func busy() time.Duration {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(text), "\n")
	fields := strings.Fields(line) // cpu user nice system idle iowait irq softirq steal …
	var sum time.Duration
	for i, field := range fields {
		if n, err := strconv.ParseInt(field, 10, 64); err == nil && i >= 1 && i <= 8 && i != 4 && i != 5 {
			sum += tick * time.Duration(n)
		}
	}
	return sum
}

// foreign returns how many cores other processes kept busy between two
// moments. Above about 0.3, rates are lower bounds.
func foreign(from, to machine) float64 {
	window := to.at.Sub(from.at)
	return max(0, ((to.busy-from.busy)-(to.ours-from.ours)).Seconds()/window.Seconds())
}

func cpuModel() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown model"
}
