"""Commands in another terminal while `interalpha dev` runs, and their output."""

import json
import re
import shlex
import socket
import stat
import subprocess
from pathlib import Path

import httpx

from tests.cli.processes import WORKING_FOLDER, Dev, Run, processes_of, run_interalpha, started_process, wait_until
from tests.servers import free_port


def send(run: Run, *arguments: str) -> dict[str, str]:
    done = run("send", *arguments, "--json")
    assert done.exit_code == 0, done.stderr
    message: dict[str, str] = json.loads(done.stdout)["message"]
    return message


def test_the_command_dev_shows_can_be_pasted_and_the_message_arrives(dev: Dev) -> None:
    shown = next(line for line in dev.said.splitlines() if " send sms " in line)
    pasted = subprocess.run(
        ["/bin/sh", "-c", shown], cwd=WORKING_FOLDER, capture_output=True, text=True, timeout=40, check=False
    )
    assert pasted.returncode == 0, pasted.stderr
    lines = pasted.stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [["✓", "queued"], ["✓", "sent"], ["✓", "delivered"]]
    assert "sms → +55 11 9••••-4321" in lines[0]
    assert re.search(r"SM[0-9a-f]{32} +\d+ ms$", lines[1])
    assert re.search(r"\d\.\d s$", lines[2])
    number = lines[0].split()[2]
    wait_until(lambda: re.search(rf"→ sms +delivered .*{number}", dev.said) is not None)
    assert "98765-4321" not in dev.said.replace(shown, "")


def test_an_email_is_followed_until_the_server_has_taken_it(run: Run) -> None:
    done = run("send", "email", "ana@example.com", "Olá\nAna", "--html", "<p>Olá</p>")
    assert done.exit_code == 0, done.stderr
    assert [line.split()[1] for line in done.stdout.splitlines()] == ["queued", "sent"]


def test_a_number_without_its_9_is_refused_and_the_right_one_offered(run: Run) -> None:
    done = run("send", "sms", "+551187654321", "x")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "input.to.phone" in done.stderr
    assert "+5511987654321" in done.stderr


def test_a_message_that_fails_is_status_1_and_its_history_says_why(run: Run) -> None:
    done = run("send", "sms", "+5511900030003", "x")
    assert done.exit_code == 1
    assert re.search(r"^✗ failed .*\(30003\)$", done.stdout, re.MULTILINE)
    story = run("messages", "show", done.stdout.split()[2]).stdout
    assert re.search(r"^ 1  .* twilio +accepted +\d+ ms +SM", story, re.MULTILINE)
    assert re.search(r"← webhook +failed", story)
    assert re.search(r"^ Why    .*recipient", story, re.MULTILINE)


def test_a_key_used_twice_sends_once(run: Run) -> None:
    key = ["sms", "+5511987654321", "once", "--idempotency-key", "a-key"]
    assert send(run, *key)["id"] == send(run, *key)["id"]


def test_messages_are_listed_newest_first_and_chosen(run: Run) -> None:
    sms, email = send(run, "sms", "+5511987654321", "x"), send(run, "email", "ana@example.com", "x")
    listed = [line.split()[-1] for line in run("messages", "list", "--limit", "2").stdout.splitlines()]
    assert listed == [email["id"], sms["id"]]
    chosen = json.loads(run("messages", "list", "--channel", "sms", "--status", "delivered", "--json").stdout)
    assert {(one["channel"], one["status"]) for one in chosen} == {("SMS", "DELIVERED")}
    shown = json.loads(run("messages", "show", email["id"], "--json").stdout)
    assert (shown["id"], shown["status"]) == (email["id"], "SENT")


def test_a_message_that_is_not_there_is_said_to_be_so(run: Run) -> None:
    done = run("messages", "show", "TWVzc2FnZTow")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "messages list" in done.stderr


def test_the_token_is_printed_alone_and_the_api_accepts_it(dev: Dev, run: Run) -> None:
    done = run("token")
    assert re.fullmatch(r"iadev_\S+\n", done.stdout)
    assert "\n" in done.stderr
    answer = httpx.post(
        f"http://127.0.0.1:{dev.port}/graphql",
        json={"query": "{ integrations { kind configuration { mode } } }"},
        headers={"authorization": f"Bearer {done.stdout.strip()}"},
        trust_env=False,
    )
    modes = {one["kind"]: one["configuration"]["mode"] for one in answer.json()["data"]["integrations"]}
    assert modes["TWILIO"] == modes["SMTP"] == "SIMULATED"


def test_keys_of_another_installation_are_distinguished(dev: Dev, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("dev:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
    server = f"http://localhost:{dev.port}"
    done = run_interalpha(tmp_path, "send", "sms", "+5511987654321", "x", "--url", server)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"✗ Signed with the keys of {tmp_path}; the server at {server} keeps others. "
        "Run with INTERALPHA_HOME=<its folder>.\n"
    )


def test_the_database_is_up_to_date(run: Run) -> None:
    state = json.loads(run("migrate", "status", "--json").stdout)
    assert state["is_current"]
    assert run("migrate", "up").stdout.startswith("✓")
    unknown = run("migrate", "up", "9999")
    assert (unknown.exit_code, unknown.stdout) == (1, "")
    assert "migrate status" in unknown.stderr


def test_secrets_are_for_the_owner_alone_and_in_no_command_line(dev: Dev) -> None:
    for name in ("dev.env", "keys"):
        assert stat.S_IMODE((dev.folder / name).stat().st_mode) == 0o600
    told = (dev.folder / "dev.env").read_text()
    secrets = [line.partition("=")[2].strip("'") for line in told.splitlines() if line.startswith(("DATABASE", "ENCR"))]
    seen = "".join(processes_of(str(dev.folder)).values())
    for pid in processes_of(str(dev.folder)):
        seen += Path(f"/proc/{pid}/environ").read_text()
    assert len(secrets) == 4
    assert not [secret for secret in secrets if secret in seen + dev.said]


def test_a_part_that_dies_is_started_again_and_said_to_have_died(dev: Dev, run: Run) -> None:
    for part in ("simulators", "worker"):
        before = processes_of(f"devkit.child {part} {dev.folder}")
        subprocess.run(["/bin/kill", "-KILL", *(str(pid) for pid in before)], check=True)
        wait_until(lambda part=part: bool(re.search(rf"{part} +ended \(signal 9\)", dev.said)))
        wait_until(lambda part=part, old=before: bool(processes_of(f"devkit.child {part} {dev.folder}").keys() - old))
    assert send(run, "sms", "+5511987654321", "again")["status"] == "DELIVERED"


def test_a_second_one_on_the_same_folder_or_port_is_refused(dev: Dev, tmp_path: Path) -> None:
    told = (dev.folder / "dev.env").read_text()
    same_folder = run_interalpha(dev.folder, "dev", "--port", str(free_port()))
    assert same_folder.returncode == 1
    assert "--data" in same_folder.stderr
    same_port = run_interalpha(tmp_path / "other", "dev", "--port", str(dev.port))
    assert same_port.returncode == 1
    assert str(dev.port) in same_port.stderr
    assert f"PORT={dev.port + 100} make dev" in same_port.stderr
    assert (dev.folder / "dev.env").read_text() == told


def test_reset_is_refused_while_it_runs(dev: Dev, run: Run) -> None:
    done = run("reset")
    assert done.exit_code == 1
    assert f"{dev.folder} is in use" in done.stderr
    assert "--data" not in done.stderr
    assert (dev.folder / "keys").exists()


def test_serve_runs_on_the_same_stores_and_ends_in_order(dev: Dev) -> None:
    told = dict(line.split("=", 1) for line in (dev.folder / "dev.env").read_text().splitlines())
    environment = {name: shlex.split(value)[0] for name, value in told.items()} | {"PORT": str(free_port())}
    command = [shlex.split(line)[1] for line in dev.said.splitlines() if line.endswith(" token")]
    with started_process([*command, "serve"], env=environment, stderr=subprocess.PIPE) as server:

        def is_ready() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", int(environment["PORT"]))) == 0

        wait_until(is_ready)
        answer = httpx.get(f"http://127.0.0.1:{environment['PORT']}/health/ready", trust_env=False)
        server.terminate()
        errors = server.communicate(timeout=15)[1].decode()
    assert answer.status_code == 200, answer.text
    assert "Finished server process" in errors
