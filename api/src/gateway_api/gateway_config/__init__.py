"""The gateway's config file: schema, parsing, reading while the gateway writes to it, and replacing."""
