"""The HTTP side: application, server, protocol, middleware, OpenAPI and routes."""
