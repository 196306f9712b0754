"""`interalpha check`: the configuration as a table and, with --probe, whether stores and providers let us in."""

import asyncio
from collections.abc import Mapping, Sequence

import rich_click as click
from rich.text import Text

from api.cli import check
from api.cli.calling import json_option, print_json, screen
from api.cli.clocks import in_local_time
from api.cli.failures import Exit
from api.cli.surroundings import own_environment
from api.configuration import Configuration, load_configuration
from core.ports import Finding, Severity, Surroundings

_PROBE_SECONDS = 20.0
_MARKS = {Severity.INFO: ("✓", "green"), Severity.WARNING: ("!", "yellow"), Severity.CRITICAL: ("✗", "bold red")}


@click.command()
@json_option
@click.option("--probe", is_flag=True, help="Also log in to the stores and each configured provider.")
def command(as_json: bool, probe: bool) -> None:
    """Is the configuration complete and consistent? Status 3 when not. Without --probe nothing leaves this machine.

    --probe sends no message. It logs in to PostgreSQL and Redis, looks at roles, rights and the tables' version, and
    asks each configured provider; status 1 when one of them would not work.
    """
    environment = own_environment()
    if not probe:
        raise SystemExit(check.run(as_json, environment))
    configuration = load_configuration(environment)
    found = asyncio.run(_probe(configuration))
    if as_json:
        print_json(
            {
                **check.as_data(configuration),
                "probes": {name: [_data(one) for one in some] for name, some in found.items()},
            }
        )
    else:
        check.render(configuration, screen())
        _render(found)
    is_critical = any(one.severity is Severity.CRITICAL for some in found.values() for one in some)
    raise SystemExit(check.exit_code(configuration) or (Exit.FAILED if is_critical else Exit.OK))


async def _probe(configuration: Configuration) -> Mapping[str, Sequence[Finding]]:
    """Ask the stores, then all providers at once."""
    # Here, because it brings SQLAlchemy, and a check without a probe should not wait for that.
    from api.store_probe import probe_stores

    stores = await probe_stores(configuration.core) if configuration.core is not None else {}
    ready = {
        name: one.card.connect(one.settings, Surroundings(webhook_url=""))
        for name, one in configuration.integrations.items()
        if one.card.connect is not None and one.settings is not None
    }
    try:
        probes = {name: one.probe for name, one in ready.items() if one.probe is not None}
        answers = await asyncio.gather(
            *(asyncio.wait_for(one.check(), _PROBE_SECONDS) for one in probes.values()), return_exceptions=True
        )
    finally:
        for one in ready.values():
            await one.close()
    return {**stores, **{name: _findings(answer) for name, answer in zip(probes, answers, strict=True)}}


def _findings(answer: Sequence[Finding] | BaseException) -> Sequence[Finding]:
    if isinstance(answer, TimeoutError):
        detail = f"There was no answer within {_PROBE_SECONDS:.0f} s."
        return [Finding("NO_ANSWER", Severity.CRITICAL, detail, "Look at the company's status page, then try again.")]
    if isinstance(answer, BaseException):
        raise answer
    return answer


def _render(found: Mapping[str, Sequence[Finding]]) -> None:
    out = screen()
    width = max((15, *map(len, found)))
    for name, findings in found.items():
        for one in findings:
            mark, style = _MARKS[one.severity]
            out.print(Text.assemble((mark, style), f" {name:<{width}}  {in_local_time(one.detail)} {one.fix}".rstrip()))
        if not findings:
            out.print(Text.assemble(("✓", "green"), f" {name:<{width}}  answers, and accepts the login"))
    if not found:
        out.print("No store and no provider is configured, so there is nothing to probe.")


def _data(finding: Finding) -> dict[str, str]:
    return {"code": finding.code, "severity": finding.severity, "detail": finding.detail, "fix": finding.fix}
