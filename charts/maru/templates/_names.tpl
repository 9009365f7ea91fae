{{- define "maru.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Short enough for the longest suffix that is added to it. */}}
{{- define "maru.fullname" -}}
{{- $name := include "maru.name" . -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $full .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "maru.serviceAccountName" -}}
{{- default (ternary (include "maru.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name -}}
{{- end -}}

{{- define "maru.selectorLabels" -}}
app.kubernetes.io/name: {{ include "maru.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: server
{{- end -}}

{{/* Of the chart's objects and its pods; a map, so that a label given twice is one, and the selectors' are ours. */}}
{{- define "maru.labels" -}}
{{- $own := dict
      "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
      "app.kubernetes.io/name" (include "maru.name" .)
      "app.kubernetes.io/instance" .Release.Name
      "app.kubernetes.io/component" "server"
      "app.kubernetes.io/version" .Chart.AppVersion
      "app.kubernetes.io/managed-by" .Release.Service -}}
{{- toYaml (mergeOverwrite (deepCopy .Values.commonLabels) $own) -}}
{{- end -}}

{{- define "maru.image" -}}
{{- $tag := default .Chart.AppVersion .Values.image.tag -}}
{{- .Values.image.repository -}}{{- if .Values.image.digest -}}@{{ .Values.image.digest }}{{- else -}}:{{ $tag }}{{- end -}}
{{- end -}}
