"""How fast the road is on this machine: accepting over HTTP, and delivery to the simulated company and back.

    .venv/bin/python bench/road.py [MESSAGES] [CLIENTS]

Starts `interalpha dev` in a temporary folder: authentication, sealing, signed webhooks and logging are all on, and
the simulators share the machine. Prints rates, the 99th percentile of accepting, and the machine; read ratios between
two runs of the same minute, not absolutes.
"""

import asyncio
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

PROGRAM = str(Path(sys.executable).with_name("interalpha"))
SEND = """mutation($to: PhoneNumber!) {
  sendMessage(input: {to: {phone: $to}, content: {text: "Olá, Ana!"}, route: [{channel: SMS}]}) {
    message { id } errors { __typename }
  }
}"""
COUNT = "{ messages(first: 0, filter: {statuses: [DELIVERED]}) { totalCount } }"


async def measure(base: str, token: str, messages: int, clients: int) -> None:
    headers = {"authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=base, headers=headers, timeout=30, trust_env=False) as http:
        for _ in range(20):
            await send(http, 0)
        already = await delivered(http)
        numbers, times = iter(range(messages)), []

        async def client() -> None:
            for number in numbers:
                start = time.perf_counter()
                await send(http, number)
                times.append(time.perf_counter() - start)

        start = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(clients)))
        accepted = time.perf_counter() - start
        while await delivered(http) < messages + already:  # noqa: ASYNC110  # there is nothing to wait on but the count
            await asyncio.sleep(0.1)
        done = time.perf_counter() - start
    p99 = statistics.quantiles(times, n=100)[98] * 1000
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}")
    print(f"accepted   {messages / accepted:8.0f} messages/s   p99 {p99:.0f} ms   {clients} clients, durable")
    print(f"delivered  {messages / done:8.0f} messages/s   from the first request to the last report applied")


async def send(http: httpx.AsyncClient, number: int) -> None:
    answer = await http.post("/graphql", json={"query": SEND, "variables": {"to": f"+55119870{number:05d}"}})
    body = answer.json()
    assert body["data"]["sendMessage"]["errors"] == [], body


async def delivered(http: httpx.AsyncClient) -> int:
    answer = await http.post("/graphql", json={"query": COUNT})
    return int(answer.json()["data"]["messages"]["totalCount"])


def main() -> None:
    messages, clients = (int(given) for given in (sys.argv[1:] + ["2000", "32"][len(sys.argv) - 1 :]))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        environment = {"PATH": os.environ["PATH"], "HOME": folder, "INTERALPHA_HOME": folder + "/data"}
        environment["CALLER_BUDGET"] = "1000000000"
        command = [PROGRAM, "dev", "--no-open", "--port", str(port)]
        with subprocess.Popen(command, env=environment, cwd=folder, stdout=subprocess.PIPE, text=True) as dev:
            try:
                assert dev.stdout is not None
                while "Ctrl-C" not in (line := dev.stdout.readline()):
                    assert line, "dev did not start"
                token = subprocess.check_output([PROGRAM, "token"], env=environment, cwd=folder, text=True).strip()
                asyncio.run(measure(f"http://127.0.0.1:{port}", token, messages, clients))
            finally:
                dev.terminate()
                # What it narrates fills the pipe; read it, or it could not end.
                dev.communicate(timeout=30)


if __name__ == "__main__":
    main()
