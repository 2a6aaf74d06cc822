{{/* Names. Long enough for the longest suffix and a StatefulSet's own. */}}
{{- define "stats-gateway.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 48 | trimSuffix "-" }}
{{- end }}

{{- define "stats-gateway.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 48 | trimSuffix "-" }}
{{- else if contains (include "stats-gateway.name" .) .Release.Name -}}
{{- .Release.Name | trunc 48 | trimSuffix "-" }}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "stats-gateway.name" .) | trunc 48 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "stats-gateway.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "stats-gateway.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* Labels; called with (list . "component"). */}}
{{- define "stats-gateway.selector" -}}
{{- $root := first . -}}
app.kubernetes.io/name: {{ include "stats-gateway.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ last . }}
{{- end }}

{{- define "stats-gateway.labels" -}}
{{- $root := first . -}}
{{ include "stats-gateway.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The address families of a Service. */}}
{{- define "stats-gateway.families" -}}
{{- with .Values.ipv6 }}
{{- with .ipFamilyPolicy }}
ipFamilyPolicy: {{ . }}
{{- end }}
{{- with .ipFamilies }}
ipFamilies: {{ toJson . }}
{{- end }}
{{- end }}
{{- end }}

{{/* An image's name; called with (list image defaultTag). */}}
{{- define "stats-gateway.image" -}}
{{- $image := first . -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest }}
{{- else -}}
{{- printf "%s:%s" $image.repository (default (last .) $image.tag) }}
{{- end }}
{{- end }}

{{/* Pod Security "restricted"; what a pod has and what each container has. */}}
{{- define "stats-gateway.podSecurity" -}}
runAsNonRoot: true
{{- range $name := list "runAsUser" "runAsGroup" "fsGroup" }}
{{- with get $.Values.podSecurity $name }}
{{ $name }}: {{ int64 . }}
{{- end }}
{{- end }}
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "stats-gateway.containerSecurity" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Where the cache is: bundled, url, secret or memory. */}}
{{- define "stats-gateway.redis" -}}
{{- if .Values.redis.bundled.enabled -}}bundled
{{- else if .Values.redis.existingSecret.name -}}secret
{{- else if and .Values.redis.url (ne .Values.redis.url "memory://") -}}url
{{- else -}}memory
{{- end }}
{{- end }}

{{- define "stats-gateway.redisPasswordSecret" -}}
{{- $existing := .Values.redis.bundled.existingSecret }}
{{- default (printf "%s-redis" (include "stats-gateway.fullname" .)) $existing.name }}
{{- end }}

{{- define "stats-gateway.redisPasswordKey" -}}
{{- with .Values.redis.bundled.existingSecret }}{{ if .name }}{{ .key }}{{ else }}password{{ end }}{{ end }}
{{- end }}

{{/* Whether there is an admin token. */}}
{{- define "stats-gateway.hasToken" -}}
{{- if or .Values.secrets.adminToken .Values.secrets.existingSecret -}}true{{- end }}
{{- end }}

{{/* The Secret with keys and token. */}}
{{- define "stats-gateway.secretName" -}}
{{- default (include "stats-gateway.fullname" .) .Values.secrets.existingSecret }}
{{- end }}

{{- define "stats-gateway.tenantsSecret" -}}
{{- default (printf "%s-tenants" (include "stats-gateway.fullname" .)) .Values.registry.existingSecret }}
{{- end }}

{{/* Processes there may be: the most replicas, one more while they roll, times workers. */}}
{{- define "stats-gateway.fleetSize" -}}
{{- $most := .Values.autoscaling.enabled | ternary .Values.autoscaling.maxReplicas .Values.replicaCount | int64 -}}
{{- $surge := eq (include "stats-gateway.redis" .) "memory" | ternary 0 1 -}}
{{- mul (add $most $surge) (default 1 .Values.settings.workers | int64) }}
{{- end }}

{{/* Seconds: the gateway's own defaults where the settings say nothing. */}}
{{- define "stats-gateway.seconds" -}}
{{- $settings := (first .).Values.settings -}}
{{- $defaults := dict "upstream_timeout" 20 "caller_timeout" 30 "drain_seconds" 5 -}}
{{- $name := last . -}}
{{- get (hasKey $settings $name | ternary $settings $defaults) $name | float64 | ceil | int64 }}
{{- end }}

{{/* After SIGTERM: the drain, then requests in flight, then flights that nobody waits for, each with some slack. */}}
{{- define "stats-gateway.gracePeriod" -}}
{{- $told := .Values.lifecycle.terminationGracePeriodSeconds -}}
{{- if kindIs "invalid" $told -}}
{{- $call := include "stats-gateway.seconds" (list . "upstream_timeout") | int64 -}}
{{- $drain := include "stats-gateway.seconds" (list . "drain_seconds") | int64 -}}
{{- add (int64 .Values.lifecycle.preStopSeconds) $drain $call 5 $call 10 }}
{{- else -}}
{{- int64 $told }}
{{- end }}
{{- end }}

{{/* Which series of the metrics are this release's. */}}
{{- define "stats-gateway.series" -}}
{{- $ours := printf "namespace=%q,job=%q" .Release.Namespace (printf "%s-admin" (include "stats-gateway.fullname" .)) -}}
{{- default $ours .Values.metrics.prometheusRule.selector }}
{{- end }}

{{/* What no schema can say. */}}
{{- define "stats-gateway.check" -}}
{{- $v := .Values -}}
{{- $redis := include "stats-gateway.redis" . -}}
{{- $places := list -}}
{{- if $v.redis.bundled.enabled }}{{ $places = append $places "redis.bundled.enabled" }}{{ end -}}
{{- if $v.redis.url }}{{ $places = append $places "redis.url" }}{{ end -}}
{{- if $v.redis.existingSecret.name }}{{ $places = append $places "redis.existingSecret.name" }}{{ end -}}
{{- if gt (len $places) 1 -}}
{{- fail (printf "\n\nredis: only one of these can say where Redis is: %s" (join ", " $places)) -}}
{{- end -}}
{{- if eq $redis "memory" -}}
{{- $many := list -}}
{{- if gt (int64 $v.replicaCount) 1 }}{{ $many = append $many "replicaCount" }}{{ end -}}
{{- if $v.autoscaling.enabled }}{{ $many = append $many "autoscaling.enabled" }}{{ end -}}
{{- if gt (int64 (default 1 $v.settings.workers)) 1 }}{{ $many = append $many "settings.workers" }}{{ end -}}
{{- if $many -}}
{{- fail (printf "\n\n%s: without Redis there can be only one process, else each would ask the service on its own. Set redis.bundled.enabled, redis.url or redis.existingSecret.name, or: replicaCount=1, autoscaling.enabled=false, settings.workers=1" (join ", " $many)) -}}
{{- end -}}
{{- if and (eq $v.registry.kind "redis") (not $v.registry.redisSecret.name) -}}
{{- fail "\n\nregistry.kind=redis: without Redis the tenants would be lost with the pod. Set one of redis.bundled.enabled, redis.url, redis.existingSecret.name, or registry.redisSecret.name" -}}
{{- end -}}
{{- end -}}
{{- if and (contains "$(REDIS_PASSWORD)" $v.redis.url) (not $v.redis.passwordSecret.name) -}}
{{- fail "\n\nredis.url holds $(REDIS_PASSWORD): say in redis.passwordSecret.name which Secret has it" -}}
{{- end -}}
{{- if and $v.redis.passwordSecret.name (not (contains "$(REDIS_PASSWORD)" $v.redis.url)) -}}
{{- fail "\n\nredis.passwordSecret.name: say in redis.url where it goes, as redis://:$(REDIS_PASSWORD)@host:6379/0" -}}
{{- end -}}
{{- if and $v.networkPolicy.enabled (eq $redis "url") -}}
{{- $open := list -}}
{{- range $v.networkPolicy.redis.ports }}{{ $open = append $open (int64 .) }}{{ end -}}
{{- range splitList "," (regexReplaceAll "^[a-z+]+://(.*@)?([^/?]*).*$" $v.redis.url "${2}") -}}
{{- $port := regexFind ":[0-9]+$" . | trimPrefix ":" -}}
{{- if and $port (not (has (int64 $port) $open)) -}}
{{- fail (printf "\n\nnetworkPolicy.redis.ports: redis.url names port %s, and the policy would let nobody out to it" $port) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $v.redis.sentinelPasswordSecret.name (not (or (contains "+sentinel://" $v.redis.url) $v.redis.existingSecret.name $v.registry.redisSecret.name)) -}}
{{- fail "\n\nredis.sentinelPasswordSecret.name: there are no sentinels; redis.url would begin with redis+sentinel:// or rediss+sentinel://" -}}
{{- end -}}
{{- if and $v.secrets.existingSecret (or $v.secrets.encryptionKeys $v.secrets.adminToken) -}}
{{- fail "\n\nsecrets: either existingSecret, or encryptionKeys and adminToken" -}}
{{- end -}}
{{- if and $v.registry.existingSecret $v.registry.tenants -}}
{{- fail "\n\nregistry: either existingSecret or tenants" -}}
{{- end -}}
{{- if eq $v.registry.kind "redis" -}}
{{- if or $v.registry.existingSecret $v.registry.tenants -}}
{{- fail "\n\nregistry.kind=redis: tenants and existingSecret are for kind=file; move them with `stats-gateway tenant import`" -}}
{{- end -}}
{{- if not (or $v.secrets.encryptionKeys $v.secrets.existingSecret) -}}
{{- fail "\n\nregistry.kind=redis needs secrets.encryptionKeys (`stats-gateway secrets generate` makes one) or secrets.existingSecret" -}}
{{- end -}}
{{- end -}}
{{- if and $v.metrics.serviceMonitor.enabled (not $v.admin.podNetwork) -}}
{{- fail "\n\nmetrics.serviceMonitor.enabled: Prometheus cannot reach the loopback of a pod; set admin.podNetwork=true" -}}
{{- end -}}
{{- if $v.admin.podNetwork -}}
{{- if not (include "stats-gateway.hasToken" .) -}}
{{- fail "\n\nadmin.podNetwork: the admin API would be reachable without a token of your own; set secrets.adminToken or secrets.existingSecret" -}}
{{- end -}}
{{- if not (or $v.networkPolicy.enabled $v.networkPolicy.managedElsewhere) -}}
{{- fail "\n\nadmin.podNetwork: every pod of the cluster could reach the admin port; set networkPolicy.enabled=true, or networkPolicy.managedElsewhere=true where something else keeps them out" -}}
{{- end -}}
{{- if and $v.networkPolicy.enabled (not $v.networkPolicy.prometheus) -}}
{{- fail "\n\nadmin.podNetwork: nobody could reach the admin port; name Prometheus in networkPolicy.prometheus" -}}
{{- end -}}
{{- end -}}
{{- if and $v.httpRoute.enabled (not $v.httpRoute.parentRefs) -}}
{{- fail "\n\nhttpRoute.parentRefs: which Gateway?" -}}
{{- end -}}
{{- if and $v.autoscaling.enabled (not (dig "requests" "cpu" "" $v.resources)) -}}
{{- fail "\n\nautoscaling.enabled: a percentage of which CPU? Set resources.requests.cpu" -}}
{{- end -}}
{{- if and $v.autoscaling.enabled (gt (int64 $v.autoscaling.minReplicas) (int64 $v.autoscaling.maxReplicas)) -}}
{{- fail "\n\nautoscaling: minReplicas is more than maxReplicas" -}}
{{- end -}}
{{- $drain := include "stats-gateway.seconds" (list . "drain_seconds") | int64 -}}
{{- if lt (include "stats-gateway.gracePeriod" . | int64) (add $v.lifecycle.preStopSeconds $drain) -}}
{{- fail "\n\nlifecycle.terminationGracePeriodSeconds: shorter than lifecycle.preStopSeconds and settings.drain_seconds together; pods would be killed while they drain" -}}
{{- end -}}
{{- end }}

{{/* The value of an environment variable with the cache's URL. */}}
{{- define "stats-gateway.redisUrl" -}}
{{- $redis := include "stats-gateway.redis" . -}}
{{- if eq $redis "bundled" -}}
value: {{ printf "redis://:$(REDIS_PASSWORD)@%s-redis:6379/0" (include "stats-gateway.fullname" .) | quote }}
{{- else if eq $redis "secret" -}}
valueFrom: {secretKeyRef: {name: {{ .Values.redis.existingSecret.name }}, key: {{ quote .Values.redis.existingSecret.key }}}}
{{- else if eq $redis "memory" -}}
value: memory://
{{- else if .Values.redis.passwordSecret.name -}}
value: {{ quote .Values.redis.url }}
{{- else -}}
valueFrom: {secretKeyRef: {name: {{ include "stats-gateway.fullname" . }}, key: redis-url}}
{{- end }}
{{- end }}
