"""Which backups of a set are kept, and the checks that stop a deletion."""
