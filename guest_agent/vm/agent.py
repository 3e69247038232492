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

from guest_agent.children import Children
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
from guest_agent.vm.input_channel import has_device, open_input
from guest_agent.vm.port import AgentPort
from guest_agent.vm.qemu_command import CommandError, Paths, Source, complete
from guest_agent.vm.qemu_process import QemuError, QemuProcess
from guest_agent.vm.qmp import Qmp, QmpClosedError, QmpError
from guest_agent.vm.vhost_display import VhostDisplay

_log = logging.getLogger(__name__)

# QEMU answers when its main loop is free: a guest's disk, or a render worker that is being replaced, may hold it.
_QMP_PATIENCE_S = 30.0
# It greets when it has started, which takes long with much memory to prepare: the gateway's patience ends sooner.
_START_PATIENCE_S = 600.0
# One that runs already, and has nobody else to speak with, greets at once.
_ATTACH_PATIENCE_S = 10.0
# An attached machine's connections do not all close at the same time.
_END_S = 2.0
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
        self._is_ready = False

    async def run(self) -> int:
        """Run until the machine ends or the session does; return the exit code for this process."""
        children = Children()
        control = await GatewayLink.open(self._settings.control_fd)
        expected = (CommandError, QemuError, QmpError, DBusError)
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
        with contextlib.closing(QemuProcess(children, command)) as qemu:
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(_watch(qemu))
                    if command.source == "vhost-user":
                        await self._serve_vhost(qemu, paths, control)
                    else:
                        async with await _open_qmp(qemu, paths) as qmp:
                            await self._serve_dbus(qmp, paths.agent, control)
            except* (QemuError, QmpError, DBusError):
                # Whatever failed may have failed because QEMU ends: its sockets close first.
                if not await qemu.has_ended():
                    raise
            code = qemu.ended.result()
            # A refusal at the start, mostly; QEMU has said why.
            _log.log(logging.INFO if self._is_ready or code == 0 else logging.ERROR, "%s", await qemu.tell_end())
            control.send(Exited(code))
            raise SessionOver

    async def _serve_attached(self, path: Path, control: GatewayLink) -> None:
        try:
            qmp = await Qmp.connect(str(path), timeout_s=_ATTACH_PATIENCE_S)
        except OSError as error:
            raise AgentError(f"--attach {path}: no QEMU listens there ({error.strerror})") from error
        except QmpError as error:
            raise AgentError(
                f"--attach {path}: {error.description}; give the machine another one: -qmp unix:PATH,server=on,wait=off"
            ) from error
        async with qmp:
            for device in ("vhost-user-gpu", "vhost-user-vga"):
                if await has_device(qmp, device):
                    raise AgentError(
                        f"--attach {path}: the machine's display device {device} is served by another program: only "
                        "machines that QEMU draws itself can be attached to"
                    )
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(_watch_attached(qmp))
                    await self._serve_dbus(qmp, None, control)
            except* (QmpError, DBusError):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_END_S):
                        await qmp.wait_closed()
                if not qmp.is_closed:
                    raise
            _log.info("the machine has ended")
            control.send(Exited(0))
            raise SessionOver

    async def _serve_vhost(self, qemu: QemuProcess, paths: Paths, control: GatewayLink) -> None:
        """The render worker is the machine's display device."""
        machine: asyncio.Future[_Machine] = asyncio.get_running_loop().create_future()

        async def resume() -> bool:
            return await set_up_again((await machine).qmp)

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
                await _open_qmp(qemu, paths) as qmp,
                self._open_machine(qmp, paths.agent) as opened,
            ):
                machine.set_result(opened)
                await vhost.is_attached.wait()
                self._tell_ready(control, "vhost-user")
                await self._serve_guest(opened, qemu_knows_sizes=False)

    async def _serve_dbus(self, qmp: Qmp, agent_path: Path | None, control: GatewayLink) -> None:
        """QEMU hands its display over."""
        async with self._open_machine(qmp, agent_path) as machine, asyncio.TaskGroup() as tasks:
            screens = len(machine.display.graphic_consoles)
            if screens == 0:
                raise AgentError("the machine has no screen: give it a display device, such as -vga std")
            if screens < self._settings.outputs:
                _log.warning(
                    "%d screens were asked for, and the machine's display device has %d: some have more by "
                    "max_outputs=N, such as -device virtio-vga,max_outputs=%d",
                    *(self._settings.outputs, screens, self._settings.outputs),
                )
            source = DBusSource(
                machine.display, lambda: self._tell_ready(control, "D-Bus"), handle_wanted=self._handle_wanted
            )
            tasks.create_task(source.run())
            tasks.create_task(run_display_link(self._settings.display_path, source))
            await self._serve_guest(machine, qemu_knows_sizes=True)

    def _tell_ready(self, control: GatewayLink, display: str) -> None:
        self._is_ready = True
        control.send(AgentReady(display))

    @asynccontextmanager
    async def _open_machine(self, qmp: Qmp, agent_path: Path | None) -> AsyncIterator[_Machine]:
        clipboard = MachineClipboard(self._handle_guest_text)
        by_qemu = clipboard.open_by_qemu()
        try:
            display = await DBusDisplay.open(qmp, by_qemu.exports)
        except QmpError as error:
            if error.command != "add_client":
                raise
            raise AgentError(
                f"the machine has no D-Bus display of its own ({error.description}): it must be started with "
                "-display dbus,p2p=yes"
            ) from error
        if agent_path is not None:
            # Before there are sizes to be told.
            self._port = clipboard.open_port(agent_path)
        with contextlib.closing(display):
            yield _Machine(qmp, display, clipboard, by_qemu)

    async def _serve_guest(self, machine: _Machine, *, qemu_knows_sizes: bool) -> None:
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
            if self._port is not None:
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
        await asyncio.sleep(_RECONNECT_S)
        _log.warning("QEMU has dropped the D-Bus display's connection: connecting again")
        await machine.display.reopen()


async def _open_qmp(qemu: QemuProcess, paths: Paths) -> Qmp:
    return await Qmp.open(await qemu.connect(paths.qmp), timeout_s=_START_PATIENCE_S)


async def _watch(qemu: QemuProcess) -> None:
    await asyncio.shield(qemu.ended)
    raise QemuError("QEMU has ended")


async def _watch_attached(qmp: Qmp) -> None:
    await qmp.wait_closed()
    raise QmpClosedError("connect", "QEMU is gone")


async def set_up_again(qmp: Qmp) -> bool:
    """Let QEMU set its vhost-user devices up again, as when a machine goes on. False: it is paused, and stays so."""
    try:
        status = await qmp.execute("query-status", timeout_s=_QMP_PATIENCE_S)
        if not (isinstance(status, dict) and status.get("running") is True):
            return False
        # Both at once: whatever happens to us, or to the first one's answer, the machine goes on.
        answers = [qmp.post("stop"), qmp.post("cont")]
        async with asyncio.timeout(_QMP_PATIENCE_S):
            for answer in answers:
                await answer
    except TimeoutError:
        _log.error("QEMU takes long to set the machine's display up again; if it stays dark, reset the guest")
    except QmpError as error:
        _log.error("the machine's display could not be set up again: %s; resetting the guest brings it back", error)
    return True


async def _set_size(display: DBusDisplay, scanout_id: int, width: int, height: int) -> None:
    consoles = display.graphic_consoles
    if scanout_id >= len(consoles):
        return
    try:
        await display.set_ui_info(consoles[scanout_id], width, height)
    except DBusError as error:
        _log.warning("the size of output %d was not told: %s", scanout_id, error)
