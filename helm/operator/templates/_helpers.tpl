{{/* The name of everything. Not derived from the release: gateways name this ServiceAccount in their RoleBindings. */}}
{{- define "operator.fullname" -}}
{{- .Values.fullnameOverride -}}
{{- end }}

{{- define "operator.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "operator.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: gateway-backup-operator
{{ include "operator.selectorLabels" . }}
{{- end }}

{{/* Labels of what a hook makes: never those that the Deployment selects by. */}}
{{- define "operator.hookLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/name: {{ .Chart.Name }}-release-finalizers
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: gateway-backup-operator
{{- end }}

{{- define "operator.image" -}}
{{- $tag := .Values.image.tag | default .Chart.AppVersion -}}
{{- .Values.image.repository }}:{{ $tag }}{{ with .Values.image.digest }}@{{ . }}{{ end }}
{{- end }}

{{/* What the restricted Pod Security Standard asks of a pod, and more: a fixed uid and no writable root. */}}
{{- define "operator.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "operator.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/*
What the operator may do wherever it works. Reads of what a gateway consists of, when it needs to know and without a watch;
writes of its own resources only. No Secret and no workload: that is for each gateway's own Role to grant.
docs/security.md gives the reason of every line.
*/}}
{{- define "operator.rules" -}}
- apiGroups: [mcpgateway.dev]
  resources: [gatewaybackups]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [mcpgateway.dev]
  resources: [gatewayrestores, gatewaybackupschedules, gatewaybackupimports]
  verbs: [get, list, watch]
- apiGroups: [mcpgateway.dev]
  resources: [gatewaybackups/status, gatewayrestores/status, gatewaybackupschedules/status, gatewaybackupimports/status]
  verbs: [patch]
# Some clusters let only those name an owner who may change the owner's finalizers.
- apiGroups: [mcpgateway.dev]
  resources: [gatewaybackupschedules/finalizers]
  verbs: [update]
- apiGroups: [batch]
  resources: [cronjobs]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [events]
  verbs: [create]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list]
- apiGroups: [apps]
  resources: [deployments, statefulsets, replicasets]
  verbs: [get, list]
{{- end }}

{{/* The pre-delete hook removes the finalizer from the objects that have one: GatewayBackups with deleteFile. */}}
{{- define "operator.releaseRules" -}}
- apiGroups: [mcpgateway.dev]
  resources: [gatewaybackups]
  verbs: [get, list, patch]
{{- end }}
