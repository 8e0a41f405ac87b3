// Command generate writes generated safe-driver rows as CSV: id, target, 57 columns.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"

	safedriver "github.com/serin-dev/serin/examples/safe-driver"
)

func main() {
	rows := flag.Int("rows", 60000, "how many")
	seed := flag.Uint64("seed", 1, "seed of the generator")
	flag.Parse()
	if err := run(*rows, *seed); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run(rows int, seed uint64) error {
	w := bufio.NewWriter(os.Stdout)
	fmt.Fprintln(w, "id,target,"+strings.Join(safedriver.Columns[:], ","))
	g, row := safedriver.NewGenerator(seed), []float64(nil)
	for id := range rows {
		var claim bool
		row, claim = g.Labelled(row[:0])
		target := 0
		if claim {
			target = 1
		}
		line := strconv.AppendInt(nil, int64(id), 10)
		line = strconv.AppendInt(append(line, ','), int64(target), 10)
		for _, v := range row {
			line = strconv.AppendFloat(append(line, ','), v, 'g', -1, 64)
		}
		if _, err := w.Write(append(line, '\n')); err != nil {
			return err
		}
	}
	return w.Flush()
}
