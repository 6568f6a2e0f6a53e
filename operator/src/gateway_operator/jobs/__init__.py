"""What the charts' hooks run: short programs that may be started again after any crash."""
