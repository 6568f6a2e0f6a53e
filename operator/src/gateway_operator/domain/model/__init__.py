"""Values that all custom resources share: objects, reasons, conditions, timestamps, actions."""
