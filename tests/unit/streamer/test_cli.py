# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import socket
from pathlib import Path

import pytest

from streamer.cli import main, parse_settings
from streamer.config import PortRange, Settings, SettingsError, Size, VtestSettings
from streamer.vtest import parse_settings as parse_vtest


def test_desktop_has_defaults() -> None:
    assert parse_settings(["desktop"]) == Settings()


def test_all_options_are_read(tmp_path: Path) -> None:
    for name in ("cert", "key"):
        (tmp_path / name).touch()
    line = (
        "run --size 1001x701 --no-resize --no-audio --fps 30 --gpu 1 --convert cpu --encoder libx264 --bitrate 2.5M "
        f"--host ::1 --host localhost --port 0 --tls-cert {tmp_path}/cert --tls-key {tmp_path}/key "
        "--udp-ports 5000-5010 "
        "--ice-server stun:stun.example:3478 --ice-server turn:u:p@turn.example --limit memory-bytes=2G "
        "--limit rings=9 --no-swapchain --name Editor --log-level debug"
    )
    assert parse_settings([*line.split(), "--", "editor", "--port", "5", "--", "x"]) == Settings(
        mode="run",
        command=("editor", "--port", "5", "--", "x"),
        size=Size(1001, 701),
        resizable=False,
        has_audio=False,
        fps=30,
        gpu="1",
        convert="cpu",
        encoder="libx264",
        bitrate_bps=2_500_000,
        hosts=("::1", "127.0.0.1"),
        port=0,
        tls_cert=tmp_path / "cert",
        tls_key=tmp_path / "key",
        udp_ports=PortRange(5000, 5010),
        ice_servers=("stun:stun.example:3478", "turn:u:p@turn.example"),
        limits=("memory-bytes=2147483648", "rings=9"),
        has_swapchain=False,
        name="Editor",
        log_level="debug",
    )


def test_machine_has_options_of_its_own(tmp_path: Path) -> None:
    qemu = ["qemu-system-x86_64", "-m", "2G", "--", "-display"]
    settings = parse_settings(["vm", "--display-source", "dbus", "--fps", "30", "--", *qemu])
    assert settings == Settings(mode="vm", command=tuple(qemu), display_source="dbus", fps=30)
    with socket.socket(socket.AF_UNIX) as qmp:
        qmp.bind(str(tmp_path / "qmp"))
        settings = parse_settings(["vm", "--attach", str(tmp_path / "qmp")])
        assert (settings.attach, settings.command) == (tmp_path / "qmp", ())
        for line in ("--attach QMP -- qemu", "--attach QMP --display-source vhost-user"):
            with pytest.raises(SettingsError):
                parse_settings(["vm", *line.replace("QMP", str(tmp_path / "qmp")).split()])


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("desktop --host 0.0.0.0", "--insecure-bind"),
        ("desktop --host 192.0.2.1 --host 127.0.0.1", "--tls-cert"),
        ("desktop --tls-cert x", "belong together"),
        ("desktop --tls-cert /missing --tls-key /missing", "no such file"),
        ("run", "-- CMD"),
        ("run --", "-- CMD"),
        ("vm", "qemu-system"),
        ("vm --attach /missing", "-qmp unix:"),
        ("desktop -- xterm", "heliograph run"),
    ],
)
def test_wrong_combinations_say_what_to_do(line: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SettingsError, match=hint):
        parse_settings(line.split())
    assert main(line.split()) == 2
    assert hint in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("desktop --size 5", "1280x720"),
        ("desktop --size 5x99999", "16 to 16384"),
        ("desktop --fps 0", "1 to 240"),
        ("desktop --fps ²", "1 to 240"),
        ("desktop --port 65536", "0 to 65535"),
        ("desktop --host example.com", "no IP address"),
        ("desktop --udp-ports 9-5", "the first not above the last"),
        ("desktop --bitrate fast", "such as 8M"),
        ("desktop --bitrate 5", "must be"),
        ("desktop --ice-server http://x", "stun:HOST:PORT"),
        ("desktop --convert fpga", "invalid choice"),
        ("desktop --siz 5x5", "unrecognized"),
        ("", "required"),
        ("machine", "invalid choice"),
    ],
)
def test_wrong_values_name_the_option(line: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_settings(line.split())
    assert caught.value.code == 2
    output = capsys.readouterr()
    assert hint in output.err
    assert output.out == ""


def test_insecure_bind_is_taken_when_asked_for() -> None:
    assert parse_settings(["desktop", "--host", "0.0.0.0", "--insecure-bind"]).exposed


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == "heliograph 0.1.0\n"


def test_taken_port_is_said_before_anything_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["desktop", "--port", str(taken.getsockname()[1])]) == 1
    output = capfd.readouterr()
    assert "--port 0" in output.err
    assert output.out == ""
    assert list(tmp_path.iterdir()) == []


def test_vtest_has_defaults() -> None:
    assert parse_vtest(["--socket", "/run/v"]) == VtestSettings(Path("/run/v"))


def test_vtests_options_are_read() -> None:
    line = "--socket v --socket-mode 660 --gpu 1 --max-clients 3 --limit clients=5 --no-swapchain --log-level error"
    assert parse_vtest(line.split()) == VtestSettings(
        socket=Path("v").absolute(),
        socket_mode=0o660,
        gpu="1",
        max_clients=3,
        limits=("clients=5",),
        has_swapchain=False,
        log_level="error",
    )


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("", "--socket"),
        ("--socket /v --limit memory", "is no limit"),
        ("--socket /v --limit memory-bytes=-1", "is no limit"),
        ("--socket /v --limit memory-bytes=1T", "is no limit"),
        ("--socket /v --socket-mode 999", "is no file mode"),
        ("--socket /v --max-clients 0", "not within"),
        ("--socket /v --sock /w", "unrecognized"),
    ],
)
def test_vtest_says_what_is_wrong(line: str, error: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["vtest", *line.split()])
    assert ended.value.code == 2
    assert error in capsys.readouterr().err


def test_installed_package_has_no_benchmarks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("streamer.cli.__file__", str(tmp_path / "streamer" / "cli.py"))
    assert main(["bench", "glass"]) == 2
    assert "there are no benchmarks beside an installed Heliograph" in capsys.readouterr().err


def test_outputs_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse_settings(["vm", "--outputs", "16", "--", "qemu"]).outputs == 16
    with pytest.raises(SystemExit):
        parse_settings(["vm", "--outputs", "17", "--", "qemu"])
    assert "1 to 16" in capsys.readouterr().err
    with pytest.raises(SettingsError, match="1 to 16"):
        Settings(outputs=0).check()
