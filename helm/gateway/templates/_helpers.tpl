{{/*
The name of all objects: the name of the release, so that users know what to write into gatewayRef. Dots are replaced, because
a DNS label has none. A shortened name ends in a digest of the full name, so that two long names stay different.
*/}}
{{- define "gateway.fullname" -}}
{{- $name := .Values.fullnameOverride | default .Release.Name | replace "." "-" -}}
{{- if not (regexMatch "^[a-z]" $name) -}}
{{- fail (printf "the Service cannot be called %q: its name must begin with a letter. Use another release name or set fullnameOverride." $name) -}}
{{- end -}}
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

{{/* Labels of the objects that make Secrets. They must not match the selectors of the Deployment and the Service. */}}
{{- define "gateway.hookLabels" -}}
{{ include "gateway.commonLabels" . }}
app.kubernetes.io/name: secure-mcp-gateway-make-secrets
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "gateway.version" -}}
{{- .Values.gateway.version | default .Values.gateway.image.tag -}}
{{- end }}

{{/* Image reference from a list of {repository, tag, digest} and the default tag. */}}
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
Name of the Secret from which the operator reads the CA. The hook stores a copy of the CA in the Secret with the admin key that
it creates, so that the operator needs no access to the Secret with the TLS private key. The hook does not change Secrets that
users created; then the operator reads the CA from the Secret with the certificate.
*/}}
{{- define "gateway.caSecret" -}}
{{- $own := or .Values.adminKey.existingSecret .Values.tls.existingSecret | empty | not -}}
{{- .Values.tls.caSecret | default ($own | ternary (include "gateway.tlsSecret" .) (include "gateway.adminSecret" .)) -}}
{{- end }}

{{- define "gateway.signingSecret" -}}
{{- .Values.signing.existingSecret | default (printf "%s-signing" (include "gateway.fullname" .)) -}}
{{- end }}

{{/* "true" if the chart renews the certificate, otherwise empty. */}}
{{- define "gateway.renewsCertificate" -}}
{{- if and .Values.tls.enabled (not .Values.tls.existingSecret) .Values.tls.renewalSchedule -}}true{{- end -}}
{{- end }}

{{/* "true" if the hook must create at least one Secret, otherwise empty. */}}
{{- define "gateway.makesSecrets" -}}
{{- $own := and .Values.adminKey.existingSecret .Values.signing.existingSecret -}}
{{- if or (not $own) (and .Values.tls.enabled (not .Values.tls.existingSecret)) -}}true{{- end -}}
{{- end }}

{{/*
The public keys that the admin API reads at its start, as data of a ConfigMap; empty if there are none. `range` sorts them, so
that each render gives the same text.
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
The restricted Pod Security Standard and more. All containers have the same uid: the gateway and the admin API both replace the
config file, and only its owner may do that. Without podSecurityContext the cluster assigns the uid, as OpenShift does.
*/}}
{{- define "gateway.podSecurityContext" -}}
runAsNonRoot: true
{{- with .Values.podSecurityContext }}
{{ toYaml . }}
{{- end }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "gateway.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Environment variables that the gateway's code needs in every container. */}}
{{- define "gateway.environment" -}}
# The import of the gateway's command line fails in a container without these two.
- {name: HOST_OS, value: linux}
- {name: HOST_ENKRYPT_HOME, value: /app/.enkrypt}
- {name: HOME, value: /tmp}
# Otherwise the gateway installs packages at its start, which fails on a read-only root file system.
- {name: SKIP_DEPENDENCY_INSTALL, value: "true"}
{{- end }}

{{/* A PersistentVolumeClaim from a list of the root context, the suffix of its name and the persistence values. */}}
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

{{/*
The pod of a hook or of a CronJob of this chart, from a list of the root context, the name of its ServiceAccount, its labels and
the fields of its container, both as text.
*/}}
{{- define "gateway.hookPod" -}}
{{- $account := index . 1 -}}
{{- $labels := index . 2 -}}
{{- $container := index . 3 -}}
{{- with index . 0 -}}
metadata:
  labels:
    {{- $labels | nindent 4 }}
    {{- with .Values.hooks.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .Values.hooks.podAnnotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  restartPolicy: Never
  serviceAccountName: {{ $account }}
  automountServiceAccountToken: true
  enableServiceLinks: false
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.hooks.priorityClassName | default .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  securityContext: {{- include "gateway.podSecurityContext" . | nindent 4 }}
  containers:
    - image: {{ include "gateway.image" (list .Values.operator.image .Chart.AppVersion) | quote }}
      imagePullPolicy: {{ .Values.operator.image.pullPolicy }}
      {{- $container | nindent 6 }}
      resources: {{- toYaml .Values.hooks.resources | nindent 8 }}
      securityContext: {{- include "gateway.containerSecurityContext" . | nindent 8 }}
      volumeMounts:
        - {name: tmp, mountPath: /tmp}
  volumes:
    - name: tmp
      emptyDir: {sizeLimit: 16Mi}
  {{- with .Values.hooks.nodeSelector | default .Values.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.hooks.tolerations | default .Values.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.hooks.affinity | default .Values.affinity }}
  affinity: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}

{{/*
The container that creates missing Secrets and renews certificates, from a list of the root context and whether it also creates
the signing key.
*/}}
{{- define "gateway.makeSecretsContainer" -}}
{{- $signs := index . 1 -}}
{{- with index . 0 -}}
name: {{ ternary "make-secrets" "renew-certificate" $signs }}
command: [gateway-operator]
args:
  - make-secrets
  - --namespace={{ .Release.Namespace }}
  - --workload={{ include "gateway.fullname" . }}
  - --label=app.kubernetes.io/part-of=gateway-backup-operator
  - --label=app.kubernetes.io/instance={{ .Release.Name }}
  {{- if not .Values.adminKey.existingSecret }}
  - --admin-secret={{ include "gateway.adminSecret" . }}
  {{- end }}
  {{- if and .Values.tls.enabled (not .Values.tls.existingSecret) }}
  - --tls-secret={{ include "gateway.tlsSecret" . }}
  {{- end }}
  {{- if and $signs (not .Values.signing.existingSecret) }}
  - --signing-secret={{ include "gateway.signingSecret" . }}
  {{- end }}
{{- end }}
{{- end }}

{{/* Their pod, from a list of the root context, the name of its ServiceAccount, and whether it also creates the signing key. */}}
{{- define "gateway.makeSecretsPod" -}}
{{- $root := index . 0 -}}
{{- $container := include "gateway.makeSecretsContainer" (list $root (index . 2)) -}}
{{- include "gateway.hookPod" (list $root (index . 1) (include "gateway.hookLabels" $root) $container) -}}
{{- end }}

{{/* Egress rules to DNS and to the API server. DNS may run on the node, so its rule names no address. */}}
{{- define "gateway.apiServerEgress" -}}
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
