"""Where ranks find their driver: a private directory with the control socket and the exchange's file."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from serving.engine.control import Channel, ChannelClosed, Kind
from serving.engine.engine_config import EngineConfig
from serving.engine.errors import RankLost
from serving.engine.gang import Gang, RankReport, read_report
from serving.experts.rank_settings import RankSettings
from serving.experts.shm_layout import create_shared_file, shm_layout
from serving.model.checkpoint import Checkpoint

_LOOK_SECONDS = 0.1


class Rendezvous:
    """Use one for one gang: `settings(rank)` goes to each rank's process, `assemble()` waits for all of them.

    Nothing of it stays on disk once the gang is assembled, so a killed driver leaves nothing behind.
    """

    def __init__(self, checkpoint: Checkpoint, config: EngineConfig) -> None:
        self._checkpoint, self._config = checkpoint, config
        self._directory = Path(tempfile.mkdtemp(prefix="countersign-"))  # mode 0700
        self._shared = self._shared_path()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._listener.bind(str(self._directory / "control"))
            self._listener.listen(config.ranks)
            if config.exchange == "shm" and config.ranks > 1:
                create_shared_file(self._shared, shm_layout(checkpoint.config, config.ranks, config.step_tokens))
        except BaseException:
            self.close()
            raise

    def settings(self, rank: int) -> RankSettings:
        config = self._config
        return RankSettings(
            rank=rank,
            ranks=config.ranks,
            checkpoint=str(self._checkpoint.directory),
            control_path=str(self._directory / "control"),
            exchange=config.exchange,
            exchange_path=str(self._shared),
            step_tokens=config.step_tokens,
            kv_blocks=config.kv_blocks,
            block_size=config.block_size,
            exchange_seconds=config.exchange_seconds,
            compiled=config.compiled,
        )

    def assemble(self, check: Callable[[], None] | None = None) -> Gang:
        """Waits until every rank is ready; `check` is called meanwhile and may raise to give up early.

        Raises RankLost when a rank fails to start or is not ready within `start_seconds`.
        """
        deadline = time.monotonic() + self._config.start_seconds
        arrived: dict[int, tuple[Channel, RankReport]] = {}
        channels: list[Channel] = []
        try:
            while len(channels) < self._config.ranks:
                channels.append(self._accept(deadline, check))
            for channel in channels:
                report = _hello(channel, deadline)
                arrived[report.rank] = (channel, report)
            ordered = [arrived[rank] for rank in sorted(arrived)]
            if [report.rank for _, report in ordered] != list(range(self._config.ranks)):
                raise RankLost(None, "two ranks came under the same number")
        except BaseException:
            for channel in channels:
                channel.close()
            raise
        finally:
            self.close()
        return Gang([channel for channel, _ in ordered], [r for _, r in ordered], self._config.step_seconds)

    def close(self) -> None:
        """Remove the directory and the file; processes that have them open keep them."""
        self._listener.close()
        shutil.rmtree(self._directory, ignore_errors=True)
        if self._shared.parent != self._directory:
            self._shared.unlink(missing_ok=True)

    def __enter__(self) -> Rendezvous:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _shared_path(self) -> Path:
        memory = Path("/dev/shm")  # noqa: S108 - the file itself is created exclusively, for this user only
        if self._config.exchange == "shm" and os.access(memory, os.W_OK):
            return memory / self._directory.name
        return self._directory / "exchange"

    def _accept(self, deadline: float, check: Callable[[], None] | None) -> Channel:
        self._listener.settimeout(_LOOK_SECONDS)
        while time.monotonic() < deadline:
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                if check is not None:
                    check()
                continue
            return Channel(connection)
        raise RankLost(None, f"not all ranks connected within {self._config.start_seconds:g} s")


def _hello(channel: Channel, deadline: float) -> RankReport:
    channel.set_time_limit(max(0.001, deadline - time.monotonic()))
    try:
        kind, payload = channel.receive()
    except (ChannelClosed, TimeoutError) as error:
        raise RankLost(None, "a rank ended or stalled while it loaded its shard") from error
    if kind is Kind.FAULT:
        raise RankLost(None, f"a rank could not start: {payload.decode(errors='replace')}")
    try:
        return read_report(payload)
    except (KeyError, TypeError, ValueError) as error:
        raise RankLost(None, "a rank sent an unreadable report") from error
