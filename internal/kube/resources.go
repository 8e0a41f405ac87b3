package kube

import (
	"math"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/serin-dev/serin/api/v1alpha1"
	"github.com/serin-dev/serin/internal/rollout"
)

// RevisionInput is all that a revision's objects are made of.
type RevisionInput struct {
	Key      Key
	Owner    metav1.OwnerReference
	Revision rollout.Revision
	// Scorer is frozen with the revision; Scaling may change while it runs.
	Scorer  v1alpha1.Scorer
	Scaling v1alpha1.Scaling
	// Recorder is Serin's own image; ControllerURL where recorders report to.
	Recorder      string
	ControllerURL string
	// Candidate: the Service also publishes addresses that are not ready, so that
	// the recorder beside a crashed scorer can still hand over to stable (mayPublish).
	Candidate bool
}

func (in RevisionInput) meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: in.Key.Namespace, Name: name, Labels: revisionLabels(in.Key.Name, in.Revision),
		Annotations:     map[string]string{AnnotationDigest: in.Revision.Digest, AnnotationVersion: in.Revision.Version},
		OwnerReferences: []metav1.OwnerReference{in.Owner},
	}
}

// MakeDeployment returns the Deployment of one immutable revision. Replicas are
// left out when an autoscaler owns them: Serin then never writes them.
func MakeDeployment(in RevisionInput) *appsv1.Deployment {
	d := &appsv1.Deployment{TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"}, ObjectMeta: in.meta(in.Revision.Name)}
	if !autoscaled(in.Scaling) {
		d.Spec.Replicas = new(replicas(in.Scaling))
	}
	d.Spec.Selector = &metav1.LabelSelector{MatchLabels: selectorLabels(in.Key.Name, in.Revision)}
	d.Spec.RevisionHistoryLimit = new(int32(0)) // a revision never changes
	d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType, RollingUpdate: &appsv1.RollingUpdateDeployment{MaxUnavailable: new(intstr.FromInt32(0)), MaxSurge: new(intstr.FromString("25%"))}}
	d.Spec.Template.Labels = revisionLabels(in.Key.Name, in.Revision)
	d.Spec.Template.Annotations = map[string]string{AnnotationVersion: in.Revision.Version}
	d.Spec.Template.Spec = podSpec(in)
	return d
}

func podSpec(in RevisionInput) corev1.PodSpec {
	t := in.Scorer.Template
	if t == nil {
		t = &v1alpha1.Template{}
	}
	return corev1.PodSpec{
		Containers:         []corev1.Container{recorderContainer(in), scorerContainer(in, t)},
		ImagePullSecrets:   t.ImagePullSecrets,
		ServiceAccountName: t.ServiceAccountName,
		NodeSelector:       t.NodeSelector, Tolerations: t.Tolerations, Affinity: t.Affinity,
		Volumes: append([]corev1.Volume{tokenVolume()}, t.Volumes...),
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot: new(true), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		AutomountServiceAccountToken:  new(t.ServiceAccountName != ""),
		TerminationGracePeriodSeconds: new(int64(terminationSeconds)),
	}
}

const (
	// lameDuckSeconds: a pod that is told to end goes on answering for this long,
	// until every gateway has heard that it is going.
	lameDuckSeconds = 5
	// scorerStopSeconds is longer: the recorder may still drain requests into it.
	scorerStopSeconds  = lameDuckSeconds + 5
	terminationSeconds = 45
	recorderName       = "recorder"
	recorderUser       = 65532
	tokenVolumeName    = "serin-token"
	tokenFolder        = "/var/run/serin"
	tokenAudience      = "serin-controller"
	tokenSeconds       = 3600
)

// tokenVolume holds the token by which a recorder proves who it is: of an
// audience that no other service takes.
func tokenVolume() corev1.Volume {
	return corev1.Volume{Name: tokenVolumeName, VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
		{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Audience: tokenAudience, ExpirationSeconds: new(int64(tokenSeconds)), Path: "token"}},
	}}}}
}

func restricted() *corev1.SecurityContext {
	return &corev1.SecurityContext{AllowPrivilegeEscalation: new(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}}
}

func recorderContainer(in RevisionInput) corev1.Container {
	sec := restricted()
	sec.ReadOnlyRootFilesystem, sec.RunAsUser = new(true), new(int64(recorderUser))
	port := func(p int) string { return strconv.Itoa(p) }
	return corev1.Container{
		Name: recorderName, Image: in.Recorder,
		Args: []string{"recorder", "--listen", ":" + port(recorderPort), "--health", ":" + port(recorderHealthPort), "--scorer", "127.0.0.1:" + port(int(scorerPort(in.Scorer))),
			"--readiness", readinessPath(in.Scorer), "--endpoint", in.Key.Name, "--revision", in.Revision.Name, "--controller", in.ControllerURL, "--token-file", tokenFolder + "/token", "--lame-duck", strconv.Itoa(lameDuckSeconds) + "s"},
		Env: []corev1.EnvVar{
			{Name: "POD_NAME", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}},
			{Name: "POD_NAMESPACE", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.namespace"}}},
		},
		Ports:           []corev1.ContainerPort{{Name: portName, ContainerPort: recorderPort}, {Name: "health", ContainerPort: recorderHealthPort}},
		ReadinessProbe:  probe("/readyz", recorderHealthPort, 1),
		StartupProbe:    begunProbe(),
		Resources:       recorderResources(),
		VolumeMounts:    []corev1.VolumeMount{{Name: tokenVolumeName, MountPath: tokenFolder, ReadOnly: true}},
		SecurityContext: sec,
	}
}

// begunProbe passes once the scorer was ready, and never again fails: so Kubernetes
// remembers which pods have begun (hasBegun). A scorer may take any time: the recorder
// is not started anew for it.
func begunProbe() *corev1.Probe {
	p := probe("/readyz", recorderHealthPort, 1)
	p.FailureThreshold = math.MaxInt32
	return p
}

// recorderResources has no limit: the answers that wait are bounded by the recorder itself,
// and one that is ended for its memory takes the requests of its scorer with it.
func recorderResources() corev1.ResourceRequirements {
	return corev1.ResourceRequirements{Requests: corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("32Mi"),
	}}
}

func scorerContainer(in RevisionInput, t *v1alpha1.Template) corev1.Container {
	port := scorerPort(in.Scorer)
	c := corev1.Container{
		Name: "scorer", Image: in.Scorer.Image, Resources: t.Resources, EnvFrom: t.EnvFrom, VolumeMounts: t.VolumeMounts,
		Ports: []corev1.ContainerPort{{Name: "scorer", ContainerPort: port}}, SecurityContext: restricted(),
		ReadinessProbe: t.ReadinessProbe, LivenessProbe: t.LivenessProbe,
		Lifecycle: &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: scorerStopSeconds}}},
	}
	if c.ReadinessProbe == nil {
		c.ReadinessProbe = probe(readinessPath(in.Scorer), port, 2)
	}
	for _, e := range in.Scorer.Env {
		c.Env = append(c.Env, corev1.EnvVar{Name: e.Name, Value: e.Value})
	}
	c.Env = append(append(c.Env, t.Env...), corev1.EnvVar{Name: "PORT", Value: strconv.Itoa(int(port))})
	return c
}

func readinessPath(s v1alpha1.Scorer) string {
	if s.Readiness.Path == "" {
		return "/"
	}
	return s.Readiness.Path
}

func probe(path string, port, everySeconds int32) *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromInt32(port)}},
		PeriodSeconds: everySeconds, TimeoutSeconds: 2, FailureThreshold: 3,
	}
}

// MakeService returns a revision's own Service.
func MakeService(in RevisionInput) *corev1.Service {
	return &corev1.Service{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, ObjectMeta: in.meta(in.Revision.Name),
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, Selector: selectorLabels(in.Key.Name, in.Revision), PublishNotReadyAddresses: in.Candidate,
			Ports: []corev1.ServicePort{{Name: portName, Port: servicePort, TargetPort: intstr.FromString(portName), Protocol: corev1.ProtocolTCP}},
		},
	}
}

// autoscaled: one autoscaler per revision owns the replicas.
func autoscaled(s v1alpha1.Scaling) bool { return s.Max != nil }

func replicas(s v1alpha1.Scaling) int32 {
	if s.Replicas != nil {
		return *s.Replicas
	}
	return 1
}

// MakeAutoscaler returns a revision's autoscaler, nil when none is asked for.
// floor raises its minimum: while a rollout runs stable keeps what it had, so
// that a revert never meets a stable that was shrunk meanwhile.
func MakeAutoscaler(in RevisionInput, cpuPercent, floor int32) *autoscalingv2.HorizontalPodAutoscaler {
	if !autoscaled(in.Scaling) {
		return nil
	}
	least := max(floor, 1)
	if in.Scaling.Min != nil {
		least = max(least, *in.Scaling.Min)
	}
	return &autoscalingv2.HorizontalPodAutoscaler{
		TypeMeta: metav1.TypeMeta{APIVersion: "autoscaling/v2", Kind: "HorizontalPodAutoscaler"}, ObjectMeta: in.meta(in.Revision.Name),
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: in.Revision.Name},
			MinReplicas:    new(min(least, *in.Scaling.Max)), MaxReplicas: *in.Scaling.Max,
			Metrics: []autoscalingv2.MetricSpec{{Type: autoscalingv2.ContainerResourceMetricSourceType, ContainerResource: &autoscalingv2.ContainerResourceMetricSource{
				Name: corev1.ResourceCPU, Container: "scorer", Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: new(cpuPercent)},
			}}},
		},
	}
}
