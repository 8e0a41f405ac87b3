package v1alpha1

// The texts that stand for quantities. They are aliases: to a program they are
// strings, and internal/spec reads them; the markers are what the API server checks.
// It takes plain decimals only, where internal/spec also takes what Go reads as a
// number, such as 1e1%.

// Duration is a time such as 30s, 10m or 1h30m.
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=32
// +kubebuilder:validation:XValidation:rule=`self.matches('^(0|(([0-9]+([.][0-9]*)?|[.][0-9]+)(ns|us|µs|ms|s|m|h))+)$') && duration(self) <= duration('8784h')`,message="must be a duration from 0s to 8784h: write for example 30s, 10m or 24h"
type Duration = string

// PositiveDuration is a Duration of more than nothing.
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=32
// +kubebuilder:validation:XValidation:rule=`self.matches('^(([0-9]+([.][0-9]*)?|[.][0-9]+)(ns|us|µs|ms|s|m|h))+$') && duration(self) > duration('0s') && duration(self) <= duration('8784h')`,message="must be a duration of more than 0s, up to 8784h: write for example 30s, 10m or 24h"
type PositiveDuration = string

// Percent is a share of more than nothing and up to the whole, such as 0.1%.
// +kubebuilder:validation:MinLength=2
// +kubebuilder:validation:MaxLength=16
// +kubebuilder:validation:XValidation:rule=`self.matches('^([0-9]+([.][0-9]*)?|[.][0-9]+)%$') && double(self.replace('%', "")) > 0.0 && double(self.replace('%', "")) <= 100.0`,message="must be more than 0% and up to 100%: write for example 10%"
type Percent = string

// StepPercent is a Percent in whole hundredths.
// +kubebuilder:validation:MinLength=2
// +kubebuilder:validation:MaxLength=16
// +kubebuilder:validation:XValidation:rule=`self.matches('^([0-9]+([.][0-9]?[0-9]?0*)?|[.][0-9][0-9]?0*)%$') && double(self.replace('%', "")) > 0.0 && double(self.replace('%', "")) <= 100.0`,message="must be from 0.01% to 100%, in hundredths of a percent: write for example 10%"
type StepPercent = string

// Ratio is how many times as much, such as 1.25x.
// +kubebuilder:validation:MinLength=2
// +kubebuilder:validation:MaxLength=16
// +kubebuilder:validation:XValidation:rule=`self.matches('^[0-9]+([.][0-9]*)?x$') && double(self.replace('x', "")) >= 1.0 && double(self.replace('x', "")) <= 1000.0`,message="must be between 1x and 1000x: write for example 1.25x"
type Ratio = string

// Points are percentage points, such as 0.1pp.
// +kubebuilder:validation:MinLength=3
// +kubebuilder:validation:MaxLength=16
// +kubebuilder:validation:XValidation:rule=`self.matches('^([0-9]+([.][0-9]*)?|[.][0-9]+)pp$') && double(self.replace('pp', "")) < 100.0`,message="must be between 0pp and 100pp (percentage points): write for example 0.1pp"
type Points = string

// Quantile is a quantile such as p99 or p99.9.
// +kubebuilder:validation:MinLength=2
// +kubebuilder:validation:MaxLength=16
// +kubebuilder:validation:XValidation:rule=`self.matches('^p[0-9]+([.][0-9]*)?$') && double(self.replace('p', "")) >= 1.0 && double(self.replace('p', "")) <= 99.99`,message="must be between p1 and p99.99: write for example p99"
type Quantile = string

// Number is a score, within ±2^24.
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=32
// +kubebuilder:validation:XValidation:rule=`self.matches('^[-+]?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][-+]?[0-9]+)?$') && double(self) >= -16777216.0 && double(self) <= 16777216.0`,message="must be a number within 16777216 of 0: write for example \"0.05\""
type Number = string

// Size is a number of bytes such as 512Ki or 4Mi.
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=16
// +kubebuilder:validation:XValidation:rule=`self.matches('^[0-9]+(Ki|Mi|Gi)?$') && quantity(self).isGreaterThan(quantity('0')) && quantity(self).compareTo(quantity('1Gi')) <= 0`,message="must be a size from 1 to 1Gi: write for example 4Mi"
type Size = string

// URLPath is the path of a URL.
// +kubebuilder:validation:MaxLength=1024
// +kubebuilder:validation:XValidation:rule=`self.matches('^/[\\pL\\pM\\pN\\pP\\pS]*$')`,message="must begin with / and have no space in it: write for example /score"
type URLPath = string

// Word is a text without spaces.
// +kubebuilder:validation:MaxLength=253
// +kubebuilder:validation:XValidation:rule=`self.matches('^[\\pL\\pM\\pN\\pP\\pS]*$')`,message="must have no space, and no character that cannot be shown, in it"
type Word = string

// Token is the name of a header or a cookie (RFC 9110).
// +kubebuilder:validation:MaxLength=128
// +kubebuilder:validation:XValidation:rule="self.matches('^[-!#$%&\\'*+.^_\\x60|~0-9A-Za-z]*$')",message="must be a name of letters, digits and -: write for example x-api-version"
type Token = string
