"""The metrics of the operator: their definitions, and the gauges about objects as a pure function."""
