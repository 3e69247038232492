# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from guest_agent.vm.qemu_command import CommandError, Paths, QemuCommand, Source, complete

PATHS = Paths(Path("/s/qmp"), Path("/s/gpu"), Path("/s/agent"))


def completed(line: str, source: Source | None = None, *, has_sound: bool = True) -> QemuCommand:
    return complete(line.split(), PATHS, source=source, size=(800, 600), outputs=2, has_sound=has_sound)


def added(line: str, source: Source | None = None, *, has_sound: bool = True) -> str:
    words = completed(line, source, has_sound=has_sound).words
    assert words[: len(line.split())] == tuple(line.split())
    return " ".join(words[len(line.split()) :])


def test_plain_machine_gets_all_that_a_session_needs() -> None:
    line = "qemu-system-x86_64 -M q35 -m 2G disk.qcow2"
    assert completed(line).source == "vhost-user"
    text = added(line)
    for part in (
        "-chardev socket,id=heliograph-qmp,path=/s/qmp,server=on,wait=off -mon chardev=heliograph-qmp,mode=control",
        "-chardev socket,id=heliograph-gpu,path=/s/gpu,server=on,wait=on",
        "-vga none -device vhost-user-gpu-pci,chardev=heliograph-gpu,max_outputs=2,xres=800,yres=600",
        "-object memory-backend-memfd,id=heliograph-ram,size=2G,share=on -machine memory-backend=heliograph-ram",
        "-chardev socket,id=heliograph-agent,path=/s/agent,server=on,wait=off",
        "bus=heliograph-agent.0,chardev=heliograph-agent,name=org.heliograph.agent.0",
        "-chardev qemu-vdagent,id=heliograph-vdagent,name=vdagent,clipboard=on,mouse=off",
        "bus=heliograph-agent.0,chardev=heliograph-vdagent,name=com.redhat.spice.0",
        "-device qemu-xhci,id=heliograph-usb -device usb-tablet",
        "-audiodev dbus,id=heliograph-audio -display dbus,p2p=yes,audiodev=heliograph-audio",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("option", "size"),
    [("", "128M"), ("-m 512", "512M"), ("-m 1.5G", "1.5G"), ("-m size=3G,slots=2,maxmem=8G", "3G"), ("--m 4G", "4G")],
)
def test_shared_memory_is_as_large_as_the_machines(option: str, size: str) -> None:
    assert f"size={size},share=on" in added(f"qemu {option}")


@pytest.mark.parametrize(
    "device",
    ["-vga std", "-vga qxl", "-device VGA", "-device qxl-vga,id=x", "-device driver=virtio-gpu-pci", "-device ramfb"],
)
def test_display_device_of_the_users_own_is_shown_by_dbus(device: str) -> None:
    line = f"qemu -m 1G {device}"
    assert completed(line).source == "dbus"
    text = added(line)
    assert "vhost" not in text
    assert "-vga" not in text
    assert "memory-backend" not in text
    assert "-display dbus,p2p=yes" in text


def test_dbus_without_a_display_device_gets_one() -> None:
    text = added("qemu -nodefaults", "dbus")
    assert "-vga none -device virtio-vga,max_outputs=2,xres=800,yres=600" in text
    assert "memory-backend" not in text


def test_no_vga_is_no_display_device() -> None:
    assert completed("qemu -vga none").source == "vhost-user"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("qemu -device virtio-tablet-pci", ""),
        ("qemu -usbdevice tablet", ""),
        ("qemu -device nec-usb-xhci", "-device usb-tablet"),
        ("qemu -device ich9-usb-ehci1", "-device usb-tablet"),
        ("qemu -usb", "-device usb-tablet"),
    ],
)
def test_pointer_is_added_where_there_is_none(line: str, expected: str) -> None:
    text = added(line)
    assert "qemu-xhci" not in text
    assert ("usb-tablet" in text) == bool(expected)


def test_shared_memory_of_the_users_own_is_kept() -> None:
    object_ = "-object memory-backend-memfd,id=ram,size=1G"
    for more in ("", ",share=on", ",share=on,seal=on,prealloc=on"):
        assert "memory-backend" not in added(f"qemu {object_}{more} -M q35,memory-backend=ram")
        assert "memory-backend" not in added(f"qemu {object_}{more} -numa node,memdev=ram")


def test_memory_that_nobody_shares_with_the_worker_may_be_any() -> None:
    object_ = "-object memory-backend-file,id=ram,mem-path=/dev/hugepages,size=1G"
    assert completed(f"qemu {object_} -M q35,memory-backend=ram", "dbus").source == "dbus"
    assert "heliograph-ram" in added(f"qemu {object_}")  # nothing uses it


def test_port_for_another_agent_is_not_added_twice() -> None:
    text = added("qemu -chardev qemu-vdagent,id=v,clipboard=on")
    assert "vdagent" not in text
    assert "org.heliograph.agent.0" in text


def test_no_sound_no_audiodev() -> None:
    assert "audio" not in added("qemu", has_sound=False)


@pytest.mark.parametrize(
    ("line", "source", "says"),
    [
        ("", None, "there is no QEMU"),
        ("qemu -nographic", None, "-nographic"),
        ("qemu -daemonize", None, "-daemonize"),
        ("qemu -display gtk", None, "-display gtk"),
        ("qemu -spice port=1", None, "-spice"),
        ("qemu -vnc :1", None, "-vnc"),
        ("qemu -device vhost-user-vga,chardev=a", None, "vhost-user-vga"),
        ("qemu -vga qxl", "vhost-user", "--display-source dbus"),
        ("qemu -chardev null,id=heliograph-gpu", None, "taken"),
        ("qemu -m lots", None, "-m lots"),
        ("qemu -numa node", None, "-numa"),
        ("qemu -mem-path /x", None, "-mem-path"),
        ("qemu -object memory-backend-ram,id=a,size=1G -M memory-backend=a", None, "share=on"),
        ("qemu -object memory-backend-file,id=a,share=on -M memory-backend=a", None, "--display-source dbus"),
        ("qemu -object memory-backend-memfd,id=a,hugetlb=on -M memory-backend=a", None, "leave hugetlb"),
        ("qemu -object memory-backend-memfd,id=a,seal=off -numa node,memdev=a", None, "leave hugetlb"),
        ("qemu -object memory-backend-memfd,id=a,share=off -M memory-backend=a", None, "share=on"),
        ("qemu -object memory-backend-file,id=a -device nvdimm,memdev=a", None, "memory-backend-memfd"),
    ],
)
def test_what_cannot_be_is_refused_and_says_what_to_do(line: str, source: Source | None, says: str) -> None:
    with pytest.raises(CommandError) as caught:
        completed(line, source)
    assert says in str(caught.value)


def test_vnc_may_stand_beside_dbus() -> None:
    assert completed("qemu -vnc :1 -vga std").source == "dbus"


def test_values_are_not_taken_for_options() -> None:
    # A kernel's command line, and a name that looks like an option.
    assert completed("qemu -append -vga -name -nographic").source == "vhost-user"
