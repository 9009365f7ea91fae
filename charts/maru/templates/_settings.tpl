{{/* "true" where replicas share a log, else empty. */}}
{{- define "maru.shared" -}}
{{- if ne (include "maru.log" .) "sqlite" -}}true{{- end -}}
{{- end -}}

{{/* Where the log is: sqlite, redis, postgres or nats. */}}
{{- define "maru.log" -}}
{{- if or .Values.redis.url .Values.redis.existingSecret -}}redis
{{- else if .Values.postgres.existingSecret -}}postgres
{{- else if .Values.nats.existingSecret -}}nats
{{- else -}}sqlite{{- end -}}
{{- end -}}

{{/* The ports of the store and of the broker beside it, as a JSON list in an object. */}}
{{- define "maru.storePorts" -}}
{{- $ports := .Values.networkPolicy.egress.storePorts -}}
{{- if kindIs "invalid" $ports -}}
  {{- $ports = get (dict "redis" (list 6379 26379) "postgres" (list 5432 6432) "nats" (list 4222) "sqlite" list) (include "maru.log" .) -}}
  {{- if and (eq .Values.broadcast "nats") (ne (include "maru.log" .) "nats") -}}{{- $ports = append $ports 4222 -}}{{- end -}}
  {{- range regexFindAll ":[0-9]+" .Values.kafka.servers -1 -}}{{- $ports = append $ports (trimPrefix ":" . | int) -}}{{- end -}}
{{- end -}}
{{- dict "ports" (uniq $ports) | toJson -}}
{{- end -}}

{{/* How replicas hear of new messages. */}}
{{- define "maru.broadcast" -}}
{{- default (ternary "memory" (include "maru.log" .) (eq (include "maru.log" .) "sqlite")) .Values.broadcast -}}
{{- end -}}

{{/* "true" where backends have keys, else empty. */}}
{{- define "maru.backends" -}}
{{- if or .Values.apiKeys.keys .Values.apiKeys.existingSecret .Values.apiKeys.fileSecret -}}true{{- end -}}
{{- end -}}

{{/* The name of the port where the HTTP API is. */}}
{{- define "maru.apiPort" -}}
{{- ternary "api" "internal" (not (kindIs "invalid" .Values.api.port)) -}}
{{- end -}}

{{/* "true" where the embedded log is in a volume that outlives the pod, else empty. */}}
{{- define "maru.persistent" -}}
{{- if and (not (include "maru.shared" .)) .Values.persistence.enabled -}}true{{- end -}}
{{- end -}}

{{/* A replica that is alone has nobody to move its clients to: the longer it takes, the longer they wait. */}}
{{- define "maru.preStopSeconds" -}}
{{- $given := .Values.drain.preStopSleepSeconds -}}
{{- if kindIs "invalid" $given -}}{{- ternary 5 0 (eq (include "maru.shared" .) "true") -}}{{- else -}}{{- include "maru.digits" $given -}}{{- end -}}
{{- end -}}

{{- define "maru.drainSeconds" -}}
{{- $given := .Values.drain.timeoutSeconds -}}
{{- if kindIs "invalid" $given -}}{{- ternary 20 2 (eq (include "maru.shared" .) "true") -}}{{- else -}}{{- include "maru.digits" $given -}}{{- end -}}
{{- end -}}

{{/* As long as an old replica takes to go: then it has gone before the next one is told to. */}}
{{- define "maru.minReadySeconds" -}}
{{- $given := .Values.minReadySeconds -}}
{{- if not (kindIs "invalid" $given) -}}{{- include "maru.digits" $given -}}
{{- else if include "maru.shared" . -}}{{- add (include "maru.preStopSeconds" .) (include "maru.drainSeconds" .) -}}
{{- else -}}0{{- end -}}
{{- end -}}

{{- define "maru.strategy" -}}
{{- default (ternary "RollingUpdate" "Recreate" (eq (include "maru.shared" .) "true")) .Values.updateStrategy.type -}}
{{- end -}}

{{/* A whole number as digits: numbers of values are floats to a template, and large ones print as 1e+06. */}}
{{- define "maru.digits" -}}
{{- if eq (kindOf .) "float64" -}}{{- if eq (floor .) . -}}{{ int64 . }}{{- else -}}{{ . }}{{- end -}}{{- else -}}{{ . }}{{- end -}}
{{- end -}}

{{/* A duration (1h30m, 250ms, 2.5: seconds) in whole milliseconds. */}}
{{- define "maru.milliseconds" -}}
{{- $units := dict "ms" 1.0 "s" 1000.0 "m" 60000.0 "h" 3600000.0 "d" 86400000.0 -}}
{{- $sum := 0.0 -}}
{{- range regexFindAll "[0-9.]+(ms|s|m|h|d)?" . -1 -}}
  {{- $unit := regexFind "[a-z]+$" . -}}
  {{- $sum = addf $sum (mulf (trimSuffix $unit . | float64) (get $units (default "s" $unit))) -}}
{{- end -}}
{{- int64 $sum -}}
{{- end -}}

{{/* The server's variables that are no secrets. Names of a log and a broadcast stand here too: with an empty secret the
server must refuse to start, and not fall back to a log of its own. */}}
{{- define "maru.settings" -}}
{{- $config := .Values.config -}}
{{- $env := dict
      "MARU_HOST" $config.host
      "MARU_PORT" "8080"
      "MARU_INTERNAL_HOST" $config.host
      "MARU_INTERNAL_PORT" "9090"
      "MARU_MESSAGE_LOG" (include "maru.log" .)
      "MARU_BROADCAST" (include "maru.broadcast" .)
      "MARU_REDIS_PREFIX" .Values.redis.prefix
      "MARU_REDIS_WAIT_REPLICAS" (include "maru.digits" .Values.redis.waitReplicas)
      "MARU_NATS_PREFIX" .Values.nats.prefix
      "MARU_NATS_REPLICAS" (include "maru.digits" .Values.nats.replicas)
      "MARU_SQLITE_PATH" "/data/maru.db"
      "MARU_DRAIN_TIMEOUT" (include "maru.drainSeconds" .)
      "MARU_ALLOWED_ORIGINS" (join "," $config.allowedOrigins)
      "MARU_JWT_LEEWAY" (include "maru.digits" .Values.auth.leeway)
      "MARU_JWT_MAX_LIFETIME" (include "maru.digits" .Values.auth.maxLifetime)
      "MARU_REVOCATION_LIFE" (include "maru.digits" .Values.auth.revocationLife)
      "MARU_TOKEN_GRACE" (include "maru.digits" .Values.auth.tokenGrace) -}}
{{- range $name, $variable := dict
      "pingInterval" "MARU_PING_INTERVAL" "pingTimeout" "MARU_PING_TIMEOUT" "maxChannels" "MARU_MAX_CHANNELS"
      "retentionEvents" "MARU_RETENTION_EVENTS" "retentionAge" "MARU_RETENTION_AGE"
      "admissionRate" "MARU_ADMISSION_RATE" "admissionBurst" "MARU_ADMISSION_BURST" "maxOutbound" "MARU_MAX_OUTBOUND"
      "maxRings" "MARU_MAX_RINGS" "maxConnections" "MARU_MAX_CONNECTIONS" "maxLogBytes" "MARU_MAX_LOG_BYTES"
      "addressConnections" "MARU_ADDRESS_CONNECTIONS" "addressUnconnected" "MARU_ADDRESS_UNCONNECTED"
      "eventLoop" "MARU_EVENT_LOOP" "logLevel" "MARU_LOG_LEVEL" "logFormat" "MARU_LOG_FORMAT"
      "logCommandsPerSecond" "MARU_LOG_COMMANDS_PER_SECOND" -}}
  {{- $value := index $config $name -}}
  {{- if not (kindIs "invalid" $value) -}}
    {{- $_ := set $env $variable (include "maru.digits" $value) -}}
  {{- end -}}
{{- end -}}
{{- if .Values.kafka.servers -}}
  {{- range $name, $variable := dict
        "servers" "MARU_KAFKA_SERVERS" "security" "MARU_KAFKA_SECURITY" "user" "MARU_KAFKA_USER"
        "mechanism" "MARU_KAFKA_MECHANISM" "topic" "MARU_KAFKA_TOPIC" "egressTopic" "MARU_KAFKA_EGRESS_TOPIC"
        "ingestTopic" "MARU_KAFKA_INGEST_TOPIC" "ingestGroup" "MARU_KAFKA_INGEST_GROUP" -}}
    {{- with index $.Values.kafka $name }}{{- $_ := set $env $variable . }}{{- end -}}
  {{- end -}}
{{- end -}}
{{- with $config.trustedProxies }}{{- $_ := set $env "MARU_TRUSTED_PROXIES" (join "," .) }}{{- end -}}
{{- with .Values.api.port }}{{- $_ := set $env "MARU_API_PORT" (include "maru.digits" .) }}{{- $_ := set $env "MARU_API_HOST" $config.host }}{{- end -}}
{{- if .Values.apiKeys.fileSecret }}{{- $_ := set $env "MARU_API_KEYS_FILE" "/etc/maru/api-keys/api-keys.json" }}{{- end -}}
{{- with .Values.auth.issuer }}{{- $_ := set $env "MARU_JWT_ISSUER" . }}{{- end -}}
{{- with .Values.auth.audience }}{{- $_ := set $env "MARU_JWT_AUDIENCE" . }}{{- end -}}
{{- with .Values.auth.previousUntil }}{{- $_ := set $env "MARU_JWT_SECRET_PREVIOUS_UNTIL" . }}{{- end -}}
{{- with .Values.auth.jwtPublicKey }}{{- $_ := set $env "MARU_JWT_PUBLIC_KEY" . }}{{- end -}}
{{- with .Values.auth.jwksUrl }}{{- $_ := set $env "MARU_JWT_JWKS_URL" . }}{{- end -}}
{{- if .Values.auth.jwksInsecure }}{{- $_ := set $env "MARU_JWT_JWKS_INSECURE" "1" }}{{- end -}}
{{- with .Values.auth.defaultGrants }}{{- $_ := set $env "MARU_DEFAULT_GRANTS" (toJson .) }}{{- end -}}
{{- if not (kindIs "map" $config.limits) }}{{- $_ := set $env "MARU_LIMITS" "off" -}}
{{- else if $config.limits }}{{- $_ := set $env "MARU_LIMITS" (toJson $config.limits) }}{{- end -}}
{{- with $config.limitTiers }}{{- $_ := set $env "MARU_LIMIT_TIERS" (toJson .) }}{{- end -}}
{{- with .Values.hook.url }}{{- $_ := set $env "MARU_HOOK_URL" . }}{{- end -}}
{{- with $config.channelRules }}{{- $_ := set $env "MARU_CHANNEL_RULES" (toJson .) }}{{- end -}}
{{- toYaml $env -}}
{{- end -}}

{{/* The port of a URL. Not by urlParse: its errors repeat the URL, and come before the checks do. */}}
{{- define "maru.urlPort" -}}
{{- $port := regexFind "^https?://[^/?#]*" . | regexFind ":[0-9]+$" | trimPrefix ":" -}}
{{- default (ternary "443" "80" (hasPrefix "https:" .)) $port -}}
{{- end -}}

{{/* The topic of events that other processes emit, in database 0. */}}
{{- define "maru.sharedTopic" -}}
{{- if eq .Values.redis.prefix "maru:2:" -}}socketio{{- else -}}{{ .Values.redis.prefix }}0:socketio{{- end -}}
{{- end -}}

{{/* Its secret variables: for each, the Secret and the key that hold it. */}}
{{- define "maru.secrets" -}}
{{- $own := include "maru.fullname" . -}}
{{- $found := dict -}}
{{- range $variable, $source := dict
      "MARU_JWT_SECRET" (dict "at" .Values.auth "inline" .Values.auth.jwtSecret)
      "MARU_REDIS_URL" (dict "at" .Values.redis "inline" .Values.redis.url)
      "MARU_POSTGRES_URL" (dict "at" .Values.postgres "inline" "")
      "MARU_NATS_URL" (dict "at" .Values.nats "inline" "")
      "MARU_KAFKA_PASSWORD" (dict "at" .Values.kafka "inline" "")
      "MARU_CLUSTER_SECRET" (dict "at" .Values.cluster "inline" "")
      "MARU_WEBHOOKS" (dict "at" .Values.webhooks "inline" "")
      "MARU_HOOK_SECRET" (dict "at" .Values.hook "inline" .Values.hook.secret)
      "MARU_API_KEYS" (dict "at" .Values.apiKeys "inline" .Values.apiKeys.keys) -}}
  {{- if $source.at.existingSecret -}}
    {{- $_ := set $found $variable (dict "name" $source.at.existingSecret "key" $source.at.existingSecretKey) -}}
  {{- else if $source.inline -}}
    {{- $_ := set $found $variable (dict "name" $own "key" $source.at.existingSecretKey) -}}
  {{- end -}}
{{- end -}}
{{- if and .Values.postgres.existingSecret .Values.postgres.listenUrlKey -}}
  {{- $_ := set $found "MARU_POSTGRES_LISTEN_URL" (dict "name" .Values.postgres.existingSecret "key" .Values.postgres.listenUrlKey) -}}
{{- end -}}
{{- with .Values.auth.previousSecret -}}
  {{- $_ := set $found "MARU_JWT_SECRET_PREVIOUS" (dict "name" . "key" $.Values.auth.previousSecretKey) -}}
{{- end -}}
{{- with .Values.hook.previousSecret -}}
  {{- $_ := set $found "MARU_HOOK_SECRET_PREVIOUS" (dict "name" . "key" $.Values.hook.previousSecretKey) -}}
{{- end -}}
{{- toYaml $found -}}
{{- end -}}

{{/* What the chart's own Secret holds; empty where it needs none. */}}
{{- define "maru.secretData" -}}
{{- $data := dict -}}
{{- if and .Values.auth.jwtSecret (not .Values.auth.existingSecret) }}{{- $_ := set $data .Values.auth.existingSecretKey .Values.auth.jwtSecret }}{{- end -}}
{{- if and .Values.redis.url (not .Values.redis.existingSecret) }}{{- $_ := set $data .Values.redis.existingSecretKey .Values.redis.url }}{{- end -}}
{{- if and .Values.hook.secret (not .Values.hook.existingSecret) }}{{- $_ := set $data .Values.hook.existingSecretKey .Values.hook.secret }}{{- end -}}
{{- if and .Values.apiKeys.keys (not .Values.apiKeys.existingSecret) }}{{- $_ := set $data .Values.apiKeys.existingSecretKey (join "," .Values.apiKeys.keys) }}{{- end -}}
{{- if $data }}{{- toYaml $data }}{{- end -}}
{{- end -}}
