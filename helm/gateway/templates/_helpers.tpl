{{/*
The name of everything: the release's, so that people know what to write into gatewayRef. A dot is no part of a DNS label. A
name that must be cut keeps a digest of the whole, so that two long releases do not meet.
*/}}
{{- define "gateway.fullname" -}}
{{- $name := .Values.fullnameOverride | default .Release.Name | replace "." "-" -}}
{{- if gt (len $name) 46 -}}
{{- printf "%s-%s" ($name | trunc 37 | trimSuffix "-") ($name | sha256sum | trunc 8) -}}
{{- else -}}
{{- $name -}}
{{- end -}}
{{- end }}

{{- define "gateway.selectorLabels" -}}
app.kubernetes.io/name: secure-mcp-gateway
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "gateway.commonLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ include "gateway.version" . | replace "+" "_" | trunc 63 | trimAll "-_." | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: gateway-backup-operator
{{- end }}

{{- define "gateway.labels" -}}
{{ include "gateway.commonLabels" . }}
{{ include "gateway.selectorLabels" . }}
{{- end }}

{{/* Labels of what the hook makes: never those that Deployment and Service select by. */}}
{{- define "gateway.hookLabels" -}}
{{ include "gateway.commonLabels" . }}
app.kubernetes.io/name: secure-mcp-gateway-make-secrets
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "gateway.version" -}}
{{- .Values.gateway.version | default .Values.gateway.image.tag -}}
{{- end }}

{{/* An image from {repository, tag, digest} and the version to take when there is no tag. */}}
{{- define "gateway.image" -}}
{{- $image := index . 0 -}}
{{ $image.repository }}:{{ $image.tag | default (index . 1) }}{{ with $image.digest }}@{{ . }}{{ end }}
{{- end }}

{{- define "gateway.adminSecret" -}}
{{- .Values.adminKey.existingSecret | default (printf "%s-admin" (include "gateway.fullname" .)) -}}
{{- end }}

{{- define "gateway.tlsSecret" -}}
{{- .Values.tls.existingSecret | default (printf "%s-admin-tls" (include "gateway.fullname" .)) -}}
{{- end }}

{{/*
Where the operator finds the CA. The hook puts a copy of it beside the admin key it makes, so that the operator need not read
the Secret with the admin API's private key. The Secrets of other people are left alone.
*/}}
{{- define "gateway.caSecret" -}}
{{- $own := or .Values.adminKey.existingSecret .Values.tls.existingSecret | empty | not -}}
{{- .Values.tls.caSecret | default ($own | ternary (include "gateway.tlsSecret" .) (include "gateway.adminSecret" .)) -}}
{{- end }}

{{- define "gateway.signingSecret" -}}
{{- .Values.signing.existingSecret | default (printf "%s-signing" (include "gateway.fullname" .)) -}}
{{- end }}

{{/* "true" while the hook has a Secret to make. */}}
{{- define "gateway.makesSecrets" -}}
{{- $own := and .Values.adminKey.existingSecret .Values.signing.existingSecret -}}
{{- if or (not $own) (and .Values.tls.enabled (not .Values.tls.existingSecret)) -}}true{{- end -}}
{{- end }}

{{/*
The public keys that the admin API reads at its start, as the data of a ConfigMap; empty where there are none. Sorted, since a
render must be the same twice.
*/}}
{{- define "gateway.publicKeys" -}}
{{- with .Values.encryption.recipients }}
recipients.txt: |
  {{- range . }}
  {{ . }}
  {{- end }}
{{- end }}
{{- with .Values.signing.trustedKeys }}
trusted-keys.pem: |
  {{- range $name, $key := . }}
  # {{ $name }}
  -----BEGIN PUBLIC KEY-----
  {{ regexFind "MCowBQYDK2VwAyEA[A-Za-z0-9+/]{43}=" $key }}
  -----END PUBLIC KEY-----
  {{- end }}
{{- end }}
{{- end }}

{{- define "gateway.trustedKeysConfigMap" -}}
{{- if .Values.signing.existingTrustedKeysConfigMap -}}
{{- .Values.signing.existingTrustedKeysConfigMap -}}
{{- else if .Values.signing.trustedKeys -}}
{{- include "gateway.fullname" . }}-public-keys
{{- end -}}
{{- end }}

{{- define "gateway.configClaim" -}}
{{- .Values.config.persistence.existingClaim | default (printf "%s-config" (include "gateway.fullname" .)) -}}
{{- end }}

{{- define "gateway.backupsClaim" -}}
{{- .Values.backups.persistence.existingClaim | default (printf "%s-backups" (include "gateway.fullname" .)) -}}
{{- end }}

{{/*
What the restricted Pod Security Standard asks of a pod, and more. One uid for all containers: gateway and admin API both
replace the config file, and only its owner may.
*/}}
{{- define "gateway.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "gateway.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* What the gateway's own code wants to know wherever it runs. */}}
{{- define "gateway.environment" -}}
# Without these two the gateway's command line refuses to be imported in a container.
- {name: HOST_OS, value: linux}
- {name: HOST_ENKRYPT_HOME, value: /app/.enkrypt}
- {name: HOME, value: /tmp}
# It would otherwise install packages at start, into a root that is read-only.
- {name: SKIP_DEPENDENCY_INSTALL, value: "true"}
{{- end }}

{{/* A claim from (root, part of its name, persistence). */}}
{{- define "gateway.claim" -}}
{{- $root := index . 0 -}}
{{- $persistence := index . 2 -}}
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: {{ include "gateway.fullname" $root }}-{{ index . 1 }}
  namespace: {{ $root.Release.Namespace }}
  labels: {{- include "gateway.labels" $root | nindent 4 }}
  {{- if or $persistence.keepOnUninstall $persistence.annotations }}
  annotations:
    {{- if $persistence.keepOnUninstall }}
    helm.sh/resource-policy: keep
    {{- end }}
    {{- with $persistence.annotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
spec:
  accessModes: [{{ $persistence.accessMode }}]
  {{- with $persistence.storageClassName }}
  storageClassName: {{ eq . "-" | ternary "" . | quote }}
  {{- end }}
  resources:
    requests: {storage: {{ $persistence.size }}}
{{- end }}
