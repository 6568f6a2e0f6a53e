"""What `make demo` runs: a real gateway is backed up, broken and restored on a real cluster. See docs/demo.md."""
