#!/bin/bash
ADMIN_KEY="your-admin-key"

curl -X GET "http://localhost:8001/health"
echo

curl -X GET "http://localhost:8001/api/v1/system/health" \
  -H "Authorization: Bearer ${ADMIN_KEY}"
echo

curl -X POST "http://localhost:8001/api/v1/system/backup" \
  -H "Authorization: Bearer ${ADMIN_KEY}" \
  -H "Content-Type: application/json" \
  -d '{"output_file": "/path/to/backup-2024-01-01.json"}'
echo

curl -X POST "http://localhost:8001/api/v1/system/restore" \
  -H "Authorization: Bearer ${ADMIN_KEY}" \
  -H "Content-Type: application/json" \
  -d '{"input_file": "/path/to/backup-2024-01-01.json"}'
echo

curl -X POST "http://localhost:8001/api/v1/system/reset" \
  -H "Authorization: Bearer ${ADMIN_KEY}" \
  -H "Content-Type: application/json" \
  -d '{"confirm": true}'
echo
