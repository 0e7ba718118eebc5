"""``datafor-token drain``: take this node out of its load balancer, while it still serves."""

import click

from datafor_token.cli.failures import Unavailable
from datafor_token.cli.groups import Command
from datafor_token.cli.options import common_options
from datafor_token.cli.output import done
from datafor_token.cli.services import current_settings


@click.command("drain", cls=Command)
@common_options
@click.option("--end", is_flag=True, help="End it: load balancers send requests to this node again.")
def drain(*, end: bool) -> None:
    """Have load balancers send no more requests to this node, until drain --end or the next start of the server.

    /readyz is 503 with draining, and each response ends its connection. All calls are still served.

    Example: datafor-token drain
    """
    from datafor_token.operations.draining import Draining

    folder = current_settings().data_dir
    if not folder.is_dir():
        raise Unavailable(f"the data folder {folder} does not exist: name that of the server with --data")
    draining = Draining(folder)
    if end:
        draining.end()
        done("This node does not drain: /readyz is 200 again while its store can be read", draining=False)
    else:
        draining.begin()
        done("This node drains: /readyz is 503. To end it, run `datafor-token drain --end`", draining=True)
