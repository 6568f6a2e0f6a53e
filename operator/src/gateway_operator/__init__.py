"""The Gateway Backup Operator: reconciles the custom resources by calling the gateways' admin APIs."""
