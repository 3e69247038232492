# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

from streamer.config import PortRange, Settings, Size, VtestSettings
from streamer.gateway.commands import agent_spec, streamer_spec, vm_agent_spec, vtest_worker_spec, worker_spec


def test_worker_gets_its_sockets_and_its_driver() -> None:
    settings = Settings(size=Size(801, 601), fps=30, gpu="cpu", convert="gpu", limits=("rings=9",))
    spec = worker_spec(settings, 7, 8, 9, {"LD_LIBRARY_PATH": "/x"})
    line = " ".join(spec.command)
    assert "-m render_core.worker --display-fd 7 --frames-fd 8 --vtest-fd 9 --gpu cpu" in line
    assert "--gpu cpu --size 801x601 --fps 30 --convert gpu" in line
    assert "--limit rings=9" in line
    assert (spec.fds, spec.environment) == ((7, 8, 9), {"LD_LIBRARY_PATH": "/x"})


def test_worker_can_end_its_venus_clients_by_itself() -> None:
    for spec in (worker_spec(Settings(), 7, 8, 9, {}), vtest_worker_spec(VtestSettings(Path("/v")), 7, {})):
        assert spec.is_guarded
        assert spec.death_signal != "KILL"


def test_vtest_worker_serves_one_client_and_no_display() -> None:
    settings = VtestSettings(Path("/v"), limits=("rings=9", "memory-bytes=5"), has_swapchain=False)
    spec = vtest_worker_spec(settings, 7, {})
    line = " ".join(spec.command)
    assert "-m render_core.worker --vtest-fd 7 --once --gpu auto" in line
    assert "--limit rings=9 --limit memory-bytes=5 --no-swapchain" in line
    assert "display" not in line
    assert (spec.fds, spec.restarts) == ((7,), False)


def test_streamer_gets_the_networks_options() -> None:
    settings = Settings(
        hosts=("127.0.0.1", "::1"),
        udp_ports=PortRange(5, 9),
        ice_servers=("stun:a:1", "turn:u:p@b"),
        bitrate_bps=5_000_000,
        resizable=False,
        outputs=3,
    )
    line = " ".join(streamer_spec(settings, Path("/s/frames.sock"), Path("/s/agent.sock")).command)
    for part in (
        "-m streamer.process --frames /s/frames.sock --agent /s/agent.sock",
        "--host 127.0.0.1 --host ::1",
        "--udp-ports 5-9",
        "--ice-server stun:a:1 --ice-server turn:u:p@b",
        "--bitrate 5000000",
        "--no-resize",
        "--outputs 3",
    ):
        assert part in line


def test_streamer_gets_addresses_and_no_wildcards() -> None:
    command = streamer_spec(Settings(hosts=("0.0.0.0",)), Path("/f"), Path("/a")).command
    hosts = [command[index + 1] for index, word in enumerate(command) if word == "--host"]
    assert "127.0.0.1" in hosts
    assert "0.0.0.0" not in hosts


def test_guest_comes_last_and_cannot_be_taken_for_an_option() -> None:
    spec = agent_spec(Settings(mode="run", command=("--size", "x")), 9, Path("/d"), Path("/v"), Path("/s"))
    assert spec.guest == ("--", "--size", "x")
    assert agent_spec(Settings(), 9, Path("/d"), Path("/v"), Path("/s")).guest == ("--desktop",)
    assert not spec.restarts


def test_sound_has_a_socket_unless_it_is_switched_off() -> None:
    settings, frames, agent = Settings(), Path("/f"), Path("/a")
    assert "--sound /s" in " ".join(streamer_spec(settings, frames, agent, Path("/s")).command)
    assert "--sound" not in streamer_spec(settings, frames, agent).command
    spec = agent_spec(settings, 9, Path("/d"), Path("/v"), Path("/s"), 10)
    assert "--sound-fd 10" in " ".join(spec.command)
    assert spec.fds == (9, 10)
    silent = agent_spec(settings, 9, Path("/d"), Path("/v"), Path("/s"))
    assert "--sound-fd" not in silent.command
    assert silent.fds == (9,)


def test_machine_gets_an_agent_of_its_own_and_no_venus() -> None:
    settings = Settings(mode="vm", command=("qemu", "-m", "1G"), display_source="dbus")
    worker = worker_spec(settings, 7, 8, 9, {})
    line = " ".join(worker.command)
    assert "--machine-fd 9" in line
    assert "vtest" not in line
    assert not worker.is_guarded
    agent = vm_agent_spec(settings, 9, Path("/d"), Path("/m"), Path("/s"), 10)
    line = " ".join(agent.command)
    assert "-m guest_agent.vm --agent-fd 9 --display /d --machine /m --session-dir /s --size 1280x720" in line
    assert "--sound-fd 10 --display-source dbus" in line
    assert agent.guest == ("--", "qemu", "-m", "1G")
    assert (agent.fds, agent.restarts) == ((9, 10), False)


def test_agent_of_a_machine_that_is_not_ours_comes_again() -> None:
    agent = vm_agent_spec(Settings(mode="vm", attach=Path("/q")), 9, Path("/d"), Path("/m"), Path("/s"))
    assert "--attach /q" in " ".join(agent.command)
    assert (agent.guest, agent.restarts) == ((), True)
