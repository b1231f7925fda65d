"""The secret behind pseudonyms, surrogates and date shifts: HMAC-SHA-256 with a key that lies outside every output."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from nosology.errors import ConfigError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    from nosology.config import DeidConfig

KEY_BYTES = 32
MAX_SHIFT_DAYS = 364


@dataclass(frozen=True, slots=True)
class Secret:
    """A key. It never shows in a repr; `fingerprint` tells two keys apart without telling them."""

    key: bytes = field(repr=False)

    def digest(self, domain: str, value: str) -> bytes:
        """32 bytes that only the key reproduces."""
        return hmac.new(self.key, f"{domain}\x1f{value}".encode(), hashlib.sha256).digest()

    def number(self, domain: str, value: str, below: int) -> int:
        """A number in range(below)."""
        return int.from_bytes(self.digest(domain, value)[:8], "big") % below

    def pseudonym(self, value: str) -> str:
        """24 hexadecimal characters in the place of an id; the same id gives the same in every table."""
        return self.digest("id", value).hex()[:24]

    def cipher(self, purpose: str) -> AESGCM:
        """AES-256-GCM (NIST SP 800-38D) with a key that HKDF-SHA-256 (RFC 5869) derives for one purpose."""
        return _cipher(self.key, purpose)

    def shift_days(self, patient: str) -> int:
        """Days from -363 to 363 by which all dates of a patient move. No whole weeks, so that no day of the week stays what it was."""
        weeks, rest = divmod(self.number("date", patient, 2 * MAX_SHIFT_DAYS // 7 * 6), 6)
        return weeks * 7 + rest + 1 - MAX_SHIFT_DAYS

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal characters that say which key it is."""
        return self.digest("fingerprint", "").hex()[:16]


@functools.lru_cache(maxsize=8)
def _cipher(key: bytes, purpose: str) -> AESGCM:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return AESGCM(HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose.encode()).derive(key))


def load_secret(config: DeidConfig, *, make: bool = True) -> Secret:
    """The key of `deid.key_file`, or of this user; made, readable to its owner only, when there is none.

    Args:
        make: False refuses where there is none.

    Raises:
        ConfigError: the file cannot be read or made, is open to others, or holds no 64 hexadecimal digits.
    """
    file = Path(config.key_file) if config.key_file else Path.home() / ".config" / "nosology" / "deid.key"
    try:
        if make:
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not file.exists():
                _make(file)
        if file.is_dir():
            raise ConfigError(
                f"deid.key_file: {file} is a folder. Name a file, for instance deid.key in it; it is made where there is none"
            )
        if file.stat().st_mode & 0o077:
            raise ConfigError(f"deid.key_file: {file} is open to others; run chmod 600 on it")
        key = bytes.fromhex(file.read_text().strip())
    except OSError as error:
        raise ConfigError(f"deid.key_file: {file} cannot be read or made ({type(error).__name__})") from error
    except ValueError as error:
        raise ConfigError(f"deid.key_file: {file} holds no key; expected {2 * KEY_BYTES} hexadecimal digits") from error
    if len(key) != KEY_BYTES:
        raise ConfigError(f"deid.key_file: {file} holds {len(key)} bytes; expected {KEY_BYTES}")
    return Secret(key)


def _make(file: Path) -> None:
    """A new key, whole from its first moment: written beside its place and linked into it unless another process was first."""
    draft = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as stream:
            stream.write(secrets.token_hex(KEY_BYTES) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, file)
    finally:
        draft.unlink()
