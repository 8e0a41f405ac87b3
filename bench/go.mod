module github.com/serin-dev/serin/bench

go 1.26.0

require github.com/serin-dev/serin v0.0.0

require github.com/dmitryikh/leaves v0.0.0-20230708180554-25d19a787328 // indirect

replace github.com/serin-dev/serin => ../
