# SPDX-License-Identifier: Apache-2.0
"""Somebody who speaks to a session's server without being its client."""

from __future__ import annotations

from aiohttp import ClientSession

from tests.support.session import Session


async def cookies_of(http: ClientSession, url: str) -> dict[str, str]:
    """Open a link; return the cookies that it gives. (aiohttp itself keeps none of an IP address.)"""
    async with http.get(url, allow_redirects=False) as response:
        assert response.status == 303
        return {name: morsel.value for name, morsel in response.cookies.items()}


async def view_link(http: ClientSession, session: Session) -> str:
    """Ask for a link to watch, as the client's dialog does."""
    cookies = await cookies_of(http, session.url)
    url, headers = f"{session.origin}/api/share", {"Origin": session.origin}
    async with http.post(url, json={"role": "view"}, headers=headers, cookies=cookies) as response:
        return str((await response.json())["url"])
