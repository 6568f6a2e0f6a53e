{{/*
CEL expressions that several policies use. `authorizer` asks the cluster's own authorizer about the user of the request, so no
policy contains the name of a user. docs/security.md lists the rules.
*/}}

{{/* "true" if the policies are installed. Role-only mode installs no cluster-wide objects. */}}
{{- define "operator.admissionPolicies" -}}
{{- if and .Values.admissionPolicies.enabled (not .Values.watchNamespaces) -}}true{{- end -}}
{{- end }}

{{/* The user is the operator, or may do all that the operator does: only these may write the status of a backup. */}}
{{- define "operator.isOperator" -}}
authorizer.group('mcpgateway.dev').resource('gatewaybackups').subresource('status').namespace(request.namespace).check('update').allowed()
{{- end }}

{{/*
The user may `patch` this object but not `update` it. The operator sends only patches, so its Roles do not contain `update`; the
Roles of administrators and of Kubernetes' own controllers contain both. So these policies never restrict anyone else.
*/}}
{{- define "operator.mayNotUpdate" -}}
!authorizer.group(request.resource.group).resource(request.resource.resource).namespace(request.namespace).name(request.name).check('update').allowed()
{{- end }}

{{/* The user may delete the object of the request. */}}
{{- define "operator.mayDelete" -}}
authorizer.group('mcpgateway.dev').resource(request.resource.resource).namespace(request.namespace).name(request.name).check('delete').allowed()
{{- end }}

{{/* The user may delete every GatewayBackup of the namespace. */}}
{{- define "operator.mayDeleteBackups" -}}
authorizer.group('mcpgateway.dev').resource('gatewaybackups').namespace(request.namespace).check('delete').allowed()
{{- end }}

{{/* The end of a message: the command that grants the verb `delete` for the resource in the variable `resource`. */}}
{{- define "operator.grantDelete" -}}
'To grant it: kubectl -n ' + request.namespace + ' create role ' + variables.resource + '-delete --verb=delete --resource=' + variables.resource + '.mcpgateway.dev && kubectl -n ' + request.namespace + ' create rolebinding ' + variables.resource + '-delete --role=' + variables.resource + '-delete --user=' + request.userInfo.username
{{- end }}

{{/* The end of a message: the command that grants the verb `apply` on gatewayrestores. */}}
{{- define "operator.grantApply" -}}
'To grant it: kubectl -n ' + request.namespace + ' create role gatewayrestores-apply --verb=apply --resource=gatewayrestores.mcpgateway.dev && kubectl -n ' + request.namespace + ' create rolebinding gatewayrestores-apply --role=gatewayrestores-apply --user=' + request.userInfo.username
{{- end }}

{{/* The binding of a policy, in all namespaces. The argument is a list of the root context and the policy's suffix. */}}
{{- define "operator.admissionBinding" -}}
{{- $root := index . 0 -}}
{{- $name := printf "%s-%s" (include "operator.fullname" $root) (index . 1) -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ $name }}
  labels: {{- include "operator.labels" $root | nindent 4 }}
spec:
  policyName: {{ $name }}
  validationActions: [Deny]
{{- end }}
