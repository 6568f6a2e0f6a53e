{{/*
The name of all objects. It does not depend on the release's name, because RoleBindings of gateways refer to this ServiceAccount.
*/}}
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

{{/* Labels of a hook's objects. They must not match the Deployment's selector. */}}
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

{{/*
The restricted Pod Security Standard and a read-only root file system. Without podSecurityContext the cluster assigns the uid.
*/}}
{{- define "operator.podSecurityContext" -}}
runAsNonRoot: true
{{- with .Values.podSecurityContext }}
{{ toYaml . }}
{{- end }}
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "operator.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/*
The operator's permissions in each namespace that it watches. It may read pods and workloads, and write only its own resources.
Permissions on Secrets and for the restart of a workload come from each gateway's own Role. docs/security.md explains each line.
*/}}
{{- define "operator.rules" -}}
- apiGroups: [mcpgateway.dev]
  resources: [gatewaybackups]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [mcpgateway.dev]
  resources: [gatewaybackupschedules, gatewaybackupimports]
  verbs: [get, list, watch]
# patch: the finalizer of a restore that is not ended at its gateway.
- apiGroups: [mcpgateway.dev]
  resources: [gatewayrestores]
  verbs: [get, list, watch, patch]
# update: the admission policies recognize the operator by it. The operator itself sends only patches.
- apiGroups: [mcpgateway.dev]
  resources: [gatewaybackups/status]
  verbs: [update, patch]
- apiGroups: [mcpgateway.dev]
  resources: [gatewayrestores/status, gatewaybackupschedules/status, gatewaybackupimports/status]
  verbs: [patch]
# For ownerReferences with blockOwnerDeletion: the admission plugin OwnerReferencesPermissionEnforcement requires this permission.
- apiGroups: [mcpgateway.dev]
  resources: [gatewaybackupschedules/finalizers]
  verbs: [update]
- apiGroups: [batch]
  resources: [cronjobs]
  verbs: [get, list, watch]
# get: a backup is a scheduled one only if the Job that it names exists. list: a schedule reports a Job that does not run.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list]
- apiGroups: [""]
  resources: [events]
  verbs: [create, list]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list]
# The claim of a gateway's backup volume names its PersistentVolume.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get]
- apiGroups: [apps]
  resources: [deployments, statefulsets]
  verbs: [get]
- apiGroups: [apps]
  resources: [replicasets]
  verbs: [list]
{{- end }}

{{/* Permissions of the pre-delete hook. It removes the finalizers of GatewayBackups with deleteFile and of open GatewayRestores. */}}
{{- define "operator.releaseRules" -}}
- apiGroups: [mcpgateway.dev]
  resources: [gatewaybackups, gatewayrestores]
  verbs: [get, list, patch]
{{- end }}

{{/* Egress rules to DNS and to the API server. DNS may run on the node, so its rule names no address. */}}
{{- define "operator.apiServerEgress" -}}
- ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
- ports:
    {{- range .Values.networkPolicy.apiServerPorts }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
  {{- with .Values.networkPolicy.apiServerAddresses }}
  to:
    {{- range . }}
    - ipBlock: {cidr: {{ . | quote }}}
    {{- end }}
  {{- end }}
{{- end }}
