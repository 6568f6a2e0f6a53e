"""The periodic retention pass: observe, plan, delete, report."""
