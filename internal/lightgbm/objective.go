package lightgbm

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// link is the function from the raw score to the answer: ConvertOutput of LightGBM's objective.
type link uint8

const (
	linkIdentity link = iota
	linkSquare        // regression on sqrt(label): sign(x) x²
	linkExp
	linkSigmoid // 1 / (1 + exp(-sigmoid x))
	linkLog1pExp
	linkSoftmax
)

type objective struct {
	name    string
	link    link
	sigmoid float64
}

// links lists the objectives that LightGBM writes into a model, old names included.
var links = map[string]link{
	"regression": linkIdentity, "regression_l1": linkIdentity, "huber": linkIdentity, "fair": linkIdentity,
	"quantile": linkIdentity, "mape": linkIdentity,
	"poisson": linkExp, "gamma": linkExp, "tweedie": linkExp,
	"binary": linkSigmoid, "multiclassova": linkSigmoid,
	"cross_entropy": linkSigmoid, "xentropy": linkSigmoid,
	"cross_entropy_lambda": linkLog1pExp, "xentlambda": linkLog1pExp,
	"multiclass": linkSoftmax,
	"lambdarank": linkIdentity, "rank_xendcg": linkIdentity,
}

const knownObjectives = "regression, regression_l1, huber, fair, quantile, mape, poisson, gamma, tweedie, binary, " +
	"cross_entropy, cross_entropy_lambda, multiclass, multiclassova, lambdarank, rank_xendcg, custom"

// parseObjective reads the value of the header's objective line, such as "binary sigmoid:1".
func parseObjective(text string, classes int) (objective, error) {
	words := strings.Fields(text)
	if len(words) == 0 || words[0] == "custom" {
		return objective{}, nil // LightGBM leaves scores of custom objectives raw
	}
	o := objective{name: words[0], sigmoid: 1}
	var ok bool
	if o.link, ok = links[o.name]; !ok {
		return objective{}, fmt.Errorf("objective %q is not known; known are %s", o.name, knownObjectives)
	}
	for _, word := range words[1:] {
		if err := o.setParameter(word, classes); err != nil {
			return objective{}, fmt.Errorf("reading objective %q: %w", text, err)
		}
	}
	multi := o.name == "multiclass" || o.name == "multiclassova"
	if !multi && classes != 1 {
		return objective{}, fmt.Errorf("objective %q has num_class=%d, want 1", o.name, classes)
	}
	return o, nil
}

// setParameter takes the parameters that change an answer. The others, such as alpha of quantile, shaped the training.
func (o *objective) setParameter(word string, classes int) error {
	name, value, _ := strings.Cut(word, ":")
	switch {
	case name == "sqrt" && o.link == linkIdentity:
		o.link = linkSquare
	case name == "sigmoid" && o.link == linkSigmoid:
		sigmoid, err := strconv.ParseFloat(value, 64)
		if err != nil || !(sigmoid > 0) || math.IsInf(sigmoid, 0) {
			return fmt.Errorf("sigmoid is %q, want a finite number greater than 0", value)
		}
		o.sigmoid = sigmoid
	case name == "num_class":
		if n, err := strconv.Atoi(value); err != nil || n != classes {
			return fmt.Errorf("num_class is %q here and %d in the header", value, classes)
		}
	}
	return nil
}

func (o *objective) transform(out []float64) {
	switch o.link {
	case linkSquare:
		for i, x := range out {
			out[i] = math.Copysign(x*x, x)
		}
	case linkExp:
		for i, x := range out {
			out[i] = math.Exp(x)
		}
	case linkSigmoid:
		for i, x := range out {
			out[i] = 1 / (1 + math.Exp(-o.sigmoid*x))
		}
	case linkLog1pExp:
		for i, x := range out {
			out[i] = log1pExp(x)
		}
	case linkSoftmax:
		softmax(out)
	}
}

// log1pExp is log(1 + exp(x)), also where exp(x) would overflow.
func log1pExp(x float64) float64 {
	if x > 700 {
		return x
	}
	return math.Log1p(math.Exp(x))
}

func softmax(x []float64) {
	largest := x[0]
	for _, v := range x[1:] {
		largest = max(largest, v)
	}
	total := 0.0
	for i, v := range x {
		x[i] = math.Exp(v - largest)
		total += x[i]
	}
	for i := range x {
		x[i] /= total
	}
}
