package cli

import (
	"encoding/json"
	"fmt"
	"io"
)

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("writing JSON: %w", err)
	}
	return nil
}

// paint holds the colours, empty where the output is no screen.
type paint struct{ good, bad, warn, dim, bold, off string }

func paintFor(w io.Writer) paint {
	if !isTerminal(w) || envOr("NO_COLOR", "") != "" {
		return paint{}
	}
	return paint{good: "\x1b[32m", bad: "\x1b[31m", warn: "\x1b[33m", dim: "\x1b[2m", bold: "\x1b[1m", off: "\x1b[0m"}
}

func (p paint) outcome(o string) string {
	switch o {
	case "Pass", "Promoted", "Done", "Advance":
		return p.good + "✔" + p.off
	case "Fail", "Reverted", "Rejected", "Aborted", "Revert", "RolledBack":
		return p.bad + "✖" + p.off
	case "Current":
		return p.warn + "◌" + p.off
	case "NotJudgeable", "Waiting":
		return p.dim + "•" + p.off
	}
	return p.warn + "◷" + p.off
}

func printJSONLine(w io.Writer, v any) error {
	if err := json.NewEncoder(w).Encode(v); err != nil {
		return fmt.Errorf("writing JSON: %w", err)
	}
	return nil
}
