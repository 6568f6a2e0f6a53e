"""The detail of a 422 response."""

from __future__ import annotations

from gateway_api.http.validation import describe


def test_detail_contains_only_declared_field_names() -> None:
    errors = [
        {"loc": ("body", "metadata", "secret"), "type": "string_type", "msg": "Input should be a valid string"},
        {"loc": ("body", "path"), "type": "missing", "msg": "Field required"},
    ]
    text = describe(errors * 3)
    assert text.startswith("metadata.…: Input should be a valid string; path: Field required")
    assert text.endswith("and 3 more")
    assert "secret" not in text
