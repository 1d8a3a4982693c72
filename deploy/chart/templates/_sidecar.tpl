{{/* One sidecar. Takes the root, its name and its own arguments, already as a list.
     None has a livenessProbe: before its driver is ready a sidecar serves no health endpoint, and an
     outage of the box would become a crash loop. */}}
{{- define "rds-csi.sidecar" -}}
{{- $values := index .root.Values.sidecars .name -}}
{{- $port := add .root.Values.metrics.port .offset -}}
- name: csi-{{ .name }}
  image: {{ $values.image }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  args:
    - --csi-address=/csi/csi.sock
    - --v={{ .root.Values.sidecars.verbosity }}
    - --leader-election
    - --leader-election-namespace=$(NAMESPACE)
    - --retry-interval-max={{ .root.Values.sidecars.retryIntervalMax }}
    - --kube-api-qps={{ .root.Values.sidecars.kubeApiQps }}
    - --kube-api-burst={{ .root.Values.sidecars.kubeApiBurst }}
    {{- if .root.Values.metrics.sidecars }}
    - --http-endpoint=:{{ $port }}
    {{- end }}
    {{- range .args }}
    - {{ . }}
    {{- end }}
    {{- range $values.args }}
    - {{ quote . }}
    {{- end }}
  env:
    - name: POD_NAME
      valueFrom: { fieldRef: { fieldPath: metadata.name } }
    - name: NAMESPACE
      valueFrom: { fieldRef: { fieldPath: metadata.namespace } }
  {{- if .root.Values.metrics.sidecars }}
  ports:
    - name: {{ .name }}
      containerPort: {{ $port }}
  {{- end }}
  securityContext: {{- include "rds-csi.container-security" . | nindent 4 }}
  resources: {{- toYaml $values.resources | nindent 4 }}
  volumeMounts:
    - name: socket
      mountPath: /csi
{{- end }}
