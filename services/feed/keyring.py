"""The feed's master keys: from the environment, or from a file that may change while Vigil runs.

A rotation puts a new key in front. Every process that opens frames must know the new key before a
process seals with it, and processes look at the file at different moments. While a change of the
file is recent, the key after the newest therefore goes on sealing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from services.contracts.errors import Misconfigured
from services.feed import encryption
from services.platform.config import Config
from services.platform.secret_strength import is_weak_key

log = structlog.get_logger(__name__)

CHECK_S = 1.0
SETTLE_S = 5.0
"""Age in seconds that a file must have before its newest key seals; several times `CHECK_S`."""


class KeyRing:
    """The master keys of one process.

    Args:
        keys: The value of CHANNELS_ENCRYPTION_KEY.
        file: The file of the keys. When given, it replaces `keys`, and is looked at once a second.
        strict: Refuse keys that were not made at random, from either source.
        clock: Unix time in seconds.

    Raises:
        Misconfigured: There is no key.
    """

    def __init__(
        self, keys: str, *, file: str = "", strict: bool = False, clock: Callable[[], float] = time.time
    ) -> None:
        self._clock = clock
        self._strict = strict
        self._file = Path(file) if file else None
        self._keys: list[bytes] = []
        self._changed_s = self._looked_s = float("-inf")
        if self._file is None:
            self._keys = self._checked(encryption.master_keys(keys))
        else:
            self._look()
        if not self._keys:
            raise Misconfigured("CHANNELS_ENCRYPTION_KEY is not set; make a key with `vigil keys generate`")

    @classmethod
    def from_config(cls, config: Config) -> KeyRing:
        return cls(
            config.feed.encryption_keys,
            file=config.feed.encryption_keys_file,
            strict=config.environment == "production",
        )

    def all(self) -> Sequence[bytes]:
        """Return every key that may open a frame, newest first."""
        self._look_again()
        return self._keys

    def sealing(self) -> bytes:
        """Return the key that seals now."""
        self._look_again()
        fresh = self._clock() - self._changed_s < SETTLE_S
        return self._keys[1] if fresh and len(self._keys) > 1 else self._keys[0]

    def of_tenant(self, tenant_id: int) -> dict[str, str]:
        """Return a tenant's feed keys by kid, newest first, for a reader."""
        return encryption.derived_keys(self.all(), tenant_id)

    def _look_again(self) -> None:
        if self._file is not None and self._clock() - self._looked_s >= CHECK_S:
            try:
                self._look()
            except Misconfigured as error:
                # Keep the keys that worked, and log the operator's mistake.
                log.warning("feed_keys_not_read", error=str(error))

    def _look(self) -> None:
        assert self._file is not None
        self._looked_s = self._clock()

        try:
            changed_s = self._file.stat().st_mtime
            if changed_s == self._changed_s:
                return
            keys = encryption.master_keys(self._file.read_text(encoding="ascii"))
        except (OSError, UnicodeDecodeError) as error:
            raise Misconfigured(
                f"CHANNELS_ENCRYPTION_KEY_FILE {self._file} cannot be read: {error}"
            ) from error

        if not keys:
            raise Misconfigured(f"{self._file} holds no key; make one with `vigil keys generate`")

        self._keys, self._changed_s = self._checked(keys), changed_s

    def _checked(self, keys: list[bytes]) -> list[bytes]:
        weak = [position for position, key in enumerate(keys, start=1) if is_weak_key(key)]
        if self._strict and weak:
            raise Misconfigured(
                f"{self._file or 'CHANNELS_ENCRYPTION_KEY'}: key {weak[0]} is weak: it was not made at random;"
                " make one with `vigil keys generate`"
            )
        return keys


def read_key_files(config: Config) -> dict[str, bytes]:
    """Return the content of the key files that the configuration names, by variable.

    A file that cannot be read is left out.
    """
    named = {
        encryption.FEED_KEY_FILE: config.feed.encryption_keys_file,
        encryption.EVIDENCE_KEY_FILE: config.alerts.evidence_key_file,
    }
    found = {}
    for variable, file in named.items():
        if file:
            try:
                found[variable] = Path(file).read_bytes()
            except FileNotFoundError:
                pass  # it is made at its first use, or its reader reports it missing
            except OSError as error:
                log.warning("key_file_not_read", variable=variable, error=str(error))

    return found
