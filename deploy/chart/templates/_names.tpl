{{/* Names and labels of every object. */}}

{{- define "rds-csi.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 53 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{/* Helm adds app.kubernetes.io/managed-by itself; plain manifests are nobody's. */}}
{{- define "rds-csi.labels" -}}
{{ include "rds-csi.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "rds-csi.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "rds-csi.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (.tag | default $.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "rds-csi.cluster-secret" -}}
{{- .Values.clusterSecret.name | default (printf "%s-cluster" (include "rds-csi.fullname" .)) -}}
{{- end }}

{{/* The Secret of a box's private key: the user's, or ours. Takes the root, the box' name and the box. */}}
{{- define "rds-csi.ssh-secret" -}}
{{- $key := .box.private_key | default dict -}}
{{- $key.existing_secret | default (printf "%s-ssh-%s" (include "rds-csi.fullname" .root) .name) -}}
{{- end }}

{{- define "rds-csi.controller-account" -}}
{{- printf "%s-controller" (include "rds-csi.fullname" .) -}}
{{- end }}

{{/* What every container may do: nothing that it does not need. */}}
{{- define "rds-csi.container-security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* A ClusterRoleBinding for the controller's account. Takes the root and the part of the name. */}}
{{- define "rds-csi.cluster-binding" -}}
{{- $fullname := include "rds-csi.fullname" .root -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: {{ $fullname }}-{{ .part }}
  labels: {{- include "rds-csi.labels" .root | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: {{ $fullname }}-{{ .part }}
subjects:
  - kind: ServiceAccount
    name: {{ include "rds-csi.controller-account" .root }}
    namespace: {{ .root.Release.Namespace }}
{{- end }}

{{/* The same for a Role. */}}
{{- define "rds-csi.binding" -}}
{{- $fullname := include "rds-csi.fullname" .root -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ $fullname }}-{{ .part }}
  namespace: {{ .root.Release.Namespace }}
  labels: {{- include "rds-csi.labels" .root | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ $fullname }}-{{ .part }}
subjects:
  - kind: ServiceAccount
    name: {{ include "rds-csi.controller-account" .root }}
    namespace: {{ .root.Release.Namespace }}
{{- end }}
