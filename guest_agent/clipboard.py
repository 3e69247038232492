# SPDX-License-Identifier: Apache-2.0
"""Clipboard text both ways: what the guest copies is read, the viewer's text is offered to the guest."""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable
from functools import partial
from typing import Any

import xcffib.xfixes
from xcffib import xproto

from guest_agent.clipboard_transfer import MAX_TRANSFERS, IncomingText, OutgoingText
from guest_agent.messages import MAX_CLIPBOARD_BYTES
from guest_agent.x_connection import XConnection, XError

# More of a property than this is read in parts, and text is sent in parts of this size.
PART_BYTES = 65536

_log = logging.getLogger(__name__)


class Clipboard:
    """The guest's clipboard; loop thread only. `handle_text` gets what a guest program copied.

    Text that came from here is not sent back: the selection is ours then. PRIMARY is set with CLIPBOARD, so that the
    middle button pastes too, but is not read: every selected word would go to the viewer.
    """

    def __init__(self, x: XConnection, handle_text: Callable[[str], None]) -> None:
        self._x = x
        self._fixes = x.extension("xfixes")
        x.reply(self._fixes.QueryVersion(5, 0))
        self._handle_text = handle_text
        names = ("CLIPBOARD", "UTF8_STRING", "TARGETS", "TIMESTAMP", "INCR", "HELIOGRAPH_CLIPBOARD")
        atoms = {name: x.atom(name) for name in (*names, "text/plain;charset=utf-8", "text/plain", "TEXT")}
        self._clipboard, self._utf8, self._targets, self._timestamp, self._incr, self._property = (
            atoms[name] for name in names
        )
        # What UTF-8 bytes may be called. ICCCM's STRING is Latin-1.
        self._utf8_targets = [self._utf8, atoms["text/plain;charset=utf-8"], atoms["TEXT"], atoms["text/plain"]]
        self._window: int = x.raw.generate_id()
        events = xproto.EventMask.PropertyChange
        x.core.CreateWindow(
            0, self._window, x.root, -10, -10, 1, 1, 0, xproto.WindowClass.InputOnly, 0, xproto.CW.EventMask, [events]
        )
        self._text = ""  # the viewer's, while the selection is ours
        self._owned_since = 0
        self._last = ""  # what both sides have
        self._incoming: IncomingText | None = None
        self._outgoing: dict[tuple[int, int], OutgoingText] = {}
        x.on(xcffib.xfixes.SelectionNotifyEvent, self._handle_owner_changed)
        x.on(xproto.SelectionNotifyEvent, self._handle_converted)
        x.on(xproto.SelectionRequestEvent, self._handle_request)
        x.on(xproto.PropertyNotifyEvent, self._handle_property)
        mask = xcffib.xfixes.SelectionEventMask.SetSelectionOwner
        x.check(self._fixes.SelectSelectionInputChecked(x.root, self._clipboard, mask))

    @property
    def guest_text(self) -> str:
        """The text that a guest program copied last, "" when the viewer's is newer or there is none."""
        return "" if self._text else self._last

    # From the viewer

    def set_text(self, text: str) -> None:
        """Offer the viewer's text to the guest's programs."""
        if text == self._last or not text:
            return
        self._text = self._last = text
        if self._incoming is not None:
            self._incoming.cancel()
            self._incoming = None
        for selection in (self._clipboard, xproto.Atom.PRIMARY):
            self._x.core.SetSelectionOwner(self._window, selection, xproto.Time.CurrentTime)
        self._x.flush()

    def _handle_request(self, event: Any) -> None:
        # Clients from before ICCCM give no property.
        place = event.property or event.target
        done = bool(self._text) and self._serve(event, place)
        notify = struct.pack(
            "=BxHIIIII8x", 31, 0, event.time, event.requestor, event.selection, event.target, place if done else 0
        )
        self._x.core.SendEvent(False, event.requestor, 0, notify)

    def _serve(self, event: Any, place: int) -> bool:
        if event.target == self._targets:
            targets = [self._targets, self._timestamp, *self._utf8_targets, xproto.Atom.STRING]
            self._change_property(
                event.requestor, place, xproto.Atom.ATOM, 32, struct.pack(f"={len(targets)}I", *targets)
            )
            return True
        if event.target == self._timestamp:
            data = struct.pack("=I", self._owned_since)
            self._change_property(event.requestor, place, xproto.Atom.INTEGER, 32, data)
            return True
        if event.target in self._utf8_targets:
            data = self._text.encode()
        elif event.target == xproto.Atom.STRING:
            data = self._text.encode("latin-1", "replace")
        else:
            return False
        kind = self._utf8 if event.target != xproto.Atom.STRING else xproto.Atom.STRING
        if len(data) <= PART_BYTES:
            self._change_property(event.requestor, place, kind, 8, data)
            return True
        if len(self._outgoing) >= MAX_TRANSFERS or event.requestor == self._window:
            return False
        # The requestor deletes the property for each next part.
        mask = [xproto.EventMask.PropertyChange]
        self._x.core.ChangeWindowAttributes(event.requestor, xproto.CW.EventMask, mask)
        self._change_property(event.requestor, place, self._incr, 32, struct.pack("=I", len(data)))
        key = (event.requestor, place)
        if key in self._outgoing:
            self._outgoing.pop(key).cancel()
        self._outgoing[key] = OutgoingText(data, kind, partial(self._outgoing.pop, key, None))
        return True

    def _change_property(self, window: int, place: int, kind: int, bits: int, data: bytes) -> None:
        count = len(data) * 8 // bits
        self._x.core.ChangeProperty(xproto.PropMode.Replace, window, place, kind, bits, count, data)

    # From the guest

    def _handle_owner_changed(self, event: Any) -> None:
        if event.selection != self._clipboard:
            return
        if event.owner == self._window:
            self._owned_since = event.selection_timestamp
            return
        self._text = ""
        if event.owner:
            self._start_incoming(event.timestamp)

    def _start_incoming(self, timestamp: int) -> None:
        if self._incoming is not None:
            self._incoming.cancel()
        self._incoming = IncomingText(timestamp, self._give_up)
        self._convert(self._utf8)

    def _give_up(self) -> None:
        _log.warning("the program that owns the clipboard does not give its text")
        self._incoming = None

    def _convert(self, target: int) -> None:
        assert self._incoming is not None
        self._x.core.DeleteProperty(self._window, self._property)
        time = self._incoming.timestamp
        self._x.core.ConvertSelection(self._window, self._clipboard, target, self._property, time)

    def _handle_converted(self, event: Any) -> None:
        if self._incoming is None or event.requestor != self._window or event.selection != self._clipboard:
            return
        if not event.property:
            if event.target == self._utf8:
                self._convert(xproto.Atom.STRING)
            else:
                self._end_incoming(None)
            return
        kind, data = self._take_property()
        if kind == self._incr:
            self._incoming.is_in_parts = True
        elif kind in (self._utf8, xproto.Atom.STRING):
            self._incoming.kind = kind
            self._end_incoming(data)
        else:
            self._end_incoming(None)

    def _handle_property(self, event: Any) -> None:
        if event.window != self._window:
            if event.state == xproto.Property.Delete:
                self._send_part(event.window, event.atom)
            return
        incoming = self._incoming
        is_part = event.atom == self._property and event.state == xproto.Property.NewValue
        if incoming is None or not incoming.is_in_parts or not is_part:
            return
        kind, data = self._take_property()
        if kind == self._incr:
            # The announcement itself.
            return
        incoming.kind = kind
        if not data:
            self._end_incoming(bytes(incoming.data))
        elif not incoming.add(data):
            self._end_incoming(None)

    def _take_property(self) -> tuple[int, bytes]:
        """Read and delete our property, as far as a text may be long."""
        limit = MAX_CLIPBOARD_BYTES // 4 + 1
        try:
            reply = self._x.reply(self._x.core.GetProperty(True, self._window, self._property, 0, 0, limit))
        except XError as error:
            _log.debug("the clipboard cannot be read: %r", error)
            return 0, b""
        if reply.bytes_after:
            self._x.core.DeleteProperty(self._window, self._property)
        return reply.type, reply.value.buf() if reply.format == 8 or reply.type == self._incr else b""

    def _end_incoming(self, data: bytes | None) -> None:
        incoming, self._incoming = self._incoming, None
        if incoming is None:
            return
        incoming.cancel()
        if data is None:
            _log.info("the guest's clipboard has no text, or too much of it")
            # The viewer's text is not in the guest's clipboard any more, and may come again.
            self._last = ""
            return
        text = data.decode("latin-1" if incoming.kind == xproto.Atom.STRING else "utf-8", "replace")
        if len(text.encode()) > MAX_CLIPBOARD_BYTES:
            _log.info("the guest's clipboard has over %d bytes: it stays there", MAX_CLIPBOARD_BYTES)
        elif text and text != self._last:
            self._last = text
            self._handle_text(text)

    def _send_part(self, window: int, place: int) -> None:
        outgoing = self._outgoing.get((window, place))
        if outgoing is None:
            return
        part = outgoing.next_part(PART_BYTES)
        self._change_property(window, place, outgoing.kind, 8, part)
        if not part:
            self._outgoing.pop((window, place)).cancel()

    def close(self) -> None:
        """Stop waiting for others. May be called twice."""
        if self._incoming is not None:
            self._incoming.cancel()
            self._incoming = None
        for outgoing in self._outgoing.values():
            outgoing.cancel()
        self._outgoing.clear()
