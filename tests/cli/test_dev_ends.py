"""However `interalpha dev` ends, no process is left, and the next start finds the data."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.cli.processes import (
    LAST_LINE,
    PROGRAM,
    WORKING_FOLDER,
    cli_environment,
    processes_of,
    run_interalpha,
    running_dev,
    started_process,
    wait_until,
)
from tests.servers import free_port


def listed(folder: Path) -> set[str]:
    done = run_interalpha(folder, "messages", "list", "--json")
    assert done.returncode == 0, done.stderr
    return {one["id"] for one in json.loads(done.stdout)}


@pytest.mark.slow
def test_what_was_sent_survives_an_end_in_order_and_a_violent_one(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with running_dev(folder, "--data", str(folder)) as dev:
        sent = json.loads(run_interalpha(folder, "send", "sms", "+5511987654321", "x", "--json").stdout)["message"][
            "id"
        ]
        assert dev.end(signal.SIGTERM) == 0
        assert dev.said.splitlines()[-2:] == ["  Stopping …", f"  Stopped. Your data is in {folder}."]
        assert processes_of(str(folder)) == {}
        assert not (folder / "dev.env").exists()
    with running_dev(folder) as dev:
        assert listed(folder) == {sent}
        dev.process.kill()
        dev.process.wait(timeout=5)
        wait_until(lambda: not [line for line in processes_of(str(folder)).values() if "devkit.child" in line])
    with running_dev(folder) as dev:
        assert listed(folder) == {sent}
        assert dev.end(signal.SIGINT) == 0
    assert processes_of(str(folder)) == {}
    assert run_interalpha(folder, "reset", "--yes").returncode == 0
    assert [path.name for path in folder.iterdir()] == ["lock"]


@pytest.mark.slow
def test_in_memory_nothing_is_kept_even_without_a_reader(tmp_path: Path) -> None:
    environment = cli_environment(tmp_path / "unused", TMPDIR=str(tmp_path))
    command = [PROGRAM, "dev", "--memory", "--no-open", "--port", str(free_port())]
    reading, writing = os.pipe()
    with started_process(command, env=environment, stdout=writing) as process:
        os.close(writing)
        with os.fdopen(reading, encoding="utf-8") as screen:
            said = ""
            while LAST_LINE not in said:
                line = screen.readline()
                assert line, said
                said += line
        assert list(tmp_path.glob("interalpha-*/postgres"))
        shown = next(line for line in said.splitlines() if " send sms " in line)
        assert (
            subprocess.run(
                ["/bin/sh", "-c", shown], cwd=WORKING_FOLDER, stdout=subprocess.DEVNULL, timeout=40, check=False
            ).returncode
            == 0
        )
        process.terminate()
        assert process.wait(timeout=20) == 0
    assert list(tmp_path.iterdir()) == []
    assert processes_of(str(tmp_path)) == {}


@pytest.mark.slow
def test_a_signal_during_start_up_ends_it(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    command = [PROGRAM, "dev", "--port", str(free_port())]
    with started_process(command, env=cli_environment(folder), stdout=subprocess.PIPE) as process:
        wait_until(lambda: (folder / "logs").exists())
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=20)[0].decode()
        assert process.returncode == 0
    assert said.splitlines() == ["  Stopping …", f"  Stopped. Your data is in {folder}."]
    assert processes_of(str(folder)) == {}
