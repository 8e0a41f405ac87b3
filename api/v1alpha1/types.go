package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// APIVersion and Kind of the document.
const (
	APIVersion = "serin.dev/v1alpha1"
	Kind       = "ScoringEndpoint"
)

// ScoringEndpoint is the one address that clients call, and the version that is
// wanted behind it.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:subresource:scale:specpath=.spec.scaling.replicas,statuspath=.status.replicas,selectorpath=.status.selector
// +kubebuilder:resource:shortName=sep,categories={serin,all}
// +kubebuilder:printcolumn:name="Stable",type=string,JSONPath=`.status.stable.version`
// +kubebuilder:printcolumn:name="Candidate",type=string,JSONPath=`.status.candidate.version`
// +kubebuilder:printcolumn:name="Step",type=string,JSONPath=`.status.step`
// +kubebuilder:printcolumn:name="Weight",type=string,JSONPath=`.status.weight`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.reason`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 50 && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="metadata.name: use up to 50 lower-case letters, digits and -, for example safe-driver: its revisions' names come from it"
type ScoringEndpoint struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	// Spec is the wish.
	Spec ScoringEndpointSpec `json:"spec"`
	// Status is what is.
	Status ScoringEndpointStatus `json:"status,omitzero"`
}

// ScoringEndpointList is a list of endpoints.
// +kubebuilder:object:root=true
type ScoringEndpointList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ScoringEndpoint `json:"items"`
}

// ScoringEndpointSpec is the wish. Defaults and rules are those of internal/spec,
// where the API server can check them: one table of documents tests both. A rule
// asks has() of a field with a default, because the default {} of an object is
// checked before those of its fields are filled in.
// +kubebuilder:validation:XValidation:rule=`!has(self.judge.labels) || !self.judge.labels.required || duration(self.judge.labels.maturity) < duration(self.rollout.maxDuration)`,fieldPath=".judge.labels.required",message="labels come later than the rollout lasts: make labels.maturity shorter than rollout.maxDuration, or take required out"
type ScoringEndpointSpec struct {
	// Scorer is the version wanted in production: a change in here, and only here, starts a rollout.
	Scorer Scorer `json:"scorer"`
	// Adopt takes over a Deployment that runs already as the first version (Kubernetes).
	Adopt *Adopt `json:"adopt,omitempty"`
	// Scaling of each revision; a change never starts a rollout.
	// +kubebuilder:default={}
	Scaling Scaling `json:"scaling,omitzero"`
	// Contract says what requests and answers look like.
	// +kubebuilder:default={}
	Contract Contract `json:"contract,omitzero"`
	// Traffic says how requests are routed.
	// +kubebuilder:default={}
	Traffic Traffic `json:"traffic,omitzero"`
	// Rollout is the plan. To change it takes the verb configure.
	// +kubebuilder:default={}
	Rollout Rollout `json:"rollout,omitzero"`
	// Judge is the policy. To change it takes the verb configure.
	// +kubebuilder:default={}
	Judge Judge `json:"judge,omitzero"`
	// Notify names receivers of events.
	// +kubebuilder:validation:MaxItems=10
	// +listType=atomic
	Notify []Notify `json:"notify,omitempty"`
}

// Adopt names the Deployment that becomes the first version, as it runs: its pods
// are neither changed nor restarted. spec.scorer describes the same program.
type Adopt struct {
	// Deployment in the endpoint's namespace.
	// +kubebuilder:validation:MinLength=1
	Deployment ObjectName `json:"deployment"`
	// Afterwards says what becomes of it once another version is in production and keepOld is over.
	// +kubebuilder:validation:Enum=Keep;ScaleToZero;Delete
	// +kubebuilder:default=Keep
	Afterwards string `json:"afterwards,omitempty"`
}

// ObjectName is the name of a Kubernetes object.
// +kubebuilder:validation:MaxLength=253
// +kubebuilder:validation:XValidation:rule=`self == "" || self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')`,message="is no name of an object: use lower-case letters, digits, - and ."
type ObjectName = string

// Scorer is a program that answers scoring requests over HTTP.
// +kubebuilder:validation:XValidation:rule=`has(self.image) && self.image != ""`,fieldPath=".image",message="is missing: in a cluster the scorer is an image: write image: REGISTRY/NAME@sha256:DIGEST"
type Scorer struct {
	// Version is shown to people; default: the short digest.
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule=`self.matches('^[ \\pL\\pM\\pN\\pP\\pS]*$')`,message="has a character that cannot be shown: use letters, digits and punctuation"
	Version string `json:"version,omitempty"`
	// Image is the container image, by digest (Kubernetes).
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule=`self.matches('^[\\pL\\pM\\pN\\pP\\pS]*$')`,message="must have no space in it: write for example REGISTRY/NAME@sha256:DIGEST"
	Image string `json:"image,omitempty"`
	// Template adds to the pod (Kubernetes).
	Template *Template `json:"template,omitempty"`
	// Local says how the scorer runs on one machine.
	Local *LocalScorer `json:"local,omitempty"`
	// Env are variables of the scorer, in both modes.
	// +kubebuilder:validation:MaxItems=100
	// +listType=map
	// +listMapKey=name
	Env []EnvVar `json:"env,omitempty"`
	// Port that the scorer listens on (Kubernetes).
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +kubebuilder:default=5001
	Port int32 `json:"port,omitempty"`
	// Readiness is the probe of the scorer.
	// +kubebuilder:default={}
	Readiness Readiness `json:"readiness,omitzero"`
}

// LocalScorer has either a model or a command.
// +kubebuilder:validation:XValidation:rule=`(has(self.model) && self.model != "") != (has(self.command) && self.command.size() > 0)`,message="must have either model or command: write local: {model: FILE} or local: {command: [PROGRAM, …]}"
type LocalScorer struct {
	// Model is a LightGBM text model, served by `serin scorer`.
	// +kubebuilder:validation:MaxLength=1024
	Model string `json:"model,omitempty"`
	// Command is any HTTP server; it gets $PORT.
	// +kubebuilder:validation:MaxItems=100
	// +kubebuilder:validation:items:MaxLength=4096
	// +kubebuilder:validation:XValidation:rule=`self.size() == 0 || self[0] != ""`,message="begins with an empty text: write the program to run"
	// +listType=atomic
	Command []string `json:"command,omitempty"`
}

// EnvVar is one environment variable.
type EnvVar struct {
	// Name has letters, digits and _; PORT is set by Serin.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule=`self.matches('^[^= \\x00]+$')`,message="is no name of a variable: use letters, digits and _"
	// +kubebuilder:validation:XValidation:rule="self != 'PORT'",message="PORT is set by Serin: take it out"
	Name string `json:"name"`
	// Value of the variable.
	// +kubebuilder:validation:MaxLength=8192
	// +kubebuilder:validation:Pattern=`^[^\x00]*$`
	Value string `json:"value,omitempty"`
}

// Readiness is the probe of a scorer.
type Readiness struct {
	// Path that answers 200 when the scorer is ready.
	// +kubebuilder:default="/"
	Path URLPath `json:"path,omitempty"`
	// Timeout until a new version must be ready.
	// +kubebuilder:default="2m"
	Timeout PositiveDuration `json:"timeout,omitempty"`
}

// Template is the subset of a pod template that Serin honours.
type Template struct {
	// Resources of the scorer's container.
	Resources corev1.ResourceRequirements `json:"resources,omitzero"`
	// Env are variables whose values come from elsewhere.
	// +kubebuilder:validation:MaxItems=100
	// +listType=atomic
	Env []corev1.EnvVar `json:"env,omitempty"`
	// EnvFrom takes all variables of a ConfigMap or Secret.
	// +kubebuilder:validation:MaxItems=50
	// +listType=atomic
	EnvFrom []corev1.EnvFromSource `json:"envFrom,omitempty"`
	// ImagePullSecrets to read the image with.
	// +kubebuilder:validation:MaxItems=20
	// +listType=atomic
	ImagePullSecrets []corev1.LocalObjectReference `json:"imagePullSecrets,omitempty"`
	// ServiceAccountName of the pod.
	// +kubebuilder:validation:MaxLength=253
	ServiceAccountName string `json:"serviceAccountName,omitempty"`
	// Volumes of the pod.
	// +kubebuilder:validation:MaxItems=50
	// +listType=atomic
	Volumes []corev1.Volume `json:"volumes,omitempty"`
	// VolumeMounts of the scorer's container.
	// +kubebuilder:validation:MaxItems=50
	// +listType=atomic
	VolumeMounts []corev1.VolumeMount `json:"volumeMounts,omitempty"`
	// ReadinessProbe instead of spec.scorer.readiness.
	ReadinessProbe *corev1.Probe `json:"readinessProbe,omitempty"`
	// LivenessProbe of the scorer.
	LivenessProbe *corev1.Probe `json:"livenessProbe,omitempty"`
	// NodeSelector of the pod.
	// +kubebuilder:validation:MaxProperties=50
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
	// Tolerations of the pod.
	// +kubebuilder:validation:MaxItems=50
	// +listType=atomic
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`
	// Affinity of the pod.
	Affinity *corev1.Affinity `json:"affinity,omitempty"`
}

// Scaling never starts a rollout (Kubernetes).
// +kubebuilder:validation:XValidation:rule="!has(self.replicas) || self.replicas == 1 || !has(self.min) && !has(self.max) && !has(self.cpu)",message="has both replicas and min, max or cpu: write either replicas, or min, max and cpu"
// +kubebuilder:validation:XValidation:rule="has(self.max) || !has(self.min) && !has(self.cpu)",fieldPath=".max",message="is missing: min and cpu are an autoscaler's: write max as well, or replicas instead"
// +kubebuilder:validation:XValidation:rule="!has(self.min) || !has(self.max) || self.min <= self.max",fieldPath=".min",message="is greater than max: write min at most max"
type Scaling struct {
	// Replicas of each revision, without an autoscaler. Beside one the 1 that the API
	// server fills in, so that /scale can be read, means nothing.
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=1
	Replicas *int32 `json:"replicas,omitempty"`
	// Min replicas of each revision's autoscaler.
	// +kubebuilder:validation:Minimum=1
	Min *int32 `json:"min,omitempty"`
	// Max replicas of each revision's autoscaler.
	// +kubebuilder:validation:Minimum=1
	Max *int32 `json:"max,omitempty"`
	// CPU is the utilisation that the autoscaler aims at.
	CPU Percent `json:"cpu,omitempty"`
}

// Contract says what requests and answers look like.
// +kubebuilder:validation:XValidation:rule=`!has(self.protocol) || (self.protocol == 'JSONPath') == (has(self.jsonPath) && self.jsonPath != "")`,fieldPath=".jsonPath",message="goes with protocol JSONPath, and only with it: write protocol: JSONPath and jsonPath: $.scores[*]"
type Contract struct {
	// Path of scoring requests.
	// +kubebuilder:default="/score"
	Path URLPath `json:"path,omitempty"`
	// Protocol of requests and answers.
	// +kubebuilder:validation:Enum=Auto;AzureML;MLflow;KServeV1;OpenInferenceV2;JSONPath
	// +kubebuilder:default=Auto
	Protocol string `json:"protocol,omitempty"`
	// JSONPath of the scores in an answer.
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule=`self == "" || self.startsWith('$')`,message="does not begin with $: write for example $.scores[*]"
	JSONPath string `json:"jsonPath,omitempty"`
}

// Traffic says how requests are routed.
// +kubebuilder:validation:XValidation:rule=`!has(self.virtualService) || self.virtualService == "" || !has(self.gateway) || self.gateway == ""`,fieldPath=".gateway",message="stands beside virtualService, which has gateways of its own: keep one of the two"
// +kubebuilder:validation:XValidation:rule="!has(self.fallback) || self.fallback == 'None' || duration(self.candidateTimeout) < duration(self.timeout)",fieldPath=".candidateTimeout",message="leaves stable no time within timeout: make it shorter than spec.traffic.timeout, or write fallback: None"
type Traffic struct {
	// Hosts that clients ask for.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=50
	// +listType=atomic
	// +kubebuilder:default={"*"}
	Hosts []Host `json:"hosts,omitempty"`
	// Gateway is the Istio Gateway (Kubernetes); without it Serin makes one.
	Gateway Word `json:"gateway,omitempty"`
	// VirtualService of one's own, in the endpoint's namespace, that Serin's routes go into: only those whose names begin with serin/NAMESPACE/NAME/ are Serin's (Kubernetes).
	VirtualService ObjectName `json:"virtualService,omitempty"`
	// Listen is the address on one machine. It has no default here: in a cluster it is not used.
	// +kubebuilder:validation:MaxLength=300
	// +kubebuilder:validation:XValidation:rule="self.matches('^.+:[0-9]{1,5}$') && int(self.substring(self.lastIndexOf(':') + 1)) <= 65535",message="is no address: write for example 127.0.0.1:8080, or 0.0.0.0:8080 for all interfaces"
	Listen string `json:"listen,omitempty"`
	// Header reaches either arm directly.
	// +kubebuilder:default={}
	Header Header `json:"header,omitzero"`
	// Sticky tosses a coin per client instead of per request.
	Sticky Sticky `json:"sticky,omitzero"`
	// Fallback says whether stable answers a request that the candidate fails, and while keepOld lasts the old revision one
	// that the promoted revision fails.
	// +kubebuilder:validation:Enum=Stable;None
	// +kubebuilder:default=Stable
	Fallback string `json:"fallback,omitempty"`
	// CandidateTimeout is when a request counts as failed by the candidate, or by the promoted revision while the old one is kept.
	// +kubebuilder:default="2s"
	CandidateTimeout PositiveDuration `json:"candidateTimeout,omitempty"`
	// Timeout of a request.
	// +kubebuilder:default="5s"
	Timeout PositiveDuration `json:"timeout,omitempty"`
	// MaxBodyBytes of a request or an answer that is compared.
	// +kubebuilder:default="4Mi"
	MaxBodyBytes Size `json:"maxBodyBytes,omitempty"`
}

// Host is a host's name, or *.
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=253
// +kubebuilder:validation:XValidation:rule=`self.matches('^[\\pL\\pM\\pN\\pP\\pS]*$') && !self.contains('/') && !self.contains(':')`,message="is no host name: write for example scoring.example.com, or *"
type Host = string

// Header reaches either arm directly.
// +kubebuilder:validation:XValidation:rule="!has(self.stable) || self.stable != self.candidate",fieldPath=".candidate",message="is the same as stable: use two different values"
type Header struct {
	// Name of the header.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:default="x-api-version"
	Name Token `json:"name,omitempty"`
	// Stable is the value that reaches stable.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:default=green
	Stable Word `json:"stable,omitempty"`
	// Candidate is the value that reaches the candidate.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:default=blue
	Candidate Word `json:"candidate,omitempty"`
}

// Sticky tosses a coin per client instead of per request.
// +kubebuilder:validation:XValidation:rule=`!has(self.header) || self.header == ""`,message="header: Istio has no weighted routing by header: use sticky.cookie"
type Sticky struct {
	// Cookie that holds the coin; empty: a coin per request.
	Cookie Token `json:"cookie,omitempty"`
	// Header that tells clients apart, on one machine.
	Header Token `json:"header,omitempty"`
}

// Rollout is the plan.
// +kubebuilder:validation:XValidation:rule=`!has(self.steps) || self.steps.map(s, has(s.minDuration) ? duration(s.minDuration) : duration('0s')).sum() + duration(self.warmup) < duration(self.maxDuration)`,fieldPath=".maxDuration",message="is over before the plan: the steps' minDuration and the warm-up take as long: make it longer, or the steps shorter"
// +kubebuilder:validation:XValidation:rule=`!has(self.steps) || self.steps.all(i, s, i == 0 || !has(s.weight) || !has(self.steps[i - 1].weight) || double(s.weight.replace('%', "")) >= 100.0 || double(self.harmBudget) + 0.000001 >= (double(s.weight.replace('%', "")) <= 25.0 ? 20.0 : double(s.weight.replace('%', "")) >= 50.0 ? 40.0 : 0.8 * double(s.weight.replace('%', ""))))`,fieldPath=".harmBudget",message="can never let a step begin: the judge has to see about 20 failures before it acts, 40 from 50% on: write at least that, or take the step out"
type Rollout struct {
	// Steps of the plan: shadow steps first, then weights that grow to 100%.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:XValidation:rule=`self.map(s, has(s.weight) ? 1 : 0).isSorted()`,message="a shadow step comes after a weight step: put shadow steps first"
	// +kubebuilder:validation:XValidation:rule=`self.all(i, s, i == 0 || !has(s.weight) || !has(self[i - 1].weight) || double(self[i - 1].weight.replace('%', "")) < double(s.weight.replace('%', "")))`,message="a weight is not more than the one before: let weights grow from step to step"
	// +kubebuilder:validation:XValidation:rule=`has(self[self.size() - 1].weight) && double(self[self.size() - 1].weight.replace('%', "")) == 100.0`,message="the last step must be the promotion: end the list with {weight: 100%}"
	// +kubebuilder:validation:XValidation:rule=`self.transformMapEntry(i, s, {(has(s.name) ? s.name : has(s.shadow) ? 'shadow' : has(s.weight) ? s.weight : string(i)): i}).size() == self.size()`,message="a name is used twice: give the steps different names (default: shadow, or the weight)"
	// +listType=atomic
	// +kubebuilder:default={{shadow: "100%", minDuration: "10m"}, {weight: "1%"}, {weight: "10%"}, {weight: "50%"}, {weight: "100%"}}
	Steps []Step `json:"steps,omitempty"`
	// Approval is asked where a step says so, or before every step.
	// +kubebuilder:validation:Enum=AsMarked;EveryStep
	// +kubebuilder:default=AsMarked
	Approval string `json:"approval,omitempty"`
	// MinRequests to the candidate in each step.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:default=100
	MinRequests *int64 `json:"minRequests,omitempty"`
	// HarmBudget is how many extra failed requests the next step may cost.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:default=50
	HarmBudget *int64 `json:"harmBudget,omitempty"`
	// Warmup is the first part of a revision's life: it is not judged.
	// +kubebuilder:default="60s"
	Warmup Duration `json:"warmup,omitempty"`
	// MaxDuration of judged time.
	// +kubebuilder:default="24h"
	MaxDuration PositiveDuration `json:"maxDuration,omitempty"`
	// OnTimeout says what happens then.
	// +kubebuilder:validation:Enum=Hold;Revert
	// +kubebuilder:default=Hold
	OnTimeout string `json:"onTimeout,omitempty"`
	// ApprovalTimeout is how long an approval is waited for.
	// +kubebuilder:default="24h"
	ApprovalTimeout PositiveDuration `json:"approvalTimeout,omitempty"`
	// ProgressDeadline is how long a revision may take to be ready.
	// +kubebuilder:default="10m"
	ProgressDeadline PositiveDuration `json:"progressDeadline,omitempty"`
	// KeepFailed is how long a reverted candidate stays, reachable by header only.
	// +kubebuilder:default="1h"
	KeepFailed Duration `json:"keepFailed,omitempty"`
	// KeepOld is how long the old revision stays ready after promotion.
	// +kubebuilder:default="1h"
	KeepOld Duration `json:"keepOld,omitempty"`
	// Freeze are times in which no step goes forward.
	// +kubebuilder:validation:MaxItems=20
	// +listType=atomic
	Freeze []Freeze `json:"freeze,omitempty"`
}

// Step is a shadow or a weight stage.
// +kubebuilder:validation:XValidation:rule="has(self.shadow) != has(self.weight)",message="must have either shadow or weight: write {shadow: 100%} or {weight: 10%}"
type Step struct {
	// Name of the step; default: shadow, or the weight.
	Name StepName `json:"name,omitempty"`
	// Shadow is the share of requests of which the candidate gets a copy.
	Shadow StepPercent `json:"shadow,omitempty"`
	// Weight is the share of requests that the candidate answers.
	Weight StepPercent `json:"weight,omitempty"`
	// MinDuration of the step; default: none.
	// +kubebuilder:default="0s"
	MinDuration Duration `json:"minDuration,omitempty"`
	// Approval that the step asks for before it is entered.
	// +kubebuilder:validation:Enum=Required;None
	Approval string `json:"approval,omitempty"`
}

// StepName is a Word of a label's length.
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:XValidation:rule=`self.matches('^[\\pL\\pM\\pN\\pP\\pS]*$')`,message="must have no space, and no character that cannot be shown, in it"
type StepName = string

// Freeze is a time in which no step goes forward.
// +kubebuilder:validation:XValidation:rule="duration(self.duration) <= duration('744h')",fieldPath=".duration",message="must be at most 744h: write for example 63h"
type Freeze struct {
	// Cron says when it begins.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule=`self.matches('^(@(yearly|annually|monthly|weekly|daily|midnight|hourly|every [0-9a-z.]+)|(TZ=[^ ]+ +|CRON_TZ=[^ ]+ +)?[-0-9A-Za-z*/,?]+( +[-0-9A-Za-z*/,?]+){4})$')`,message="is no time table: write for example 0 17 * * FRI"
	Cron string `json:"cron"`
	// Duration of the freeze.
	Duration PositiveDuration `json:"duration"`
	// TimeZone of the time table.
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule=`self == 'UTC' || timestamp('2026-01-01T00:00:00Z').getFullYear(self) > 0`,message="is not known: write for example Europe/Berlin"
	// +kubebuilder:default=UTC
	TimeZone string `json:"timeZone,omitempty"`
}

// Judge is the policy.
type Judge struct {
	// FalseRevert is the chance that a candidate within every revertAbove is ever reverted.
	// +kubebuilder:validation:XValidation:rule=`double(self.replace('%', "")) <= 50.0`,message="must be at most 50%: write for example 1%"
	// +kubebuilder:default="1%"
	FalseRevert Percent `json:"falseRevert,omitempty"`
	// FalsePromote is the chance that a candidate at or beyond promoteBelow is ever promoted.
	// +kubebuilder:validation:XValidation:rule=`double(self.replace('%', "")) <= 50.0`,message="must be at most 50%: write for example 5%"
	// +kubebuilder:default="5%"
	FalsePromote Percent `json:"falsePromote,omitempty"`
	// Errors bound the ratio of error rates.
	// +kubebuilder:default={}
	Errors ErrorLimits `json:"errors,omitzero"`
	// Latency bounds the ratio of latencies at quantiles.
	// +kubebuilder:default={}
	Latency LatencyLimits `json:"latency,omitzero"`
	// Invalid bounds the share of answers without a usable score.
	// +kubebuilder:default={}
	Invalid InvalidLimits `json:"invalid,omitzero"`
	// Scores are judged only if declared.
	Scores *ScoreLimits `json:"scores,omitempty"`
	// Agreement of shadow pairs is judged only if declared.
	Agreement *Agreement `json:"agreement,omitempty"`
	// Labels are ground truth that comes later: reported.
	Labels *Labels `json:"labels,omitempty"`
}

// ErrorLimits bound the ratio of error rates.
// +kubebuilder:validation:XValidation:rule=`!has(self.revertAbove) || double(self.revertAbove.replace('x', "")) < double(self.promoteBelow.replace('x', ""))`,fieldPath=".revertAbove",message="must be less than promoteBelow"
type ErrorLimits struct {
	// RevertAbove is the ratio that is no reason to revert.
	// +kubebuilder:default="1.25x"
	RevertAbove Ratio `json:"revertAbove,omitempty"`
	// PromoteBelow is the ratio that is too much to promote.
	// +kubebuilder:default="2x"
	PromoteBelow Ratio `json:"promoteBelow,omitempty"`
	// OrWithin is the excess that is acceptable however large the ratio.
	// +kubebuilder:default="0.1pp"
	OrWithin Points `json:"orWithin,omitempty"`
}

// LatencyLimits bound the ratio of latencies at quantiles.
// +kubebuilder:validation:XValidation:rule=`!has(self.revertAbove) || double(self.revertAbove.replace('x', "")) < double(self.promoteBelow.replace('x', ""))`,fieldPath=".revertAbove",message="must be less than promoteBelow"
type LatencyLimits struct {
	// RevertAbove is the ratio that is no reason to revert.
	// +kubebuilder:default="1.1x"
	RevertAbove Ratio `json:"revertAbove,omitempty"`
	// PromoteBelow is the ratio that is too much to promote; finer than 1.0906x cannot be told.
	// +kubebuilder:validation:XValidation:rule=`double(self.replace('x', "")) >= 1.0905077326652577`,message="must be at least 1.0906x: finer cannot be told"
	// +kubebuilder:default="1.25x"
	PromoteBelow Ratio `json:"promoteBelow,omitempty"`
	// At are the quantiles.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:XValidation:rule=`self.all(a, self.exists_one(b, double(a.replace('p', "")) == double(b.replace('p', ""))))`,message="a quantile is written twice: keep one of them"
	// +listType=atomic
	// +kubebuilder:default={"p50", "p90", "p99"}
	At []Quantile `json:"at,omitempty"`
}

// InvalidLimits bound the share of answers without a usable score.
// +kubebuilder:validation:XValidation:rule=`!has(self.revertAbove) || double(self.revertAbove.replace('%', "")) < double(self.promoteBelow.replace('%', "")) && double(self.promoteBelow.replace('%', "")) < 100.0`,fieldPath=".revertAbove",message="must be less than promoteBelow, and both less than 100%"
type InvalidLimits struct {
	// RevertAbove is the share that is no reason to revert.
	// +kubebuilder:default="0.1%"
	RevertAbove Percent `json:"revertAbove,omitempty"`
	// PromoteBelow is the share that is too much to promote.
	// +kubebuilder:default="1%"
	PromoteBelow Percent `json:"promoteBelow,omitempty"`
}

// MeanLimits bound the relative shift of the mean score, either way.
// +kubebuilder:validation:XValidation:rule=`!has(self.revertAbove) || double(self.revertAbove.replace('%', "")) < double(self.promoteBelow.replace('%', ""))`,fieldPath=".revertAbove",message="must be less than promoteBelow"
type MeanLimits struct {
	// RevertAbove is the shift that is no reason to revert.
	// +kubebuilder:default="10%"
	RevertAbove Percent `json:"revertAbove,omitempty"`
	// PromoteBelow is the shift that is too much to promote.
	// +kubebuilder:default="20%"
	PromoteBelow Percent `json:"promoteBelow,omitempty"`
}

// ScoreLimits are judged only if declared.
// +kubebuilder:validation:XValidation:rule="has(self.mean) || has(self.cutoffs) && self.cutoffs.size() > 0",message="declares nothing: write mean: {}, or cutoffs: [\"0.05\"], or take it out"
type ScoreLimits struct {
	// Mean bounds the relative shift of the mean score, either way.
	Mean *MeanLimits `json:"mean,omitempty"`
	// Cutoffs are scores above which the shares of rows are compared.
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule=`self.all(a, self.exists_one(b, double(a) == double(b)))`,message="a cut-off is written twice: keep one of them"
	// +listType=atomic
	Cutoffs []Number `json:"cutoffs,omitempty"`
}

// Agreement of shadow pairs is judged only if declared.
// +kubebuilder:validation:XValidation:rule=`double(self.revertBelow.replace('%', "")) < double(self.promoteAbove.replace('%', "")) && double(self.promoteAbove.replace('%', "")) < 100.0`,fieldPath=".revertBelow",message="must be less than promoteAbove, and both less than 100%"
type Agreement struct {
	// Tolerance within which two scores agree.
	// +kubebuilder:validation:XValidation:rule=`double(self) >= 0.0`,message="must be 0 or more: write for example \"0.01\""
	Tolerance Number `json:"tolerance"`
	// RevertBelow is the share of pairs that is no reason to revert.
	// +kubebuilder:default="90%"
	RevertBelow Percent `json:"revertBelow,omitempty"`
	// PromoteAbove is the share of pairs that is enough to promote.
	// +kubebuilder:default="95%"
	PromoteAbove Percent `json:"promoteAbove,omitempty"`
}

// Labels are ground truth that comes later: reported.
type Labels struct {
	// Loss that the report shows.
	// +kubebuilder:validation:Enum=LogLoss;Brier;Poisson;Gamma;Tweedie
	// +kubebuilder:default=LogLoss
	Loss string `json:"loss,omitempty"`
	// Maturity is how long labels take to come.
	// +kubebuilder:default="720h"
	Maturity PositiveDuration `json:"maturity,omitempty"`
	// Required labels must have come before promotion.
	// +kubebuilder:default=false
	Required bool `json:"required,omitempty"`
}

// Notify names a receiver of events.
type Notify struct {
	// URL of the receiver.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule=`isURL(self) && url(self).getScheme() in ['http', 'https'] && url(self).getHost() != ""`,message="is no http or https address: write for example https://example.com/hook"
	// +kubebuilder:validation:XValidation:rule=`!self.matches('(?i)^https?://([^/?#]*@)?(localhost|0\\.0\\.0\\.0|127\\.[0-9.]+|169\\.254\\.[0-9.]+|\\[(::1?|fe[89ab][0-9a-f]:[^\\]]*)\\])(:[0-9]*)?([/?#]|$)')`,message="is an address of the controller's own pod or node: write one that others reach too, such as https://example.com/hook"
	URL string `json:"url"`
	// Format of what it gets.
	// +kubebuilder:validation:Enum=CloudEvents;Slack;Teams
	// +kubebuilder:default=CloudEvents
	Format string `json:"format,omitempty"`
}
