"""``datafor-token gate``: keys of signed identities."""

import click

from datafor_token.cli.groups import Commands
from datafor_token.cli.output import done
from datafor_token.cli.services import current_settings, services
from datafor_token.errors import Forbidden
from datafor_token.validation import logs

gate = Commands("gate", help="Manage the keys of signed identities. Example: datafor-token gate rotate-key")


@gate.command("rotate-key")
@click.option(
    "--at-once",
    is_flag=True,
    help="Drop the present key now: others may know it. Identities are refused until applications fetch the new one.",
)
def rotate_key(*, at_once: bool) -> None:
    """Add a new key that signs identities from tomorrow on. Without this command, keys are rotated every 30 days.

    Example: datafor-token gate rotate-key
    """
    if not current_settings().gate_assertion:
        raise Forbidden("no identity is signed, because GATE_ASSERTION is false")
    key = services().assertion_keys.rotate(at_once=at_once)
    kid, time = key.pair.public.kid, logs.timestamp(key.signs_from / 1000)
    when = "signs now; no other key is valid any more" if at_once else f"is published now, and signs from {time}"
    done(f"The key {kid} {when}", kid=kid, signs_from=time)
