{{/* The driver's configuration file. What is not set here keeps the driver's own default. */}}

{{/* `key = value` for everything in a table but tables. JSON's strings are TOML's. */}}
{{- define "rds-csi.toml" -}}
{{- range $key := keys . | sortAlpha }}
{{- $value := index $ $key }}
{{- if not (or (kindIs "invalid" $value) (kindIs "map" $value)) }}
{{ $key }} = {{ toJson $value }}
{{- end }}
{{- end }}
{{- end }}

{{- define "rds-csi.config" -}}
{{- $root := . -}}
# Made by the Helm chart. The reference of every key is config/default.toml.
{{- include "rds-csi.toml" (pick .Values.config "bare_ids" "default_backend") }}

[driver]
{{- include "rds-csi.toml" (dict "name" .Values.driverName "release" (include "rds-csi.fullname" .)) }}

[http]
listen = "{{ .Values.metrics.address }}:{{ .Values.metrics.port }}"
{{- range $table := list "log" "cluster" "agents" "grpc" "leader" "reconcile" "events" "shutdown" "node" "nvme" "backend_defaults" }}
{{- $keys := index $root.Values.config $table }}
{{- if eq $table "cluster" }}
{{- $keys = merge (dict "secret_name" (include "rds-csi.cluster-secret" $root)) $keys }}
{{- end }}
{{- if eq $table "agents" }}
{{- $keys = merge (dict "port" $root.Values.metrics.port) $keys (dict "ask" $root.Values.node.enabled) }}
{{- end }}
{{- if eq $table "node" }}
{{- $keys = merge (dict "kubelet_dir" $root.Values.node.kubeletDir "register" (not $root.Values.node.registrar.enabled)) $keys }}
{{- end }}
{{- if $keys }}

[{{ $table }}]
{{- include "rds-csi.toml" $keys }}
{{- end }}
{{- end }}
{{- range $name, $box := .Values.backends }}

[backends.{{ $name }}]
key_path = "/etc/rds-csi/ssh/{{ $name }}/key"
{{- include "rds-csi.toml" (omit $box "private_key" "host_key_from" "key_path") }}
{{- end }}
{{- end }}

{{/* Changes with every key that the driver does not follow while it runs, and with no other: only then
     are pods replaced. The keys left out are those that config/default.toml marks [live]. */}}
{{- define "rds-csi.restart-checksum" -}}
{{- $live := list "poll_interval" "poll_deadline" "command_deadline" "command_deadline_per_gib"
  "connect_deadline" "backoff_min" "backoff_max" "backoff_jitter" -}}
{{- $config := omit .Values.config "reconcile" "events" "shutdown" -}}
{{- $_ := set $config "log" (omit $config.log "level") -}}
{{- $defaults := deepCopy $config.backend_defaults -}}
{{- range $live }}{{ $_ := unset $defaults . }}{{ end -}}
{{- $_ := set $config "backend_defaults" $defaults -}}
{{- $boxes := deepCopy .Values.backends -}}
{{- range $boxes }}{{ $box := . }}{{ range $live }}{{ $_ := unset $box . }}{{ end }}{{ end -}}
{{- $others := list .Values.driverName .Values.metrics.address .Values.metrics.port .Values.node.enabled (include "rds-csi.cluster-secret" .) -}}
{{- toJson (list $config $boxes $others) | sha256sum -}}
{{- end }}

{{/* What a schema cannot say. `fail` is only a warning in `helm lint`. */}}
{{- define "rds-csi.checks" -}}
{{- if not .Values.backends -}}
{{- fail "backends: at least one box is needed; the head of values.yaml shows the least that it takes" -}}
{{- end -}}
{{- range $name, $box := .Values.backends -}}
{{- $key := $box.private_key | default dict -}}
{{- if and (not $key.existing_secret) (not $key.value) -}}
{{- fail (printf "backends.%s.private_key: existing_secret or value is needed" $name) -}}
{{- end -}}
{{- if and $key.existing_secret $key.value -}}
{{- fail (printf "backends.%s.private_key: existing_secret and value exclude each other" $name) -}}
{{- end -}}
{{- $pinned := or $box.host_key (($box.host_key_from | default dict).secret) $.Values.config.backend_defaults.host_key -}}
{{- if not $pinned -}}
{{- fail (printf "backends.%s.host_key: a host key is never trusted on first use; give it, or host_key_from.secret" $name) -}}
{{- end -}}
{{- end -}}
{{- range $key := list "bare_ids" "default_backend" -}}
{{- $name := index $.Values.config $key -}}
{{- if and (or $name (gt (len $.Values.backends) 1)) (not (hasKey $.Values.backends $name)) -}}
{{- fail (printf "config.%s: it must name one of %s" $key (keys $.Values.backends | sortAlpha | join ", ")) -}}
{{- end -}}
{{- end -}}
{{- $labels := dict "commonLabels" (.Values.commonLabels | default dict) "controller.podLabels" (.Values.controller.podLabels | default dict) -}}
{{- range $value, $given := $labels -}}
{{- range $own := list "name" "instance" "version" "component" -}}
{{- if hasKey $given (printf "app.kubernetes.io/%s" $own) -}}
{{- fail (printf "%s: app.kubernetes.io/%s is the chart's own" $value $own) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $defaults := list -}}
{{- range .Values.storageClasses }}{{ if .default }}{{ $defaults = append $defaults .name }}{{ end }}{{ end -}}
{{- if gt (len $defaults) 1 -}}
{{- fail (printf "storageClasses: only one can be the default, not all of %s" (join ", " $defaults)) -}}
{{- end -}}
{{- end }}
