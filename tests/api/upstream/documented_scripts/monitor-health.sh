#!/bin/bash
# monitor-health.sh - Continuous health monitoring

API_URL="http://localhost:8001"
ADMIN_KEY="your-admin-key"
SLACK_WEBHOOK="https://hooks.slack.com/services/YOUR/WEBHOOK/URL"
CHECK_INTERVAL=60  # seconds

function send_alert() {
  local message="$1"
  curl -X POST "${SLACK_WEBHOOK}" \
    -H "Content-Type: application/json" \
    -d "{\"text\": \"🚨 Gateway Alert: ${message}\"}"
}

while true; do
  # Basic health check
  RESPONSE=$(curl -s -o /dev/null -w "%{http_code}" "${API_URL}/health")

  if [ "${RESPONSE}" != "200" ]; then
    send_alert "API server is down (HTTP ${RESPONSE})"
  else
    # Detailed health check
    HEALTH_DATA=$(curl -s "${API_URL}/api/v1/system/health" \
      -H "Authorization: Bearer ${ADMIN_KEY}")

    STATUS=$(echo "${HEALTH_DATA}" | jq -r '.data.status')

    if [ "${STATUS}" != "healthy" ]; then
      send_alert "System status is ${STATUS}"
    fi
  fi

  sleep "${CHECK_INTERVAL}"
done
