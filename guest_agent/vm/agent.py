# SPDX-License-Identifier: Apache-2.0
"""The VM agent's parts, wired together: one machine, from QEMU's start, or ours, to the end of either."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guest_agent.children import ChildError, Children
from guest_agent.display_link import run_display_link
from guest_agent.gateway_link import AgentError, GatewayLink, SessionOver
from guest_agent.messages import AgentReady, Clipboard, Exited
from guest_agent.streamer_server import StreamerServer
from guest_agent.vm.dbus_clipboard import DBusClipboard
from guest_agent.vm.dbus_connection import DBusError
from guest_agent.vm.dbus_display import DBusDisplay
from guest_agent.vm.dbus_sound import DBusSound
from guest_agent.vm.dbus_source import DBusSource
from guest_agent.vm.guest import MachineClipboard, MachineGuest, ShownSizes
from guest_agent.vm.input_channel import open_input
from guest_agent.vm.port import AgentPort
from guest_agent.vm.qemu_command import CommandError, Paths, Source, complete
from guest_agent.vm.qemu_process import QemuError, QemuProcess
from guest_agent.vm.qmp import Qmp, QmpError
from guest_agent.vm.vhost_display import VhostDisplay, set_up_again

_log = logging.getLogger(__name__)

# Two who take the display's connection from each other shall not do it as fast as they can; a QEMU that ends is told
# by its end first.
_RECONNECT_S = 1.0


@dataclass(frozen=True, slots=True)
class Settings:
    """What the VM agent was started with. One of `attach` and `command` is given."""

    control_fd: int
    agent_fd: int
    display_path: str
    machine_path: str
    session_directory: Path
    size: tuple[int, int]
    outputs: int = 1
    sound_fd: int | None = None
    source: Source | None = None
    attach: Path | None = None
    command: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Machine:
    """QEMU, by its two connections, and the guest's clipboard."""

    qmp: Qmp
    display: DBusDisplay
    clipboard: MachineClipboard
    by_qemu: DBusClipboard


class VmAgent:
    """Speaks for one machine; loop thread only."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # Ours alone within the session's directory.
        self._directory = settings.session_directory / "machine"
        self._streamer: StreamerServer | None = None
        self._port: AgentPort | None = None

    async def run(self) -> int:
        """Run until the machine ends or the session does; return the exit code for this process."""
        children = Children()
        control = await GatewayLink.open(self._settings.control_fd)
        expected = (ChildError, CommandError, QemuError, QmpError, DBusError)
        try:
            return await control.run_session(lambda: self._serve(children, control), lambda message: None, expected)
        finally:
            await children.end_all()
            children.close()
            shutil.rmtree(self._directory, ignore_errors=True)
            if control.is_gone:
                shutil.rmtree(self._settings.session_directory, ignore_errors=True)
            await control.close()

    async def _serve(self, children: Children, control: GatewayLink) -> None:
        settings = self._settings
        if settings.attach is not None:
            await self._serve_attached(settings.attach, control)
            return
        self._directory.mkdir(mode=0o700)
        paths = Paths(*(self._directory / name for name in ("qmp.sock", "gpu.sock", "agent.sock")))
        command = complete(
            settings.command,
            paths,
            source=settings.source,
            size=settings.size,
            outputs=settings.outputs,
            has_sound=settings.sound_fd is not None,
        )
        qemu = QemuProcess(children, command)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_watch(qemu, control))
            if command.source == "vhost-user":
                await self._serve_vhost(qemu, paths, control)
            else:
                async with await Qmp.open(await qemu.connect(paths.qmp)) as qmp:
                    await self._serve_dbus(qmp, paths.agent, control)

    async def _serve_attached(self, path: Path, control: GatewayLink) -> None:
        try:
            qmp = await Qmp.connect(str(path))
        except OSError as error:
            raise AgentError(f"cannot connect to QEMU at {path}: {error.strerror}") from error
        async with qmp, asyncio.TaskGroup() as tasks:
            tasks.create_task(_watch_attached(qmp, control))
            await self._serve_dbus(qmp, None, control)

    async def _serve_vhost(self, qemu: QemuProcess, paths: Paths, control: GatewayLink) -> None:
        """The render worker is the machine's display device."""
        machine: asyncio.Future[_Machine] = asyncio.get_running_loop().create_future()

        async def resume() -> None:
            await set_up_again((await machine).qmp)

        async def set_size(scanout_id: int, width: int, height: int) -> None:
            await _set_size((await machine).display, scanout_id, width, height)
            self._handle_wanted(scanout_id, width, height)

        vhost = VhostDisplay(
            qemu, machine_path=self._settings.machine_path, gpu_path=paths.gpu, resume=resume, set_size=set_size
        )
        async with asyncio.TaskGroup() as tasks:
            # QEMU answers nobody before its device is served.
            tasks.create_task(vhost.run())
            tasks.create_task(vhost.tell_sizes())
            async with (
                await Qmp.open(await qemu.connect(paths.qmp)) as qmp,
                self._open_machine(qmp) as opened,
            ):
                machine.set_result(opened)
                await vhost.is_attached.wait()
                control.send(AgentReady("vhost-user"))
                await self._serve_guest(opened, paths.agent, qemu_knows_sizes=False)

    async def _serve_dbus(self, qmp: Qmp, agent_path: Path | None, control: GatewayLink) -> None:
        """QEMU hands its display over."""
        async with self._open_machine(qmp) as machine, asyncio.TaskGroup() as tasks:
            source = DBusSource(
                machine.display, lambda: control.send(AgentReady("D-Bus")), handle_wanted=self._handle_wanted
            )
            tasks.create_task(source.run())
            tasks.create_task(run_display_link(self._settings.display_path, source))
            await self._serve_guest(machine, agent_path, qemu_knows_sizes=True)

    @asynccontextmanager
    async def _open_machine(self, qmp: Qmp) -> AsyncIterator[_Machine]:
        clipboard = MachineClipboard(self._handle_guest_text)
        by_qemu = clipboard.open_by_qemu()
        display = await DBusDisplay.open(qmp, by_qemu.exports)
        with contextlib.closing(display):
            yield _Machine(qmp, display, clipboard, by_qemu)

    async def _serve_guest(self, machine: _Machine, agent_path: Path | None, *, qemu_knows_sizes: bool) -> None:
        """What is the same wherever the picture comes from; until cancelled."""
        sizes = ShownSizes()
        machine_input = await open_input(machine.qmp, machine.display, sizes, qemu_knows_sizes=qemu_knows_sizes)
        _log.info("input goes by %s", machine_input.name)
        sound = None
        if self._settings.sound_fd is not None:
            sound = DBusSound(machine.display, await machine.qmp.version(), self._settings.sound_fd)
        has_sound = None if sound is None else lambda: sound.is_available
        guest = MachineGuest(machine_input, sizes, machine.clipboard, has_sound)
        self._streamer = StreamerServer(self._settings.agent_fd, guest)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_keep_display(machine))
            if sound is not None:
                tasks.create_task(sound.run())
            if agent_path is not None:
                self._port = machine.clipboard.open_port(agent_path)
                machine.qmp.handle_event = self._handle_event
                tasks.create_task(self._port.run())
            tasks.create_task(self._streamer.run())

    def _handle_wanted(self, scanout_id: int, width: int, height: int) -> None:
        if self._port is not None:
            self._port.send_size(scanout_id, width, height)

    def _handle_event(self, name: str, data: Mapping[str, Any]) -> None:
        if name == "RESUME" and self._port is not None:
            self._port.send_time()

    def _handle_guest_text(self, text: str) -> None:
        if self._streamer is not None:
            self._streamer.send(Clipboard(text))


async def _keep_display(machine: _Machine) -> None:
    """Serve the clipboard on the control connection, and make that anew when it was lost to another's: QEMU has one."""
    while True:
        try:
            await machine.by_qemu.run(machine.display.connection)
        except DBusError as error:
            _log.info("no clipboard by QEMU: %s", error)
        await machine.display.wait_closed()
        _log.warning("QEMU has dropped the D-Bus display's connection: connecting again")
        await asyncio.sleep(_RECONNECT_S)
        await machine.display.reopen()


async def _watch(qemu: QemuProcess, control: GatewayLink) -> None:
    code = await asyncio.shield(qemu.ended)
    _log.info("QEMU ended with code %d", code)
    control.send(Exited(code))
    raise SessionOver


async def _watch_attached(qmp: Qmp, control: GatewayLink) -> None:
    await qmp.wait_closed()
    _log.info("the machine has ended")
    control.send(Exited(0))
    raise SessionOver


async def _set_size(display: DBusDisplay, scanout_id: int, width: int, height: int) -> None:
    consoles = display.graphic_consoles
    if scanout_id >= len(consoles):
        return
    try:
        await display.set_ui_info(consoles[scanout_id], width, height)
    except DBusError as error:
        _log.warning("the size of output %d was not told: %s", scanout_id, error)
