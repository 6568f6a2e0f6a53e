"""The digest of a request body recognizes a repeated request."""

from __future__ import annotations

from gateway_api.contract import BackupRequest, RestoreRequest
from gateway_api.idempotency import request_digest


def test_request_digest_ignores_field_order_and_defaults() -> None:
    def of(**body: object) -> str:
        return request_digest("backup", BackupRequest.model_validate(body))

    assert of(path="a", overwrite=False) == of(path="a")
    assert of(path="a", metadata={"x": "1", "y": "2"}) == of(metadata={"y": "2", "x": "1"}, path="a")
    assert len({of(path="a"), of(path="b"), of(output_file="a"), of(path="a", overwrite=True)}) == 4
    restore = RestoreRequest.model_validate({"backup_id": "a"})
    assert request_digest("restore", restore) != request_digest("other", restore)
