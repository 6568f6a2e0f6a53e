#!/bin/bash
# automated-backup.sh - Run via cron for regular backups

ADMIN_KEY="your-admin-api-key"
BACKUP_DIR="/backups/gateway"
RETENTION_DAYS=30

# Create backup directory
mkdir -p "${BACKUP_DIR}"

# Generate backup filename with timestamp
BACKUP_FILE="${BACKUP_DIR}/gateway-backup-$(date +%Y%m%d-%H%M%S).json"

# Create backup
curl -X POST "http://localhost:8001/api/v1/system/backup" \
  -H "Authorization: Bearer ${ADMIN_KEY}" \
  -H "Content-Type: application/json" \
  -d "{\"output_file\": \"${BACKUP_FILE}\"}"

if [ $? -eq 0 ]; then
  echo "Backup created: ${BACKUP_FILE}"

  # Compress backup
  gzip "${BACKUP_FILE}"

  # Delete backups older than retention period
  find "${BACKUP_DIR}" -name "gateway-backup-*.json.gz" -mtime +${RETENTION_DAYS} -delete

  echo "Backup completed successfully"
else
  echo "Backup failed" >&2
  exit 1
fi
