"""The demo, `make demo`: backs up, damages and restores a real gateway on a real cluster. See docs/demo.md."""
