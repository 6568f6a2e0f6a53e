"""The options of the commands, by topic. They are parsed without loading a client."""
