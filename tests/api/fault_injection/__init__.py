"""Every system call of every mutation, killed and refused: `make torture` does all of it, CI a slice."""
