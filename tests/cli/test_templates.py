"""`interalpha seed`, and templates by their name on the command line."""

import asyncio
import json
from pathlib import Path

import asyncpg
import pytest
from click.testing import CliRunner

from api.cli import interalpha as program
from api.database_commands import seed
from api.migrations import downgrade
from tests.cli.processes import Run, wait_until
from tests.databases import SharedStores, Urls

NAMES = ("order_shipped", "appointment_reminder", "payment_receipt")


def test_dev_has_seeded_and_seeding_again_changes_nothing(run: Run) -> None:
    done = run("seed")
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[1] for line in lines[:3]] == list(NAMES)
    assert all(line.endswith("there already") for line in lines[:3])
    assert "--template order_shipped" in done.stdout


def test_a_template_of_ours_is_sent_by_its_name(run: Run) -> None:
    values = ["--set", "order.number=1042", "--set", "day=amanhã = dia 24"]
    done = run("send", "sms", "+55 11 98765-4321", "--template", "order_shipped", *values)
    assert done.exit_code == 0, done.stderr
    assert "✓ delivered" in done.stdout


def test_an_e_mail_is_made_of_a_template(run: Run) -> None:
    values = ["--set", "amount=R$ 129,90", "--set", "order.number=pedido 1042"]
    done = run("send", "email", "ana@example.com", "--template", "payment_receipt", *values, "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["message"]["status"] == "SENT"


def test_a_template_of_whatsapps_is_there_within_seconds_and_arrives(run: Run) -> None:
    values = ["--set", "1=Ana", "--set", "2=24/11 às 10:00"]
    command = ("send", "whatsapp", "+55 21 99999-1234", "--template", "appointment_reminder", *values)
    wait_until(lambda: "There is no template" not in run(*command).stderr)
    done = run(*command)
    assert done.exit_code == 0, done.stderr
    assert "✓ delivered" in done.stdout


def test_one_of_several_languages_must_be_chosen(run: Run) -> None:
    command = ("send", "whatsapp", "+5521999991234", "--template", "order_shipped")
    wait_until(lambda: "There is no template" not in run(*command).stderr)
    assert "exists in en-US, pt-BR: choose with --locale" in run(*command).stderr
    refused = run(*command, "--locale", "pt-BR", "--set", "name=Ana")
    assert refused.exit_code == 1
    assert "needs a value for order, day, button.0" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sms", "+5511987654321"], "Missing argument 'TEXT'"),
        (["sms", "+5511987654321", "Olá", "--template", "x"], "not both"),
        (["whatsapp", "+5511987654321", "Olá", "--set", "a=b"], "go with --template"),
        (["sms", "+5511987654321", "--template", "x", "--set", "Ana"], "no NAME=VALUE"),
        (["email", "ana@example.com", "--template", "x", "--subject", "y"], "subject and bodies of its own"),
    ],
)
def test_what_does_not_go_together_is_wrong_usage(arguments: list[str], words: str) -> None:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(program, ["send", *arguments])
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr


async def test_seeding_makes_what_is_missing_and_leaves_the_rest(
    urls: Urls, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INTERALPHA_HOME", str(tmp_path))
    monkeypatch.setenv("DATABASE_URL_DIRECT", urls.direct)
    said = []
    for change in (None, "UPDATE templates SET body = 'nossa'"):
        owner = await asyncpg.connect(urls.direct)
        await owner.execute(change or "DELETE FROM templates")
        result = await asyncio.to_thread(CliRunner().invoke, program, ["seed"])
        assert result.exit_code == 0, result.stderr
        said.append([line.rpartition("   ")[2] for line in result.stdout.splitlines()[:3]])
        bodies = {row["body"] for row in await owner.fetch("SELECT body FROM templates")}
        await owner.close()
    assert said == [["made"] * 3, ["there already"] * 3]
    assert bodies == {"nossa"}


async def test_what_was_seeded_is_in_the_audit_log_and_what_was_there_is_not(urls: Urls) -> None:
    owner = await asyncpg.connect(urls.direct)
    try:
        await owner.execute("DELETE FROM templates")
        await owner.execute("TRUNCATE audit_events")
        made, again = await seed(urls.direct), await seed(urls.direct)
        events = await owner.fetch("SELECT actor, kind, action, target_type, target_id FROM audit_events")
    finally:
        await owner.close()
    assert (len(made), again) == (3, [])
    assert {tuple(one) for one in events} == {("interalpha", "CLI", "seed", "Template", str(one.id)) for one in made}
    assert len(events) == 3


async def test_seeding_before_the_tables_are_there_says_what_to_do(
    stores: SharedStores, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INTERALPHA_HOME", str(tmp_path))
    async with stores.database() as urls:
        await asyncio.to_thread(downgrade, urls.direct, "base")
        monkeypatch.setenv("DATABASE_URL_DIRECT", urls.direct)
        result = await asyncio.to_thread(CliRunner().invoke, program, ["seed"])
    assert result.exit_code == 1
    assert "interalpha migrate up" in result.stderr
