"""The serving half's command line: `serving plan …`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from serving.model.config import CheckpointError
from serving.model.families.registry import read_model_config
from serving.planning.devices import UnknownDevices, fleet_named
from serving.planning.layout import PlannedLoad, layouts
from serving.planning.shape import BF16, INT4, shape_of
from serving.planning.tables import as_json, show

USUAL_CONTEXT = 4096  # tokens
BYTES = {"bf16": BF16, "int4": INT4}

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Countersign's serving half.")


@app.callback()
def serving() -> None:
    """Keeps `plan` a subcommand while it is the only one."""


@app.command()
def plan(
    checkpoint: Annotated[
        Path, typer.Option(exists=True, file_okay=False, help="A directory with a config.json; weights are not read.")
    ],
    gpus: Annotated[str, typer.Option(help="Number and kind, as in 16xA100-80G.")],
    experts: Annotated[
        str | None, typer.Option(help="How routed experts are kept: bf16 or int4; default: as the checkpoint has them.")
    ] = None,
    context: Annotated[
        int | None,
        typer.Option(min=1, help="Tokens of a sequence, prompt and answer; default: 4096 at most."),
    ] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Sequences at once; default: what the cache holds.")] = None,
    node: Annotated[int, typer.Option(min=1, help="Devices of one node.")] = 8,
    spare_experts: Annotated[
        int,
        typer.Option(
            min=0, max=64, envvar="COUNTERSIGN_SPARE_EXPERTS", help="Experts of a layer beyond a rank's even part."
        ),
    ] = 0,
    as_one_object: Annotated[bool, typer.Option("--json", help="One JSON object instead of tables.")] = False,
) -> None:
    """How the model would be laid over these devices: placement, memory of each rank, predicted tokens a second.

    Exit code 1 where no layout fits.
    """
    config = read_model_config(checkpoint)
    shape, fleet = shape_of(config), fleet_named(gpus, node)
    if experts is None:
        experts = "bf16" if config.packing is None else "int4"
    elif experts not in BYTES:
        raise typer.BadParameter(
            f"{experts!r} is no way of keeping experts: take bf16 or int4.", param_hint="--experts"
        )
    if context is None:
        context = min(USUAL_CONTEXT, shape.context)
    elif context > shape.context:
        raise typer.BadParameter(f"the model's context has {shape.context} tokens.", param_hint="--context")
    wanted = PlannedLoad(BYTES[experts], context, batch, spare_experts)
    found = layouts(shape, fleet, wanted)
    if not found:
        raise UnknownDevices(
            f"{fleet.count} devices cannot be split into stages (at most {shape.layers}, the layers) x ranks (at most "
            f"{max(shape.experts, 1)}, the experts): name a number that can be."
        )
    if as_one_object:
        typer.echo(json.dumps(as_json(shape, fleet, found, wanted)))
    else:
        show(shape, fleet, found, experts, wanted)
    raise typer.Exit(0 if found[0].fits else 1)


def main() -> None:
    """What an operator can mend is one sentence on standard error and exit code 1."""
    try:
        app()
    except (CheckpointError, UnknownDevices) as error:
        print(f"serving: {error}", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
