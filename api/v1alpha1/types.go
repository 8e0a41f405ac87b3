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
type ScoringEndpoint struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              ScoringEndpointSpec   `json:"spec"`
	Status            ScoringEndpointStatus `json:"status,omitzero"`
}

// ScoringEndpointList is a list of endpoints.
// +kubebuilder:object:root=true
type ScoringEndpointList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ScoringEndpoint `json:"items"`
}

// ScoringEndpointSpec is the wish.
type ScoringEndpointSpec struct {
	// Scorer is the version wanted in production: a change in here, and only here, starts a rollout.
	Scorer   Scorer   `json:"scorer"`
	Scaling  Scaling  `json:"scaling,omitzero"`
	Contract Contract `json:"contract,omitzero"`
	Traffic  Traffic  `json:"traffic,omitzero"`
	Rollout  Rollout  `json:"rollout,omitzero"`
	Judge    Judge    `json:"judge,omitzero"`
	Notify   []Notify `json:"notify,omitempty"`
}

// Scorer is a program that answers scoring requests over HTTP.
type Scorer struct {
	// Version is shown to people; default: the short digest.
	Version string `json:"version,omitempty"`
	// Image is the container image, by digest (Kubernetes).
	Image string `json:"image,omitempty"`
	// Template adds to the pod (Kubernetes).
	Template *Template `json:"template,omitempty"`
	// Local says how the scorer runs on one machine.
	Local *LocalScorer `json:"local,omitempty"`
	Env   []EnvVar     `json:"env,omitempty"`
	// Port that the scorer listens on (Kubernetes).
	Port      int32     `json:"port,omitempty"`
	Readiness Readiness `json:"readiness,omitzero"`
}

// LocalScorer has either a model or a command.
type LocalScorer struct {
	// Model is a LightGBM text model, served by `serin scorer`.
	Model string `json:"model,omitempty"`
	// Command is any HTTP server; it gets $PORT.
	Command []string `json:"command,omitempty"`
}

// EnvVar is one environment variable.
type EnvVar struct {
	Name  string `json:"name"`
	Value string `json:"value,omitempty"`
}

// Readiness is the probe of a scorer.
type Readiness struct {
	Path    string `json:"path,omitempty"`
	Timeout string `json:"timeout,omitempty"`
}

// Template is the subset of a pod template that Serin honours.
type Template struct {
	Resources          corev1.ResourceRequirements   `json:"resources,omitzero"`
	Env                []corev1.EnvVar               `json:"env,omitempty"`
	EnvFrom            []corev1.EnvFromSource        `json:"envFrom,omitempty"`
	ImagePullSecrets   []corev1.LocalObjectReference `json:"imagePullSecrets,omitempty"`
	ServiceAccountName string                        `json:"serviceAccountName,omitempty"`
	Volumes            []corev1.Volume               `json:"volumes,omitempty"`
	VolumeMounts       []corev1.VolumeMount          `json:"volumeMounts,omitempty"`
	ReadinessProbe     *corev1.Probe                 `json:"readinessProbe,omitempty"`
	LivenessProbe      *corev1.Probe                 `json:"livenessProbe,omitempty"`
	NodeSelector       map[string]string             `json:"nodeSelector,omitempty"`
	Tolerations        []corev1.Toleration           `json:"tolerations,omitempty"`
	Affinity           *corev1.Affinity              `json:"affinity,omitempty"`
}

// Scaling never starts a rollout (Kubernetes).
type Scaling struct {
	Replicas *int32 `json:"replicas,omitempty"`
	Min      *int32 `json:"min,omitempty"`
	Max      *int32 `json:"max,omitempty"`
	CPU      string `json:"cpu,omitempty"`
}

// Contract says what requests and answers look like.
type Contract struct {
	Path     string `json:"path,omitempty"`
	Protocol string `json:"protocol,omitempty"`
	JSONPath string `json:"jsonPath,omitempty"`
}

// Traffic says how requests are routed.
type Traffic struct {
	Hosts            []string `json:"hosts,omitempty"`
	Gateway          string   `json:"gateway,omitempty"`
	Listen           string   `json:"listen,omitempty"`
	Header           Header   `json:"header,omitzero"`
	Sticky           Sticky   `json:"sticky,omitzero"`
	Fallback         string   `json:"fallback,omitempty"`
	CandidateTimeout string   `json:"candidateTimeout,omitempty"`
	Timeout          string   `json:"timeout,omitempty"`
	MaxBodyBytes     string   `json:"maxBodyBytes,omitempty"`
}

// Header reaches either arm directly.
type Header struct {
	Name      string `json:"name,omitempty"`
	Stable    string `json:"stable,omitempty"`
	Candidate string `json:"candidate,omitempty"`
}

// Sticky tosses a coin per client instead of per request.
type Sticky struct {
	Cookie string `json:"cookie,omitempty"`
	Header string `json:"header,omitempty"`
}

// Rollout is the plan.
type Rollout struct {
	Steps            []Step   `json:"steps,omitempty"`
	Approval         string   `json:"approval,omitempty"`
	MinRequests      *int64   `json:"minRequests,omitempty"`
	HarmBudget       *int64   `json:"harmBudget,omitempty"`
	Warmup           string   `json:"warmup,omitempty"`
	MaxDuration      string   `json:"maxDuration,omitempty"`
	OnTimeout        string   `json:"onTimeout,omitempty"`
	ApprovalTimeout  string   `json:"approvalTimeout,omitempty"`
	ProgressDeadline string   `json:"progressDeadline,omitempty"`
	KeepFailed       string   `json:"keepFailed,omitempty"`
	KeepOld          string   `json:"keepOld,omitempty"`
	Freeze           []Freeze `json:"freeze,omitempty"`
}

// Step is a shadow or a weight stage.
type Step struct {
	Name        string `json:"name,omitempty"`
	Shadow      string `json:"shadow,omitempty"`
	Weight      string `json:"weight,omitempty"`
	MinDuration string `json:"minDuration,omitempty"`
	Approval    string `json:"approval,omitempty"`
}

// Freeze is a time in which no step goes forward.
type Freeze struct {
	Cron     string `json:"cron"`
	Duration string `json:"duration"`
	TimeZone string `json:"timeZone,omitempty"`
}

// Judge is the policy.
type Judge struct {
	FalseRevert  string        `json:"falseRevert,omitempty"`
	FalsePromote string        `json:"falsePromote,omitempty"`
	Errors       ErrorLimits   `json:"errors,omitzero"`
	Latency      LatencyLimits `json:"latency,omitzero"`
	Invalid      ShareLimits   `json:"invalid,omitzero"`
	Scores       *ScoreLimits  `json:"scores,omitempty"`
	Agreement    *Agreement    `json:"agreement,omitempty"`
	Labels       *Labels       `json:"labels,omitempty"`
}

// ErrorLimits bound the ratio of error rates.
type ErrorLimits struct {
	RevertAbove  string `json:"revertAbove,omitempty"`
	PromoteBelow string `json:"promoteBelow,omitempty"`
	OrWithin     string `json:"orWithin,omitempty"`
}

// LatencyLimits bound the ratio of latencies at quantiles.
type LatencyLimits struct {
	RevertAbove  string   `json:"revertAbove,omitempty"`
	PromoteBelow string   `json:"promoteBelow,omitempty"`
	At           []string `json:"at,omitempty"`
}

// ShareLimits bound a share of answers, or a relative shift.
type ShareLimits struct {
	RevertAbove  string `json:"revertAbove,omitempty"`
	PromoteBelow string `json:"promoteBelow,omitempty"`
}

// ScoreLimits are judged only if declared.
type ScoreLimits struct {
	Mean    *ShareLimits `json:"mean,omitempty"`
	Cutoffs []string     `json:"cutoffs,omitempty"`
}

// Agreement of shadow pairs is judged only if declared.
type Agreement struct {
	Tolerance    string `json:"tolerance"`
	RevertBelow  string `json:"revertBelow,omitempty"`
	PromoteAbove string `json:"promoteAbove,omitempty"`
}

// Labels are ground truth that comes later: reported.
type Labels struct {
	Loss     string `json:"loss,omitempty"`
	Maturity string `json:"maturity,omitempty"`
	Required bool   `json:"required,omitempty"`
}

// Notify names a receiver of events.
type Notify struct {
	URL    string `json:"url"`
	Format string `json:"format,omitempty"`
}
