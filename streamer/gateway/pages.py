# SPDX-License-Identifier: Apache-2.0
"""The few pages that are not the client: what a visitor without access sees. No scripts, no outside files."""

from __future__ import annotations

from html import escape

PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
{head}<title>{title}</title><style>
body {{ margin: 0; min-height: 100vh; display: grid; place-items: center; background: #14171c; color: #e6e9ee;
  font: 16px/1.5 system-ui, sans-serif; }}
main {{ max-width: 32rem; padding: 2rem; }}
h1 {{ font-size: 1.25rem; margin: 0 0 .5rem; }} p {{ margin: 0; color: #aab2bf; }}
</style></head><body><main><h1>{title}</h1><p>{text}</p></main></body></html>
"""


def unauthorized_page(*, wrong_token: bool) -> str:
    """The 401 page."""
    if wrong_token:
        text = "This link does not belong to a session that is running. Links are good until their session ends."
    else:
        text = "Open the session by the link that Heliograph printed when it started, or that somebody shared with you."
    return _PAGE.format(head="", title="This session needs its link", text=escape(text))


def come_again_page(path: str) -> str:
    """The 401 page for who comes here by a link on another site: browsers hold strict cookies back then, only then."""
    head = f'<meta http-equiv="refresh" content="0; url={escape(path)}">'
    return _PAGE.format(head=head, title="Opening the session…", text="")
