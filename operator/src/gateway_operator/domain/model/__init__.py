"""Values that all kinds share: resources, reasons, conditions, timestamps, actions."""
