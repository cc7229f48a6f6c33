"""`modelyard serve` from its first start to Ctrl-C, and everything that can die between."""

import os
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import COMMAND, Served, descendants, environment, is_alive, run_command
from tests.waiting import wait_until

pytestmark = pytest.mark.sandbox


def test_the_first_start_prints_the_key_once_and_keeps_it_for_its_owner_alone(served: Served) -> None:
    key = (served.home / "admin.key").read_text().strip()
    assert served.output.count(key) == 1
    assert str(served.home / "admin.key") in served.output
    assert stat.S_IMODE((served.home / "admin.key").stat().st_mode) == 0o600
    assert key not in served.log
    assert stat.S_IMODE((served.home / "modelyard.db").stat().st_mode) == 0o600
    assert served.get("/healthz")[0] == 200


def test_a_later_start_says_where_the_key_is_and_not_what_it_is(served: Served) -> None:
    key = (served.home / "admin.key").read_text().strip()
    assert served.interrupt() == 0
    again = Served(served.home)
    try:
        again.wait_until_ready()
        assert key not in again.output
        assert str(served.home / "admin.key") in again.output
    finally:
        again.end()


def test_the_first_starts_python_and_curl_lines_work_as_printed(served: Served) -> None:
    lines = served.output.splitlines()
    python = "\n".join(line.strip() for line in lines if re.match(r"\s+(from abacusai|client =|print\()", line))
    assert subprocess.check_output([sys.executable, "-c", python], text=True).strip() == "[]"
    curl = next(line.split(None, 1)[1] for line in lines if line.strip().startswith("curl"))
    assert '"success":true' in subprocess.check_output(["bash", "-c", curl], text=True, stderr=subprocess.DEVNULL)


def test_ctrl_c_ends_everything_with_status_0(served: Served) -> None:
    everything = served.processes()
    assert len(everything) >= 3
    assert served.interrupt() == 0
    wait_until(lambda: not any(map(is_alive, everything)))


def test_sigterm_ends_everything_with_status_0(served: Served) -> None:
    everything = served.processes()
    served.process.terminate()
    assert served.process.wait(60) == 0
    wait_until(lambda: not any(map(is_alive, everything)))


def test_a_second_ctrl_c_ends_at_once_what_does_not_end_by_itself(served: Served) -> None:
    everything = served.processes()
    os.kill(served.child("agent"), signal.SIGSTOP)
    served.process.send_signal(signal.SIGINT)
    wait_until(lambda: "stopping" in served.output)
    start = time.monotonic()
    assert served.interrupt() == 130
    assert time.monotonic() - start < 15  # what does not end by itself is given 30
    wait_until(lambda: not any(map(is_alive, everything)))


def test_a_killed_gateway_is_started_again_and_refuses_nobody_meanwhile(served: Served) -> None:
    gateway = served.child("gateway")
    os.kill(gateway, signal.SIGKILL)
    wait_until(lambda: not is_alive(gateway))
    assert served.get("/api/v0/version")[0] == 200  # answered by the next one, on the same socket
    assert served.child("gateway") != gateway
    assert "gateway ended unexpectedly (killed by SIGKILL)" in served.log


def test_a_killed_agent_is_started_again_and_leaves_nothing_behind(served: Served) -> None:
    agent = served.child("agent")
    below = served.processes() - {served.process.pid, agent, served.child("gateway")}
    os.kill(agent, signal.SIGKILL)
    wait_until(lambda: served.has_child("agent", other_than=agent))
    guests = below - served.processes()
    wait_until(lambda: not any(map(is_alive, guests)))
    wait_until(lambda: served.get("/healthz")[0] == 200)


def test_a_killed_server_takes_all_its_children_along(served: Served) -> None:
    everything = served.processes()
    served.process.kill()
    served.process.wait()
    wait_until(lambda: not any(map(is_alive, everything)))


def test_a_home_that_the_server_makes_is_for_its_owner_alone(home: Path) -> None:
    started = Served(home, "--home", str(home / "a" / "b"))
    try:
        started.wait_until_ready()
        assert stat.S_IMODE((home / "a" / "b").stat().st_mode) == 0o700
    finally:
        started.end()


def test_a_second_server_on_the_same_home_is_refused(served: Served) -> None:
    second = run_command(served.home, "serve", "--port", "0")
    assert second.returncode == 1
    assert "another server already uses" in second.stderr
    assert served.url in second.stderr


def test_a_port_that_is_taken_is_told_in_one_line(served: Served, tmp_path: Path) -> None:
    port = served.url.rpartition(":")[2]
    second = run_command(tmp_path / "other", "serve", "--port", port)
    assert second.returncode == 1
    assert second.stderr.count("\n") == 1
    assert f"port {port} on 127.0.0.1 is taken" in second.stderr


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
def test_an_address_that_others_can_reach_is_refused(home: Path, host: str) -> None:
    refused = run_command(home, "serve", "--host", host, "--port", "0")
    assert refused.returncode == 1
    assert "--insecure-bind" in refused.stderr
    assert not (home / "admin.key").exists()


def test_an_address_that_others_can_reach_is_taken_when_that_is_meant(home: Path) -> None:
    started = Served(home, "--host", "0.0.0.0", "--insecure-bind")
    try:
        started.wait_until_ready()
    finally:
        started.end()


def test_every_call_is_logged_with_its_request_id_and_none_can_forge_a_line(served: Served) -> None:
    body = served.get("/api/v0/version")[1]
    found = re.search(rb'"requestId":"(\w+)"', body)
    assert found
    wait_until(lambda: found[1].decode() in served.log)
    served.get("/api/v0/a%0Aforged")
    wait_until(lambda: "a\\nforged" in served.log)
    assert "\nforged" not in served.log


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("MODELYARD_PROT", "1", "MODELYARD_PROT is not a setting; see `modelyard doctor --settings`"),
        ("MODELYARD_PORT", "abc", "MODELYARD_PORT is 'abc'; expected `int`, got `str`"),
        ("MODELYARD_REPLICAS", "0", "MODELYARD_REPLICAS is '0'; expected `int` >= 1"),
        ("MODELYARD_LEASE_S", "-5", "MODELYARD_LEASE_S is '-5'; expected `float` > 0.0"),
        ("MODELYARD_SANDBOX", "of", "MODELYARD_SANDBOX is 'of'; expected 'required' or 'off'"),
    ],
)
def test_a_setting_that_is_none_is_told_in_one_line(home: Path, variable: str, value: str, said: str) -> None:
    variables = environment(home) | {variable: value}
    failed = subprocess.run([*COMMAND, "serve"], env=variables, capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert failed.stderr.splitlines() == [f"modelyard: {said}"]


def test_one_more_agent_joins_and_ends_by_ctrl_c(served: Served) -> None:
    log = served.home / "agent.log"
    with log.open("w") as out:
        more = subprocess.Popen([*COMMAND, "agent"], env=environment(served.home), stdout=out, stderr=out)
    try:
        wait_until(lambda: "takes runs" in log.read_text(), 30)
        everything = {more.pid, *descendants(more.pid)}
        more.send_signal(signal.SIGINT)
        assert more.wait(30) == 0
        assert "Traceback" not in log.read_text()
        wait_until(lambda: not any(map(is_alive, everything)))
        assert served.get("/healthz")[0] == 200
    finally:
        more.kill()
        more.wait()


def test_a_database_that_does_not_answer_is_told_in_one_line_without_its_password(home: Path) -> None:
    variables = environment(home) | {"MODELYARD_DATABASE_URL": "postgresql://ana:secret@127.0.0.1:1/none"}
    command = [*COMMAND, "serve", "--port", "0"]
    failed = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert failed.stderr.startswith("modelyard: the database does not answer")
    assert failed.stderr.count("\n") == 1
    assert "secret" not in failed.stderr


def test_a_server_that_is_to_end_with_its_standard_input_does(home: Path) -> None:
    command = [*COMMAND, "serve", "--port", "0", "--until-stdin-ends"]
    with subprocess.Popen(command, env=environment(home), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        while b"ready at" not in server.stdout.readline():
            assert server.poll() is None
        everything = {server.pid, *descendants(server.pid)}
        server.stdin.close()
        server.stdout.read()
        assert server.wait(60) == 0
    wait_until(lambda: not any(map(is_alive, everything)))
