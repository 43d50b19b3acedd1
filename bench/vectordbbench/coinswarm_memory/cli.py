"""`vectordbbench coinswarmmemory`."""

from typing import Annotated, Unpack

import click
from pydantic import SecretStr

from ....cli.cli import CommonTypedDict, cli, click_parameter_decorators_from_typed_dict, run
from .. import DB


class CoinswarmMemoryTypedDict(CommonTypedDict):
    """The options of the command."""

    url: Annotated[
        str, click.option("--url", type=str, help="Address of the service", required=True)
    ]
    key: Annotated[str, click.option("--key", type=str, help="API key, if the service has keys")]


@cli.command()
@click_parameter_decorators_from_typed_dict(CoinswarmMemoryTypedDict)
def CoinswarmMemory(**parameters: Unpack[CoinswarmMemoryTypedDict]):
    """Run the chosen case."""
    from .config import CoinswarmMemoryCaseConfig, CoinswarmMemoryConfig

    run(
        db=DB.CoinswarmMemory,
        db_config=CoinswarmMemoryConfig(
            db_label=parameters["db_label"],
            url=parameters["url"],
            key=SecretStr(parameters["key"]) if parameters["key"] else None,
        ),
        db_case_config=CoinswarmMemoryCaseConfig(),
        **parameters,
    )
