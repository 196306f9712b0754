"""`interalpha check`: the configuration as a table and, with --probe, whether stores and providers answer."""

import asyncio
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

import rich_click as click
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from api.cli.environment import own_environment
from api.cli.terminal import Exit, in_local_time, json_option, print_json, screen
from api.configuration import Carrier, Configuration, IntegrationConfiguration, load_configuration, to_simulate
from core.ports import Channel, Finding, IntegrationContext, Severity
from core.settings import CoreSettings, IntegrationSettings, Problem, State
from core.settings.core_settings import REQUIRED_IN_PRODUCTION
from core.settings.postgres_url import read_postgres_url
from core.settings.redis_url import read_redis_url

COMMANDS = {"check": ("command", "Check the configuration. Sends nothing.", 30)}

OK, NOT_CONFIGURED = 0, 3
_CHANNEL_WORDS = {Channel.WHATSAPP: "WhatsApp messages", Channel.SMS: "text messages", Channel.EMAIL: "e-mail"}


class Mark(StrEnum):
    """What stands before a line."""

    GOOD = "✓"
    WRONG = "✗"
    DOUBTFUL = "!"
    ABSENT = "○"


_STYLES = {Mark.GOOD: "green", Mark.WRONG: "bold red", Mark.DOUBTFUL: "yellow", Mark.ABSENT: "dim"}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table."""

    mark: Mark
    name: str
    words: str


def run(as_json: bool, environment: Mapping[str, str]) -> int:
    """Print the state of every setting and return the exit code: 0 when all is well, 3 when something is wrong."""
    configuration = load_configuration(environment)
    if as_json:
        print(json.dumps(as_data(configuration), ensure_ascii=False, indent=2))
    else:
        render(configuration, Console())
    return exit_code(configuration)


def exit_code(configuration: Configuration) -> int:
    """Return what the process says to its caller; warnings do not count."""
    return NOT_CONFIGURED if configuration.problems else OK


def render(configuration: Configuration, console: Console) -> None:
    """Print the table: framed and coloured for a person at a terminal, plain lines for anything else."""
    title = f"Configuration ─ {configuration.core.app_env}" if configuration.core else "Configuration"
    lines = tuple(_lines(configuration))
    if console.is_terminal and not console.no_color:
        console.print(Panel(_table(lines), title=title, title_align="left", subtitle=_total(configuration)))
        return
    width = max(len(line.name) for line in lines)
    for text in (title, *(f"{line.mark} {line.name:<{width}}  {line.words}" for line in lines), _total(configuration)):
        console.out(text, highlight=False)


def as_data(configuration: Configuration) -> dict[str, object]:
    """Return the same as JSON can hold it."""
    return {
        "environment": configuration.core.app_env if configuration.core else None,
        "errors": [_problem_data(problem) for problem in configuration.problems],
        "warnings": [_problem_data(problem) for problem in configuration.warnings],
        "integrations": {
            name: {"state": one.state, "mode": one.mode, "spoken": one.card.connect is not None}
            for name, one in configuration.integrations.items()
        },
        "channels": {
            channel: carrier.integration.card.name if carrier.integration.is_configured else None
            for channel, carrier in configuration.carriers.items()
        },
    }


def _problem_data(problem: Problem) -> dict[str, str]:
    return {"setting": problem.setting, "message": problem.message}


def _table(lines: Iterable[Line]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for line in lines:
        table.add_row(Text(line.mark, _STYLES[line.mark]), Text(line.name), Text(line.words))
    return table


def _total(configuration: Configuration) -> str:
    counts = ((len(configuration.problems), "error"), (len(configuration.warnings), "warning"))
    return " · ".join(f"{count} {word}{'' if count == 1 else 's'}" for count, word in counts)


def _lines(configuration: Configuration) -> Iterator[Line]:
    spoken = [one for one in configuration.integrations.values() if one.card.connect is not None]
    of_integrations = {problem for one in spoken for problem in one.problems}
    if configuration.core:
        yield from _core_lines(configuration.core)
    for problem in configuration.problems:
        if problem not in of_integrations:
            yield Line(Mark.WRONG, problem.setting, problem.message)
    is_production = configuration.core is None or configuration.core.is_production
    simulated = () if is_production else to_simulate(configuration)
    for name, integration in configuration.integrations.items():
        yield from _integration_lines(integration, configuration.carriers, is_simulated=name in simulated)
    told = {name for name, one in configuration.integrations.items() if one.card.connect is None and one.settings}
    for warning in (one for one in configuration.warnings if one.setting not in told):
        yield Line(Mark.DOUBTFUL, warning.setting, warning.message)


def _core_lines(core: CoreSettings) -> Iterator[Line]:
    yield Line(Mark.GOOD, "PUBLIC_BASE_URL", core.public_base_url)
    stores = {
        "DATABASE_URL": core.database_url,
        "DATABASE_URL_WORKER": core.database_url_worker,
        "DATABASE_URL_DIRECT": core.database_url_direct,
    }
    shown = {name: read_postgres_url(url.get_secret_value()).shown for name, url in stores.items() if url}
    shown |= {"REDIS_URL": read_redis_url(core.redis_url.get_secret_value()).shown} if core.redis_url else {}
    shown |= {"ENCRYPTION_KEYS": ", ".join(core.sealing_keys)} if core.encryption_keys else {}
    for name in (*stores, "REDIS_URL", "ENCRYPTION_KEYS"):
        if name in shown:
            yield Line(Mark.GOOD, name, shown[name])
        elif name in REQUIRED_IN_PRODUCTION:
            yield Line(Mark.ABSENT, name, "not set: `interalpha dev` brings its own")


def _integration_lines(
    integration: IntegrationConfiguration, carriers: Mapping[Channel, Carrier], *, is_simulated: bool
) -> Iterator[Line]:
    name = integration.card.name
    others = _carried_by_others(integration, carriers)
    is_spoken_to = integration.card.connect is not None
    for problem in integration.problems if is_spoken_to else ():
        yield Line(Mark.WRONG, name, str(problem))
    if integration.state is State.ABSENT:
        open_channels = sorted(integration.card.channels - others.keys())
        what = " and ".join(_CHANNEL_WORDS[channel] for channel in open_channels)
        effect = f": {what} will answer CHANNEL_NOT_CONFIGURED" if what else _told_of(others, ": ")
        effect = ": `interalpha dev` simulates it" if is_simulated else effect
        yield Line(Mark.ABSENT, name, f"not configured{effect}")
    if integration.settings and integration.mode:
        unspoken = "settings complete; this version does not support it yet"
        words = _hosts(integration.settings) + _told_of(others, "; ") if is_spoken_to else unspoken
        yield Line(Mark.GOOD if is_spoken_to else Mark.DOUBTFUL, name, f"{integration.mode.lower():<9}  {words}")


def _carried_by_others(
    integration: IntegrationConfiguration, carriers: Mapping[Channel, Carrier]
) -> Mapping[Channel, str]:
    """The channels of an integration that another one carries, and its name."""
    others = {channel: carriers[channel].integration for channel in sorted(integration.card.channels)}
    return {channel: one.card.name for channel, one in others.items() if one.is_configured and one is not integration}


def _told_of(others: Mapping[Channel, str], before: str) -> str:
    told = " and ".join(f"{_CHANNEL_WORDS[channel]} through {name}" for channel, name in others.items())
    return f"{before}this server sends {told}" if told else ""


def _hosts(settings: IntegrationSettings) -> str:
    """Return where calls go, as host names without anything beside them."""
    return ", ".join(urlsplit(address).netloc or address for address in settings.base_addresses)


# `interalpha check`: prints the configuration and, with --probe, whether stores and providers accept our credentials.


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
        raise SystemExit(run(as_json, environment))
    configuration = load_configuration(environment)
    found = asyncio.run(_probe(configuration))
    if as_json:
        print_json(
            {
                **as_data(configuration),
                "probes": {name: [_data(one) for one in some] for name, some in found.items()},
            }
        )
    else:
        render(configuration, screen())
        _render(found)
    is_critical = any(one.severity is Severity.CRITICAL for some in found.values() for one in some)
    raise SystemExit(exit_code(configuration) or (Exit.FAILED if is_critical else Exit.OK))


async def _probe(configuration: Configuration) -> Mapping[str, Sequence[Finding]]:
    """Ask the stores, then all providers at once."""
    # Here, because it brings SQLAlchemy, and a check without a probe should not wait for that.
    from api.store_probe import probe_stores

    stores = await probe_stores(configuration.core) if configuration.core is not None else {}
    ready = {
        name: one.card.connect(one.settings, IntegrationContext(webhook_url=""))
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
        return [Finding("NO_ANSWER", Severity.CRITICAL, detail, "Look at the provider's status page, then try again.")]
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
