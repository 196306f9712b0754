"""`interalpha serve`: the API alone, as in production."""

import rich_click as click

from api.cli.arguments import Port
from api.cli.ports import ensure_free
from api.cli.starting import prepare
from api.cli.surroundings import own_environment, port_from


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on; 0.0.0.0 is all.")
@click.option("--port", type=Port(), help="The port (default: PORT, or 8000).")
def command(host: str, port: int | None) -> None:
    """Run the API until told to end; SIGTERM lets it finish what it has begun.

    Starts only with a complete configuration; `interalpha check` shows it. Run `interalpha worker` beside it.
    """
    configuration = prepare()
    chosen = port_from(own_environment(), port)
    ensure_free(host, chosen, "Give another: --port 8100.")
    # Here, because it takes seconds: a refusal should come at once.
    from api.server import run

    try:
        run(configuration, host=host, port=chosen)
    except KeyboardInterrupt:
        return  # uvicorn hands Ctrl-C on once it has ended in order
