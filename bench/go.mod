module github.com/serin-dev/serin/bench

go 1.26.0

require github.com/serin-dev/serin v0.0.0

replace github.com/serin-dev/serin => ../
