package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/breakwater-mail/breakwater/internal/ops/admin"
	"github.com/breakwater-mail/breakwater/internal/ops/alarm"
)

type alarmCmd struct {
	List alarmListCmd `cmd:"" help:"List the alarms that are up."`
	Test alarmTestCmd `cmd:"" help:"Send a test by webhook, program and syslog, and say what became of it."`
}

type alarmListCmd struct {
	where
	table
}

func (a *alarmListCmd) Help() string {
	return "Exit status 0 whether there are any or not.\n\nExamples:\n  breakwater alarm list\n  breakwater alarm list --json"
}

func (a *alarmListCmd) Run(c console) error {
	answer, err := a.askHost(c, admin.Request{Op: admin.AlarmList})
	if err != nil {
		return err
	}
	if answer.Alarm == nil {
		return errNoAnswer
	}
	up := answer.Alarm.Alarms
	if up == nil {
		up = []alarm.Alarm{}
	}
	rows := [][]string{}
	for _, r := range up {
		var facts []string
		for _, name := range slices.Sorted(maps.Keys(r.Facts)) {
			facts = append(facts, name+"="+r.Facts[name])
		}
		rows = append(rows, []string{stamp(r.Since), r.Severity.String(), printable(r.Key), printable(r.Text), printable(strings.Join(facts, " "))})
	}
	return a.print(c, up, "SINCE\tSEVERITY\tKEY\tTEXT\tFACTS", rows)
}

type alarmTestCmd struct {
	where
	table
}

func (a *alarmTestCmd) Help() string {
	return "The running host sends it, as it would send an alarm, once to each of alarm.webhook, alarm.exec and alarm.syslog of its configuration.\n\nExit status 1 if one did not take it, or if none is configured.\n\nExamples:\n  breakwater alarm test\n  breakwater alarm test --json"
}

func (a *alarmTestCmd) Run(c console) error {
	answer, err := a.askHost(c, admin.Request{Op: admin.AlarmTest})
	if err != nil {
		return err
	}
	if answer.Alarm == nil {
		return errNoAnswer
	}
	rows, failed := [][]string{}, 0
	tests := answer.Alarm.Tests
	if tests == nil {
		tests = []alarm.Test{}
	}
	for _, t := range tests {
		result := "taken"
		if t.Error != "" {
			failed++
			result = printable(t.Error)
		}
		rows = append(rows, []string{t.Sink, result})
	}
	if err := a.print(c, tests, "SINK\tRESULT", rows); err != nil {
		return err
	}
	switch {
	case len(tests) == 0:
		return errors.New("alarms go nowhere: set alarm.webhook, alarm.exec or alarm.syslog in the configuration")
	case failed > 0:
		return fmt.Errorf("%d of %d did not take it", failed, len(tests))
	}
	return nil
}
