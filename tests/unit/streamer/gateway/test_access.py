# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from streamer.gateway.access import Access, Role


def test_each_role_has_its_token_and_cookie() -> None:
    access = Access("abcd")
    for role in Role:
        assert access.role_of_token(access.token(role)) is role
        assert access.role_of_cookie(access.cookie(role)) is role
    secrets = {access.token(role) for role in Role} | {access.cookie(role) for role in Role}
    assert len(secrets) == 4
    assert min(map(len, secrets)) >= 43  # 256 bits
    assert [access.cookie_name(role) for role in Role] == ["heliograph_abcd", "heliograph_abcd_view"]


@pytest.mark.parametrize("wrong", [None, "", "x", "é" * 43, "\ud800", "A" * 10_000])
def test_what_is_wrong_opens_nothing(wrong: str | None) -> None:
    access = Access("abcd")
    assert access.role_of_token(wrong) is None
    assert access.role_of_cookie(wrong) is None


def test_token_is_no_cookie_and_sessions_differ() -> None:
    access, other = Access("abcd"), Access("abcd")
    assert access.role_of_cookie(access.token(Role.CONTROL)) is None
    assert access.role_of_token(access.cookie(Role.CONTROL)) is None
    assert other.role_of_token(access.token(Role.CONTROL)) is None


def test_secrets_do_not_show_in_logs() -> None:
    access = Access("abcd")
    assert access.token(Role.CONTROL) not in repr(access)
