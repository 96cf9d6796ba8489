"""Knows accelerators by name: what they hold, how fast they read it, and how fast they talk to each other."""

from __future__ import annotations

import re
from dataclasses import dataclass

GIB = 1024**3


class UnknownDevices(ValueError):
    """A text does not name devices; the message says what does."""


@dataclass(frozen=True, slots=True)
class Device:
    """One accelerator, from its maker's data sheet."""

    name: str
    memory: float  # bytes
    bandwidth: float  # bytes a second, of its own memory
    flops: float  # a second, dense, bf16
    link: float  # bytes a second to the others of its node, one way
    launch_seconds: float = 4e-6  # to start one kernel, where a step's kernels are replayed as one graph


@dataclass(frozen=True, slots=True)
class Fleet:
    """Equal devices in nodes."""

    device: Device
    count: int
    of_node: int
    network: float = 50e9  # bytes a second a device has to other nodes: 400 Gbit/s

    def link(self, ranks: int) -> float:
        """Bytes a second between `ranks` neighbours: the network's where they do not fit one node."""
        return self.device.link if ranks <= self.of_node else self.network


# NVIDIA's data sheets: A100 (2021), H100 (2023), H200 (2024), B200 (2025), L40S (2023). The L40S has PCIe 4 only.
DEVICES = (
    Device("A100-40G", 40e9, 1.555e12, 312e12, 300e9),
    Device("A100-80G", 80e9, 2.039e12, 312e12, 300e9),
    Device("H100-80G", 80e9, 3.35e12, 989e12, 450e9),
    Device("H200-141G", 141e9, 4.8e12, 989e12, 450e9),
    Device("B200-180G", 180e9, 7.7e12, 2250e12, 900e9),
    Device("L40S-48G", 48e9, 0.864e12, 362e12, 32e9),
)
_BY_NAME = {device.name.upper(): device for device in DEVICES}
_WRITTEN = re.compile(r"(\d{1,5})\s*[xX×*]\s*([\w.-]+)")


def fleet_named(text: str, of_node: int = 8) -> Fleet:
    """`16xA100-80G` → 16 of them, in nodes of `of_node`. Raises UnknownDevices."""
    match = _WRITTEN.fullmatch(text.strip())
    device = _BY_NAME.get(match[2].upper()) if match else None
    if match is None or device is None or int(match[1]) < 1:
        known = ", ".join(device.name for device in DEVICES)
        raise UnknownDevices(f"{text!r} names no devices; write a number, x and one of {known}, as in 16xA100-80G.")
    return Fleet(device, int(match[1]), min(of_node, int(match[1])))
