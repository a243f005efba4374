"""Signatures as Standard Webhooks has them, and the secrets that they are made with.

What is signed is ``{id}.{timestamp}.{body}``, so that nobody can send an old body under a
new time. Secrets are wrapped by the master key when there is one.
"""

import base64
import hashlib
import hmac
import secrets
from typing import Final

from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from infra.vault import VaultError

PREFIX: Final = "whsec_"
SECRET_BYTES: Final = 32
BARE: Final = "bare"


def new_secret() -> bytes:
    """A random secret."""
    return secrets.token_bytes(SECRET_BYTES)


def secret_text(secret: bytes) -> str:
    """A secret as its owner gets it."""
    return PREFIX + base64.b64encode(secret).decode()


def signature(secret: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """One signature, with its version."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(secret, signed, "sha256")).decode()


class Keeper:
    """Turns secrets into what the database holds, and back."""

    def __init__(self, master_key: bytes | None) -> None:
        """Make a keeper; without a master key secrets are kept as they are."""
        self._master = master_key
        self._name = BARE if master_key is None else hashlib.sha256(master_key).hexdigest()[:16]

    def wrap(self, secret: bytes) -> str:
        """A secret as it is stored."""
        wrapped = secret if self._master is None else aes_key_wrap(self._master, secret)
        return f"{self._name}:{base64.b64encode(wrapped).decode()}"

    def open(self, stored: str) -> bytes:
        """The secret that was stored.

        Raises:
            VaultError: another master key wraps it, or it is damaged.
        """
        name, _, text = stored.partition(":")
        raw = base64.b64decode(text)
        if name == BARE:
            return raw
        if self._master is None or name != self._name:
            raise VaultError(
                f"the secret of a webhook is wrapped by the master key {name};"
                " set GRADELOG_MASTER_KEY to that key"
            )
        try:
            return aes_key_unwrap(self._master, raw)
        except InvalidUnwrap:
            raise VaultError("the secret of a webhook is damaged") from None
