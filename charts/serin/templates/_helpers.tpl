{{- define "serin.selectorLabels" -}}
app.kubernetes.io/name: serin
app.kubernetes.io/component: controller
{{- end }}

{{- define "serin.labels" -}}
{{ include "serin.selectorLabels" . }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
app.kubernetes.io/part-of: serin
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | quote }}
{{- end }}

{{- define "serin.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "serin.gatewayNamespace" -}}
{{ .Values.mesh.gateway.namespace | default (ternary "aks-istio-ingress" "istio-system" .Values.mesh.aksAddon) }}
{{- end }}

{{- define "serin.gatewayServiceAccount" -}}
{{ .Values.mesh.gateway.serviceAccount | default (ternary "aks-istio-ingressgateway-external" "istio-ingressgateway" .Values.mesh.aksAddon) }}
{{- end }}

{{- define "serin.gatewaySelector" -}}
{{- $standard := dict "istio" (ternary "aks-istio-ingressgateway-external" "ingressgateway" .Values.mesh.aksAddon) -}}
{{ toYaml (.Values.mesh.gateway.selector | default $standard) }}
{{- end }}
