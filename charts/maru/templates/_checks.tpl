{{/* What a schema can't say: values that do not fit each other. Each message says what to change. */}}
{{- define "maru.check" -}}
{{- include "maru.checkName" . -}}
{{- include "maru.checkDrain" . -}}
{{- include "maru.checkTimes" . -}}
{{- include "maru.checkSecretNames" . -}}
{{- include "maru.checkSecrets" . -}}
{{- include "maru.checkSecretShapes" . -}}
{{- include "maru.checkReplicas" . -}}
{{- include "maru.checkRoutes" . -}}
{{- include "maru.checkNetwork" . -}}
{{- include "maru.checkEnv" . -}}
{{- end -}}

{{/* A release may be called 1chat or my.chat; a Service may not. */}}
{{- define "maru.checkName" -}}
{{- $full := include "maru.fullname" . -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $full) -}}
{{- fail (printf "fullnameOverride: the objects would be called %s after the release, and a Service's name is of a-z, 0-9 and -, and begins with a letter. Set fullnameOverride to such a name" $full) -}}
{{- end -}}
{{- end -}}

{{- define "maru.checkDrain" -}}
{{- $sleep := include "maru.preStopSeconds" . | int -}}
{{- $timeout := include "maru.drainSeconds" . | int -}}
{{- $margin := int .Values.drain.marginSeconds -}}
{{- $needed := add $sleep $timeout $margin -}}
{{- $grace := int .Values.terminationGracePeriodSeconds -}}
{{- if gt $needed (int64 $grace) -}}
{{- fail (printf "drain: preStopSleepSeconds (%v) + timeoutSeconds (%v) + marginSeconds (%v) = %v s is more than terminationGracePeriodSeconds (%v): the replica would be killed while it moves its clients. Raise terminationGracePeriodSeconds to %v or shorten the drain" $sleep $timeout $margin $needed $grace $needed) -}}
{{- end -}}
{{- end -}}

{{- define "maru.checkTimes" -}}
{{- $ready := include "maru.minReadySeconds" . | int -}}
{{- $deadline := int .Values.progressDeadlineSeconds -}}
{{- if le $deadline $ready -}}
{{- fail (printf "progressDeadlineSeconds (%v) must be more than minReadySeconds (%v), by the time that a start takes: else every update counts as failed. Raise progressDeadlineSeconds to %v" $deadline $ready (add $ready 60)) -}}
{{- end -}}
{{- $monitor := .Values.metrics.serviceMonitor -}}
{{- if gt (include "maru.milliseconds" $monitor.scrapeTimeout | int64) (include "maru.milliseconds" $monitor.interval | int64) -}}
{{- fail (printf "metrics.serviceMonitor: scrapeTimeout (%s) is more than interval (%s), which Prometheus refuses. Set scrapeTimeout to %s or less" $monitor.scrapeTimeout $monitor.interval $monitor.interval) -}}
{{- end -}}
{{- $age := include "maru.milliseconds" (include "maru.digits" .Values.config.retentionAge) | int64 -}}
{{- if or (lt $age 1000) (gt $age 3153600000000) -}}
{{- fail (printf "config.retentionAge: %v, expected a duration from 1s to 36500d" .Values.config.retentionAge) -}}
{{- end -}}
{{- range $pattern, $rule := .Values.config.channelRules -}}
{{- with $rule.retention_age -}}
{{- $kept := include "maru.milliseconds" (include "maru.digits" .) | int64 -}}
{{- if or (lt $kept 1000) (gt $kept 3153600000000) -}}
{{- fail (printf "config.channelRules: %s: retention_age: %v, expected a duration from 1s to 36500d" $pattern .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $config := .Values.config -}}
{{- range list "pingInterval" "pingTimeout" -}}
{{- $wait := include "maru.milliseconds" (include "maru.digits" (get $config .)) | int64 -}}
{{- if or (lt $wait 1) (gt $wait 3600000) -}}
{{- fail (printf "config.%s: %v, expected a duration from 1ms to 1h" . (get $config .)) -}}
{{- end -}}
{{- end -}}
{{- $auth := .Values.auth -}}
{{- range list "leeway" "tokenGrace" -}}
{{- if gt (include "maru.milliseconds" (include "maru.digits" (get $auth .)) | int64) 300000 -}}
{{- fail (printf "auth.%s: %v, expected a duration from 0 to 5m" . (get $auth .)) -}}
{{- end -}}
{{- end -}}
{{- if gt (include "maru.milliseconds" (include "maru.digits" $auth.maxLifetime) | int64) 3153600000000 -}}
{{- fail (printf "auth.maxLifetime: %v, expected a duration up to 36500d" $auth.maxLifetime) -}}
{{- end -}}
{{- $life := include "maru.milliseconds" (include "maru.digits" $auth.revocationLife) | int64 -}}
{{- if or (lt $life 60000) (gt $life 3153600000000) -}}
{{- fail (printf "auth.revocationLife: %v, expected a duration from 1m to 36500d" $auth.revocationLife) -}}
{{- end -}}
{{- end -}}

{{/* Not by the schema: it would print what was pasted here by mistake, such as the secret itself. */}}
{{- define "maru.checkSecretNames" -}}
{{- $values := .Values -}}
{{- range $name := list "auth.existingSecret" "auth.previousSecret" "redis.existingSecret" "postgres.existingSecret" "nats.existingSecret" "kafka.existingSecret" "cluster.existingSecret" "hook.existingSecret" "hook.previousSecret" "webhooks.existingSecret" "apiKeys.existingSecret" -}}
{{- $path := splitList "." $name -}}
{{- $at := get $values (first $path) -}}
{{- $secret := get $at (last $path) -}}
{{- if or (gt (len $secret) 253) (not (regexMatch "^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$" $secret)) -}}
{{- fail (printf "%s: expected the name of a Secret (a-z, 0-9, - and .), not what is in it" $name) -}}
{{- end -}}
{{- if not (regexMatch "^[-._a-zA-Z0-9]{1,253}$" (get $at (printf "%sKey" (last $path)))) -}}
{{- fail (printf "%sKey: expected a key of the Secret (letters, digits, -, _ and .), not what is under it" $name) -}}
{{- end -}}
{{- end -}}
{{- $file := $values.apiKeys.fileSecret -}}
{{- if or (gt (len $file) 253) (not (regexMatch "^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$" $file)) -}}
{{- fail "apiKeys.fileSecret: expected the name of a Secret (a-z, 0-9, - and .), not what is in it" -}}
{{- end -}}
{{- if not (regexMatch "^[-._a-zA-Z0-9]{1,253}$" $values.apiKeys.fileSecretKey) -}}
{{- fail "apiKeys.fileSecretKey: expected a key of the Secret (letters, digits, -, _ and .), not what is under it" -}}
{{- end -}}
{{- end -}}

{{- define "maru.checkSecrets" -}}
{{- $auth := .Values.auth -}}
{{- $given := list -}}
{{- range list "existingSecret" "jwtSecret" "jwtPublicKey" "jwksUrl" -}}
  {{- if get $auth . -}}{{- $given = append $given (printf "auth.%s" .) -}}{{- end -}}
{{- end -}}
{{- if not $given -}}
{{- fail "auth: no key to verify tokens with. Set auth.existingSecret (a Secret with the HS256 secret under its key jwt-secret), auth.jwtPublicKey (PEM), auth.jwksUrl, or, to try it out, auth.jwtSecret" -}}
{{- end -}}
{{- if gt (len $given) 1 -}}
{{- fail (printf "auth: %s are set, expected one of them" (join " and " $given)) -}}
{{- end -}}
{{- if and $auth.previousSecret (not (or $auth.existingSecret $auth.jwtSecret)) -}}
{{- fail "auth.previousSecret: set without the HS256 secret that comes after it. Set auth.existingSecret, or unset auth.previousSecret" -}}
{{- end -}}
{{- if and $auth.previousUntil (not $auth.previousSecret) -}}
{{- fail "auth.previousUntil: set without auth.previousSecret, whose end it is" -}}
{{- end -}}
{{- if not (regexMatch "^([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2}))?$" $auth.previousUntil) -}}
{{- fail (printf "auth.previousUntil: %s, expected a date and time such as 2027-01-31T12:00:00Z" $auth.previousUntil) -}}
{{- end -}}
{{- if and .Values.redis.url .Values.redis.existingSecret -}}
{{- fail "redis: redis.url and redis.existingSecret are set, expected one of them" -}}
{{- end -}}
{{- $log := include "maru.log" . -}}
{{- if and .Values.postgres.existingSecret (ne $log "postgres") -}}
{{- fail "postgres.existingSecret: set beside Redis, expected one of them: each would keep the log" -}}
{{- end -}}
{{- if and .Values.nats.existingSecret (ne $log "nats") (ne .Values.broadcast "nats") -}}
{{- fail (printf "nats.existingSecret: set beside %s, and nothing would use it. Set broadcast to nats" $log) -}}
{{- end -}}
{{- if and (eq .Values.broadcast "nats") (not .Values.nats.existingSecret) -}}
{{- fail "broadcast: nats, and nats.existingSecret is not set" -}}
{{- end -}}
{{- if and .Values.kafka.user (not .Values.kafka.existingSecret) -}}
{{- fail "kafka: kafka.user is set, and kafka.existingSecret, which holds the password, is not" -}}
{{- end -}}
{{- if and (or .Values.kafka.egressTopic .Values.kafka.ingestTopic) (not .Values.kafka.servers) -}}
{{- fail "kafka: a topic is set, and kafka.servers is not" -}}
{{- end -}}
{{- if and (eq .Values.broadcast "kafka") (not .Values.kafka.servers) -}}
{{- fail "broadcast: kafka, and kafka.servers is not set" -}}
{{- end -}}
{{- if and .Values.broadcast (eq $log "sqlite") -}}
{{- fail (printf "broadcast: %s, but each replica would keep a log of its own. Set redis.existingSecret or postgres.existingSecret" .Values.broadcast) -}}
{{- end -}}
{{- if and (eq .Values.broadcast "kafka") (eq $log "nats") -}}
{{- fail "broadcast: kafka, and the log is in NATS, which carries its own hints. Unset broadcast" -}}
{{- end -}}
{{- if and .Values.apiKeys.keys .Values.apiKeys.existingSecret -}}
{{- fail "apiKeys: apiKeys.keys and apiKeys.existingSecret are set, expected one of them" -}}
{{- end -}}
{{- $hook := .Values.hook -}}
{{- if and $hook.secret $hook.existingSecret -}}
{{- fail "hook: hook.secret and hook.existingSecret are set, expected one of them" -}}
{{- end -}}
{{- if and $hook.url (not (or $hook.secret $hook.existingSecret)) -}}
{{- fail "hook.url: set without a secret, by which the backend knows who asks. Set hook.existingSecret" -}}
{{- end -}}
{{- if and (not $hook.url) (or $hook.secret $hook.existingSecret $hook.previousSecret) -}}
{{- fail "hook: a secret is set, and hook.url is not. Set hook.url, or unset the secret" -}}
{{- end -}}
{{- range $pattern, $rule := .Values.config.channelRules -}}
  {{- if and $rule.hooks (not $hook.url) -}}
  {{- fail (printf "config.channelRules: %s names hooks, and hook.url is not set: there is no backend to ask" $pattern) -}}
  {{- end -}}
{{- end -}}
{{- $places := dict -}}
{{- range $group, $inline := dict "auth" $auth.jwtSecret "redis" .Values.redis.url "hook" $hook.secret "apiKeys" .Values.apiKeys.keys -}}
  {{- if $inline -}}
    {{- $key := (get $.Values $group).existingSecretKey -}}
    {{- with get $places $key -}}
      {{- fail (printf "%s.existingSecretKey and %s.existingSecretKey are both %s, and both secrets are given as values: in the chart's Secret one would take the other's place. Give one another key" . $group $key) -}}
    {{- end -}}
    {{- $_ := set $places $key $group -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* Not by the schema: it would print the value that it refuses. */}}
{{- define "maru.checkSecretShapes" -}}
{{- $auth := .Values.auth -}}
{{- if and $auth.jwtSecret (lt (len $auth.jwtSecret) 32) -}}
{{- fail (printf "auth.jwtSecret: %d bytes, expected at least 32; make one: openssl rand -hex 32" (len $auth.jwtSecret)) -}}
{{- end -}}
{{- if contains "PRIVATE KEY" $auth.jwtPublicKey -}}
{{- fail "auth.jwtPublicKey: holds a private key; the server takes the public key alone" -}}
{{- end -}}
{{- if and $auth.jwtPublicKey (not (contains "PUBLIC KEY-----" $auth.jwtPublicKey)) -}}
{{- fail "auth.jwtPublicKey: holds no public key in PEM (-----BEGIN PUBLIC KEY-----)" -}}
{{- end -}}
{{- if and $auth.jwksUrl (not (regexMatch "^https?://([^]@/#?:[[:space:]]+|[[][0-9A-Fa-f:.]+[]])(:[1-9][0-9]{0,4})?([/?][^#[:space:]]*)?$" $auth.jwksUrl)) -}}
{{- fail "auth.jwksUrl: expected a URL such as https://id.example.com/jwks.json, without a user or a password" -}}
{{- end -}}
{{- if and (hasPrefix "http://" $auth.jwksUrl) (not $auth.jwksInsecure) -}}
{{- fail "auth.jwksUrl: http, expected https: whoever is between could make tokens for everybody. If nobody can be, set auth.jwksInsecure" -}}
{{- end -}}
{{- if and .Values.redis.url (not (regexMatch "^(redis|rediss)([+](sentinel|cluster))?://." .Values.redis.url)) -}}
{{- fail "redis.url: expected redis://[user:password@]host:port/db, rediss://..., redis+sentinel://... or redis+cluster://... (or rediss+ of either)" -}}
{{- end -}}
{{- if and .Values.hook.url (not (regexMatch "^https?://([^]@/#?:[[:space:]]+|[[][0-9A-Fa-f:.]+[]])(:[1-9][0-9]{0,4})?([/?][^#[:space:]]*)?$" .Values.hook.url)) -}}
{{- fail "hook.url: expected a URL such as https://app.example.com/maru, or one of http, without a user and without #" -}}
{{- end -}}
{{- if and .Values.hook.secret (not (regexMatch "^whsec_[A-Za-z0-9+/=]{32,88}$" .Values.hook.secret)) -}}
{{- fail "hook.secret: expected whsec_ and 24 to 64 bytes in base64; make one: echo \"whsec_$(openssl rand -base64 32)\"" -}}
{{- end -}}
{{- range $index, $key := .Values.apiKeys.keys -}}
{{- if not (regexMatch "^[!-+\\--~]{16,256}$" $key) -}}
{{- fail (printf "apiKeys.keys[%d]: expected 16 to 256 printable ASCII characters without a comma" $index) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "maru.checkRoutes" -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) -}}
{{- fail "httpRoute.parentRefs: empty, so no Gateway would serve the route. Name one: [{name: my-gateway, namespace: gateways}]" -}}
{{- end -}}
{{- end -}}

{{- define "maru.checkNetwork" -}}
{{- $policy := .Values.networkPolicy -}}
{{- if and $policy.enabled $policy.egress.enabled (not $policy.egress.to) (not (include "maru.storePorts" . | fromJson).ports) (include "maru.shared" .) -}}
{{- fail "networkPolicy.egress: storePorts and to are empty, so no replica could reach its store, nor ever be ready. Name it in to: [{to: [{podSelector: {matchLabels: {app: redis}}}], ports: [{port: 6379, protocol: TCP}]}]" -}}
{{- end -}}
{{- end -}}

{{- define "maru.checkReplicas" -}}
{{- $strategy := .Values.updateStrategy -}}
{{- if and (include "maru.persistent" .) (eq (include "maru.strategy" .) "RollingUpdate") -}}
{{- fail "updateStrategy.type: RollingUpdate never finishes with the SQLite log in a volume: one server a file, so the new replica can't start before the old one has ended. Use Recreate, or Redis" -}}
{{- end -}}
{{- if and (eq (include "maru.strategy" .) "RollingUpdate") (has (toString $strategy.maxSurge) (list "0" "0%")) (has (toString $strategy.maxUnavailable) (list "0" "0%")) -}}
{{- fail "updateStrategy: maxSurge and maxUnavailable are both 0, so no replica could ever be replaced. Set maxSurge to 1" -}}
{{- end -}}
{{- $scaling := .Values.autoscaling -}}
{{- if $scaling.enabled -}}
{{- if not (include "maru.shared" .) -}}
{{- fail "autoscaling: without a shared store each replica keeps a log of its own, and people on different replicas do not see each other. Set redis.existingSecret, or autoscaling.enabled to false" -}}
{{- end -}}
{{- if gt (int $scaling.minReplicas) (int $scaling.maxReplicas) -}}
{{- fail (printf "autoscaling: minReplicas (%v) is more than maxReplicas (%v)" $scaling.minReplicas $scaling.maxReplicas) -}}
{{- end -}}
{{- if not (or $scaling.targetCPU $scaling.targetConnections) -}}
{{- fail "autoscaling: nothing to scale by. Set autoscaling.targetCPU, autoscaling.targetConnections, or both" -}}
{{- end -}}
{{- if and $scaling.targetCPU (not (dig "requests" "cpu" "" .Values.resources)) -}}
{{- fail "autoscaling.targetCPU is a share of resources.requests.cpu, which is not set" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "maru.checkEnv" -}}
{{- $own := concat (include "maru.settings" . | fromYaml | keys) (list "MARU_JWT_SECRET" "MARU_JWT_SECRET_PREVIOUS" "MARU_REDIS_URL" "MARU_CLUSTER_SECRET" "MARU_WEBHOOKS" "MARU_HOOK_SECRET" "MARU_HOOK_SECRET_PREVIOUS" "MARU_API_KEYS") -}}
{{- range .Values.extraEnv -}}
{{- if eq (upper .name) "MARU_DEV" -}}
{{- fail "extraEnv: MARU_DEV gives everybody tokens for every user; it is for a desk, not for a cluster" -}}
{{- end -}}
{{- if has (upper .name) $own -}}
{{- fail (printf "extraEnv: %s is set by the chart; use the value that the README names for it" .name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
