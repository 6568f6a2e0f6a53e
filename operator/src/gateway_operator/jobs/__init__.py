"""Short programs that the charts' hooks run. Each can be started again after a crash at any point."""
