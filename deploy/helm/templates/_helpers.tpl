{{- define "memory.name" -}}
{{- printf "%s-%s" .Release.Name "memory" | trunc 24 | trimSuffix "-" -}}
{{- end -}}

{{- define "memory.labels" -}}
app.kubernetes.io/name: coinswarm-memory
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{/* Which pods: {root, component, group}. */}}
{{- define "memory.selector" -}}
app.kubernetes.io/name: coinswarm-memory
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- with .group }}
coinswarm/group: {{ . }}
{{- end }}
{{- end -}}

{{- define "memory.redisName" -}}
{{- printf "%s-redis-%s" (include "memory.name" .root) .group -}}
{{- end -}}

{{- define "memory.sentinelName" -}}
{{- printf "%s-sentinel-%s" (include "memory.name" .root) .group -}}
{{- end -}}

{{/* The domain of a StatefulSet's pods: {root, set}. Absolute, so that no search list is walked. */}}
{{- define "memory.domain" -}}
{{- printf "%s.%s.svc.%s" .set .root.Release.Namespace .root.Values.clusterDomain -}}
{{- end -}}

{{/* The Sentinels of a group. The kubelet puts the password in: it is in no rendered file. */}}
{{- define "memory.sentinelUrls" -}}
{{- $set := include "memory.sentinelName" . -}}
{{- $domain := include "memory.domain" (dict "root" .root "set" $set) -}}
{{- $urls := list -}}
{{- range until 3 -}}
{{- $urls = append $urls (printf "redis://:$(REDIS_PASSWORD)@%s-%d.%s:26379" $set . $domain) -}}
{{- end -}}
{{- join "," $urls -}}
{{- end -}}

{{- define "memory.redisSecret" -}}
{{- .Values.redis.existingSecret | default (printf "%s-redis" (include "memory.name" .)) -}}
{{- end -}}

{{- define "memory.passwordVariable" -}}
- name: REDIS_PASSWORD
  valueFrom:
    secretKeyRef: {name: {{ include "memory.redisSecret" . }}, key: redis-password}
{{- end -}}

{{- define "memory.restricted" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* One pod of a component on each machine, where there are enough machines: as memory.selector. */}}
{{- define "memory.spread" -}}
podAntiAffinity:
  preferredDuringSchedulingIgnoredDuringExecution:
    - weight: 100
      podAffinityTerm:
        topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels:
            {{- include "memory.selector" . | nindent 12 }}
{{- end -}}
