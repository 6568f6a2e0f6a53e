"""What protects this server's backups: whom they are encrypted to, who signs them, whose signatures count.

Read from the settings once, at start, so that a server with a bad key never starts. A signing key of its own, which a
laptop needs, is made when it is first used.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway_api.codec.compression import format_for_name
from gateway_api.contract import ErrorCode
from gateway_api.errors import ApiError, config_volume_error
from gateway_api.repository import signing
from gateway_api.repository.signature_policy import SignatureRules
from gateway_api.repository.signing import InvalidKey, SignatureCheck, Signer
from gateway_api.settings import SettingsError
from gateway_api.storage.atomic_write import write_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from gateway_api.repository.manifest import Manifest
    from gateway_api.settings import AdminSettings
    from gateway_api.storage.state_dir import StateDir

from gateway_api.storage.layout import SIGNING_KEY_FILE

MAX_KEY_FILE_BYTES: Final = 1024 * 1024


class EncryptionAndSigning:
    """The keys and rules of one server. Raises :class:`SettingsError` for a key file that cannot be used."""

    def __init__(self, settings: AdminSettings) -> None:
        self.recipients = settings.age_recipients
        self.rules = SignatureRules(
            policy=settings.signature_policy,
            encryption_required=settings.encryption == "require",
            unsigned_override=settings.allow_unsigned_override,
        )
        self._signer: Signer | None = None
        self._trusted: dict[str, bytes] = {}
        if settings.signing_key_file is not None:
            pem = _read_key_file(settings.signing_key_file, "signing key file")
            try:
                self._signer = signing.load_signer(pem)
            except InvalidKey as problem:
                raise SettingsError(f"the signing key file cannot be used: {problem}") from None
        if settings.trusted_keys_file is not None:
            pem = _read_key_file(settings.trusted_keys_file, "trusted keys file")
            try:
                self._trusted = signing.load_trusted(pem.decode("utf-8", "replace"))
            except InvalidKey as problem:
                raise SettingsError(f"the trusted keys file cannot be used: {problem}") from None

    def recipients_for(self, name: str) -> tuple[str, ...]:
        """Whom a backup of that name is encrypted to: nobody, for a plain name.

        Raises ``EncryptionRequired`` for a plain name where policy demands encryption, ``EncryptionNotConfigured`` for
        an ``.age`` name where there is nobody to encrypt to.
        """
        if not format_for_name(name).encrypted:
            if self.rules.encryption_required:
                raise ApiError(ErrorCode.EncryptionRequired)
            return ()
        if not self.recipients:
            raise ApiError(ErrorCode.EncryptionNotConfigured)
        return self.recipients

    def name_for(self, name: str) -> str:
        """The name of a file of our own choosing: encrypted where policy demands it."""
        return f"{name}.age" if self.rules.encryption_required else name

    def sign(self, config_state: StateDir, manifest: Manifest) -> Manifest:
        """The manifest with this server's signature. Makes the server's key if it was given none and has none yet.

        Raises ``SigningKeyUnusable``, and what the config volume's failure means.
        """
        signer = self._own_signer(config_state, make=True)
        assert signer is not None
        unsigned = manifest.model_dump(mode="json", exclude={"signatures"})
        return manifest.model_copy(update={"signatures": [signer.signature(unsigned)]})

    def check(self, config_state: StateDir, received: Mapping[str, Any]) -> SignatureCheck:
        """What the signatures of a manifest's object say here. That this server's own key is broken is no reason not to
        restore what another trusted key has signed."""
        if "signatures" not in received:
            return SignatureCheck("unsigned")
        trusted = dict(self._trusted)
        with suppress(ApiError):
            if (signer := self._own_signer(config_state, make=False)) is not None:
                trusted[signer.key_id] = signer.public
        return signing.check(received, trusted)

    def _own_signer(self, config_state: StateDir, *, make: bool) -> Signer | None:
        if self._signer is None:
            try:
                pem = config_state.read(SIGNING_KEY_FILE)
                if pem is None and make:
                    pem = signing.new_key()
                    write_file(config_state.fd, SIGNING_KEY_FILE, pem, exclusive=True)
            except OSError as error:
                raise config_volume_error(error) from None
            if pem is None:
                return None
            try:
                self._signer = signing.load_signer(pem)
            except InvalidKey as problem:
                raise ApiError(ErrorCode.SigningKeyUnusable, f"{SIGNING_KEY_FILE} cannot be used: {problem}") from None
        return self._signer


def _read_key_file(path: Path, what: str) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_KEY_FILE_BYTES)
    except OSError as error:
        raise SettingsError(f"the {what} cannot be read: {error.strerror}") from None
