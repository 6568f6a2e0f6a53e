"""The HTTP routes, one module for each group. Each module defines a `router`."""
