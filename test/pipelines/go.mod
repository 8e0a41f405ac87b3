module github.com/serin-dev/serin/test/pipelines

go 1.26.0

require (
	github.com/google/go-cmp v0.7.0
	github.com/google/go-containerregistry v0.22.1
	github.com/serin-dev/serin v0.0.0-00010101000000-000000000000
	go.yaml.in/yaml/v3 v3.0.6
)

replace github.com/serin-dev/serin => ../..
