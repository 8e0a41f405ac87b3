package rollout

import (
	"fmt"
	"time"
	_ "time/tzdata" // time zones are the same on every machine that has none of its own

	"github.com/robfig/cron/v3"
)

// longestFreeze bounds how far back a window's start is looked for.
const longestFreeze = 31 * 24 * time.Hour

// Window is a time in which no step goes forward: it opens at each time of the
// cron expression, in its time zone, for Duration.
type Window struct {
	Cron     string        `json:"cron"`
	Duration time.Duration `json:"duration"`
	TimeZone string        `json:"timeZone"`
}

// Validate says which field is wrong, and what with it.
func (w Window) Validate() (field string, err error) {
	if _, err := cron.ParseStandard(w.Cron); err != nil {
		return "cron", fmt.Errorf("%q is no time table: %w", w.Cron, err)
	}
	if _, err := time.LoadLocation(w.TimeZone); err != nil {
		return "timeZone", fmt.Errorf("%q is not known: %w", w.TimeZone, err)
	}
	if w.Duration <= 0 || w.Duration > longestFreeze {
		return "duration", fmt.Errorf("%s must be more than 0s and at most %s", w.Duration, longestFreeze)
	}
	return "", nil
}

// Contains reports whether t lies in the window and until when. A window that is
// not valid contains every time: it asked for caution.
func (w Window) Contains(t time.Time) (bool, time.Time) {
	schedule, err := cron.ParseStandard(w.Cron)
	zone, zerr := time.LoadLocation(w.TimeZone)
	if err != nil || zerr != nil {
		return true, t.Add(time.Hour)
	}
	local := t.In(zone)
	opened := schedule.Next(local.Add(-w.Duration))
	if opened.IsZero() || opened.After(local) {
		return false, time.Time{}
	}
	return true, opened.Add(w.Duration)
}
