"""What kopf calls. Nothing is decided here."""
