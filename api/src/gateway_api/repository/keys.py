"""The keys of one server: age recipients for encryption, the signing key, and the trusted public keys.

They are read from the settings once, at start, so that a server with an invalid key does not start. A server without
a configured signing key creates its own in the config directory at the first backup.
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
from gateway_api.storage.layout import SIGNING_KEY_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from gateway_api.repository.manifest import Manifest
    from gateway_api.settings import AdminSettings
    from gateway_api.storage.state_dir import StateDir

MAX_KEY_FILE_BYTES: Final = 1024 * 1024


class EncryptionAndSigning:
    """The keys and signature rules of one server. Raises :class:`SettingsError` for an invalid key file."""

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
            self._signer = _load_signer(settings.signing_key_file)
        if settings.trusted_keys_file is not None:
            self._trusted = _load_trusted(settings.trusted_keys_file)

    def recipients_for(self, name: str) -> tuple[str, ...]:
        """The age recipients of a backup with this file name; empty for a name without ``.age``.

        Raises ``EncryptionRequired`` for a plain name if the settings require encryption, ``EncryptionNotConfigured``
        for an ``.age`` name if the settings contain no recipient.
        """
        if not format_for_name(name).encrypted:
            if self.rules.encryption_required:
                raise ApiError(ErrorCode.EncryptionRequired)
            return ()
        if not self.recipients:
            raise ApiError(ErrorCode.EncryptionNotConfigured)
        return self.recipients

    def name_for(self, name: str) -> str:
        """``name``, with ``.age`` added if the settings require encryption. For names that the server chooses."""
        return f"{name}.age" if self.rules.encryption_required else name

    def sign(self, config_state: StateDir, manifest: Manifest) -> Manifest:
        """The manifest with this server's signature. Creates a signing key if the server has none.

        Raises ``SigningKeyUnusable`` for an invalid key, ``VolumeUnavailable``, ``VolumeFull`` or
        ``ConfigNotReplaceable`` if the config volume fails.
        """
        signer = self._own_signer(config_state, create=True)
        assert signer is not None
        unsigned = manifest.model_dump(mode="json", exclude={"signatures"})
        return manifest.model_copy(update={"signatures": [signer.signature(unsigned)]})

    def check_signing_key(self, config_state: StateDir) -> None:
        """Raises as :meth:`sign` if this server's signing key cannot be used. A missing key is created when needed."""
        self._own_signer(config_state, create=False)

    def check_signatures(self, config_state: StateDir, received: Mapping[str, Any]) -> SignatureCheck:
        """Checks the signatures of a manifest's JSON object against the trusted keys and this server's own key."""
        if "signatures" not in received:
            return SignatureCheck("unsigned")
        trusted = dict(self._trusted)
        # An invalid key of this server must not prevent the restore of a backup that another trusted key signed.
        with suppress(ApiError):
            if (signer := self._own_signer(config_state, create=False)) is not None:
                trusted[signer.key_id] = signer.public
        return signing.check_signatures(received, trusted)

    def _own_signer(self, config_state: StateDir, *, create: bool) -> Signer | None:
        if self._signer is None:
            try:
                pem = config_state.read(SIGNING_KEY_FILE)
                if pem is None and create:
                    pem = signing.new_key()
                    # Durable before the first signature, which no one could verify without this key. Exclusive, so that
                    # two servers on one volume cannot replace each other's key.
                    write_file(config_state.fd, SIGNING_KEY_FILE, pem, exclusive=True)
            except OSError as error:
                raise config_volume_error(error) from None
            if pem is None:
                return None
            try:
                self._signer = signing.load_signer(pem)
            except InvalidKey as error:
                raise ApiError(ErrorCode.SigningKeyUnusable, f"{SIGNING_KEY_FILE} is invalid: {error}") from None
        return self._signer


def read_verification_keys(signing_key_file: Path | None, trusted_keys_file: Path | None) -> dict[str, bytes]:
    """The public keys in the two files, by key id, to verify signatures. Raises :class:`SettingsError`."""
    keys: dict[str, bytes] = {}
    if trusted_keys_file is not None:
        keys |= _load_trusted(trusted_keys_file)
    if signing_key_file is not None:
        signer = _load_signer(signing_key_file)
        keys[signer.key_id] = signer.public
    return keys


def _load_signer(path: Path) -> Signer:
    try:
        return signing.load_signer(_read_key_file(path, "signing key file"))
    except InvalidKey as error:
        raise SettingsError(f"the signing key file is invalid: {error}") from None


def _load_trusted(path: Path) -> dict[str, bytes]:
    try:
        return signing.load_trusted(_read_key_file(path, "trusted keys file").decode("utf-8", "replace"))
    except InvalidKey as error:
        raise SettingsError(f"the trusted keys file is invalid: {error}") from None


def _read_key_file(path: Path, label: str) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_KEY_FILE_BYTES)
    except OSError as error:
        raise SettingsError(f"the {label} cannot be read: {error.strerror}") from None
