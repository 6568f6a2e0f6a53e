// Checks the dashboard of the chart with the types of Grafana: see main.go.
module gateway-backup-operator/tests/operator/monitoring/grafana_schema

go 1.25

require github.com/grafana/grafana-foundation-sdk/go v0.0.22
