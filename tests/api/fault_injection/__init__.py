"""Injects a fault at each system call of each operation of the admin API.

`make fault-injection` runs the whole campaign. CI runs the sample in `test_crash_points.py`.
"""
