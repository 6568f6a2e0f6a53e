#!/bin/bash
# Health check script for monitoring

HEALTH_URL="http://localhost:8001/health"

RESPONSE=$(curl -s -o /dev/null -w "%{http_code}" "${HEALTH_URL}")

if [ "${RESPONSE}" = "200" ]; then
  echo "API server is healthy"
  exit 0
else
  echo "API server is unhealthy (HTTP ${RESPONSE})"
  exit 1
fi
