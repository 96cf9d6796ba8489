"""Where rank processes find their driver: a private directory with the control socket, gone once all have come."""

from __future__ import annotations

import json
import shutil
import socket
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from serving.engine.control import Channel, ChannelClosed, Kind
from serving.engine.engine_config import EngineConfig
from serving.engine.errors import RankLost
from serving.engine.fault import fault_from_json
from serving.experts.rank_settings import RankSettings
from serving.model.checkpoint import Checkpoint

_LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class GangMember:
    """A rank process that is connected and could take a place."""

    pid: int
    channel: Channel


class Rendezvous:
    """Use one for each group of processes started together: `settings()` goes to each, `accept()` waits for them.

    Nothing of it stays on disk once they have come, so a killed driver leaves nothing behind.
    """

    def __init__(self, checkpoint: Checkpoint, config: EngineConfig) -> None:
        self._checkpoint, self._config = checkpoint, config
        self._directory = Path(tempfile.mkdtemp(prefix="countersign-"))  # mode 0700
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._listener.bind(str(self._directory / "control"))
            self._listener.listen(config.places)
        except BaseException:
            self.close()
            raise

    def settings(self) -> RankSettings:
        config = self._config
        return RankSettings(
            ranks=config.ranks,
            stages=config.stages,
            checkpoint=str(self._checkpoint.directory),
            control_path=str(self._directory / "control"),
            exchange=config.exchange,
            step_tokens=config.step_tokens,
            kv_blocks=config.kv_blocks,
            block_size=config.block_size,
            exchange_seconds=config.exchange_seconds,
            most_running=config.most_running,
            compiled=config.compiled,
            spare_experts=config.spare_experts,
        )

    def accept(self, count: int, check: Callable[[], None] | None = None) -> list[GangMember]:
        """Waits until so many processes could take a place; `check` is called meanwhile and may raise to give up.

        Raises RankLost when one fails to start or all are not there within `start_seconds`.
        """
        deadline = time.monotonic() + self._config.start_seconds
        channels: list[Channel] = []
        try:
            while len(channels) < count:
                channels.append(self._connected(deadline, check))
            return [GangMember(_hello(channel, deadline), channel) for channel in channels]
        except BaseException:
            for channel in channels:
                channel.close()
            raise
        finally:
            self.close()

    def close(self) -> None:
        """Remove the directory; who is connected stays so."""
        self._listener.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def __enter__(self) -> Rendezvous:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _connected(self, deadline: float, check: Callable[[], None] | None) -> Channel:
        while time.monotonic() < deadline:
            try:
                self._listener.settimeout(_LOOK_SECONDS)
                connection, _ = self._listener.accept()
            except TimeoutError:
                if check is not None:
                    check()
            except OSError as error:
                raise RankLost(None, "nobody waits any more for the ranks to connect") from error
            else:
                return Channel(connection)
        raise RankLost(None, f"not all ranks connected within {self._config.start_seconds:g} s")


def _hello(channel: Channel, deadline: float) -> int:
    """The process's id."""
    channel.set_time_limit(max(0.001, deadline - time.monotonic()))
    try:
        kind, payload = channel.receive()
        if kind is Kind.FAULT:
            raise RankLost(None, f"a rank could not start: {fault_from_json(payload).reason}")
        return int(json.loads(payload)["pid"])
    except (ChannelClosed, TimeoutError) as error:
        raise RankLost(None, "a rank ended or stalled before it was ready") from error
    except (KeyError, TypeError, ValueError) as error:
        raise RankLost(None, "a rank sent an unreadable greeting") from error
