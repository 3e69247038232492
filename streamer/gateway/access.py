# SPDX-License-Identifier: Apache-2.0
"""Who may do what: one secret link for each role, exchanged for a cookie. No I/O."""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass, field
from enum import StrEnum


class Role(StrEnum):
    """What a viewer may do: everything, or watch."""

    CONTROL = "control"
    VIEW = "view"


def _secrets() -> dict[Role, str]:
    return {role: secrets.token_urlsafe(32) for role in Role}


@dataclass(frozen=True, slots=True)
class Access:
    """A session's secrets; 256 random bits each, made when the session starts and good until it ends.

    The cookie's value is not the link's token: who reads one cannot pass on the other.
    """

    session_id: str
    _tokens: dict[Role, str] = field(default_factory=_secrets, repr=False)
    _cookies: dict[Role, str] = field(default_factory=_secrets, repr=False)

    def cookie_name(self, role: Role) -> str:
        """Cookies do not know ports: sessions on one host are told apart by the cookie's name.

        Roles too: who controls the session and opens a link to watch it goes on controlling it elsewhere.
        """
        return f"heliograph_{self.session_id}" + ("" if role is Role.CONTROL else f"_{role.value}")

    def token(self, role: Role) -> str:
        """Return the token for a link that opens the session in `role`."""
        return self._tokens[role]

    def cookie(self, role: Role) -> str:
        """Return the cookie's value for `role`."""
        return self._cookies[role]

    def role_of_token(self, token: str | None) -> Role | None:
        """Return the role that `token` opens, or None. Takes the same time for every wrong one."""
        return _find(self._tokens, token)

    def role_of_cookie(self, value: str | None) -> Role | None:
        """Return the role that a cookie's value stands for, or None. Takes the same time for every wrong one."""
        return _find(self._cookies, value)


def _find(known: dict[Role, str], given: str | None) -> Role | None:
    found = None
    for role, secret in known.items():
        if hmac.compare_digest(secret.encode(), (given or "").encode(errors="replace")):
            found = role
    return found
