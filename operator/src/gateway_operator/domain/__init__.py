"""What the operator decides, as pure functions of what it saw and what time it is. The standard library only."""
