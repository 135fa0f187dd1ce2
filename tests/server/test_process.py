"""The `podium serve` process: start, signals, shutdown, and workers."""

from __future__ import annotations

import os
import re
import resource
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

import podium
from loopback import wait_until
from serving import REQUEST, Process, Serving, failed_start, rerankers


def long_request(documents, repeats):
    text = "a red fruit at sea " * repeats
    return {"query": "red fruit", "documents": [f"{number} {text}" for number in range(documents)]}


def is_computing(server):
    return "podium_requests_in_progress 1.0" in server.client.get("/metrics").text


def test_server_answers_and_stops():
    with Process() as server:
        assert server.client.post("/v2/rerank", json=REQUEST).json()["results"][0]["index"] == 1
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(120) == 0
        wait_until(lambda: "stopped" in server.log)


def test_second_signal_stops_without_a_traceback():
    with Process() as server:
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "draining" in server.log)
        server.process.send_signal(signal.SIGTERM)  # may arrive after the server has stopped
        assert server.process.wait(120) in (0, 1)
        wait_until(lambda: "stopped" in server.log)
    assert "Traceback" not in server.log


def test_sigterm_under_load_loses_no_request():
    """Every accepted request is answered. All others get a 503 or no connection, and none of them hangs."""
    body = long_request(20, 20)

    def outcome(client):
        """Send one request. Return the status of the reply or, if there was no reply, the name of the error."""
        try:
            reply = client.post("/v2/rerank", json=body)
        except (httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError) as error:
            return type(error).__name__
        assert reply.status_code == 503 or len(reply.json()["results"]) == 20
        return reply.status_code

    def last_outcome(_):
        """Send requests until the outcome is not 200, and return that outcome."""
        with httpx.Client(base_url=server.url, timeout=60, verify=False) as client:
            while (newest_outcome := outcome(client)) == 200:
                pass
            return newest_outcome

    with Process() as server, ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(last_outcome, number) for number in range(8)]
        wait_until(lambda: server.log.count("status=200") >= 8)
        server.process.send_signal(signal.SIGTERM)
        last_outcomes = {future.result() for future in futures}
        assert server.process.wait(120) == 0
        wait_until(lambda: "stopped" in server.log)
    accepted_count = int(re.findall(r"draining requests=(\d+)", server.log)[0])
    assert accepted_count > 0
    assert server.log.partition("draining")[2].count("status=200") == accepted_count
    assert last_outcomes <= {503, "ConnectError", "ReadError", "RemoteProtocolError"}
    assert 503 in last_outcomes


def test_server_stops_while_a_model_is_loading():
    """A download cannot be interrupted, so the process exits during it. Before that, requests are answered with 503."""
    with socket.create_server(("127.0.0.1", 0)) as silent_hub:
        variables = os.environ | {"HF_ENDPOINT": f"http://127.0.0.1:{silent_hub.getsockname()[1]}"}
        command = [sys.executable, "-m", "podium", "serve", "--port", "0", "--model", "org/model"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=variables) as process:
            url = re.search(r"url=(\S+)/ ", process.stderr.readline())[1]
            wait_until(lambda: httpx.get(f"{url}/health").status_code == 200)
            assert httpx.get(f"{url}/ready").json() == {"status": "loading"}
            refused = httpx.post(f"{url}/v2/rerank", json=REQUEST)
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            process.send_signal(signal.SIGTERM)
            process.wait(120)


def test_request_that_exceeds_the_drain_timeout_is_503():
    with Process("--drain-timeout", "0.2") as server, ThreadPoolExecutor(1) as pool:
        future = pool.submit(httpx.post, f"{server.url}/v2/rerank", json=long_request(2000, 60), timeout=60)
        wait_until(lambda: is_computing(server))
        server.process.send_signal(signal.SIGTERM)
        reply = future.result()
        assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
        assert "this server stopped before the request was done" in reply.json()["message"]
        server.process.wait(120)


def test_second_server_on_a_port_is_refused():
    with Serving(rerankers=rerankers()) as server:
        code, output = failed_start("--port", str(server.port))
        assert code == 2
        assert f"cannot listen on 127.0.0.1:{server.port} (Address already in use); choose another --port" in output
        assert server.client.get("/ready").status_code == 200


# Workers


@pytest.fixture
def two_workers():
    with Process("--workers", "2", start_new_session=True) as server:
        wait_until(lambda: ready_workers(server) == 2)
        yield server


def ready_workers(server):
    """Return how many workers have loaded their models so far."""
    return server.log.count("ready models=")


def child_processes(server):
    command = ["ps", "-o", "pid=", "--ppid", str(server.process.pid)]
    return [int(pid) for pid in subprocess.run(command, capture_output=True, text=True).stdout.split()]


def is_refused(server):
    """Whether connections to the server are refused."""
    try:
        socket.create_connection(("127.0.0.1", server.port), timeout=1).close()
    except ConnectionError:
        return True
    return False


def test_workers_share_a_port_and_metrics(two_workers):
    for _ in range(20):
        assert httpx.post(f"{two_workers.url}/v2/rerank", json=REQUEST, timeout=30).status_code == 200
    metrics = two_workers.client.get("/metrics").text
    assert 'podium_requests_total{dialect="cohere",model="podium-mini",status="200"} 20.0' in metrics
    two_workers.process.send_signal(signal.SIGTERM)
    assert two_workers.process.wait(120) == 0


def test_killed_worker_is_replaced(two_workers):
    youngest = max(child_processes(two_workers))  # the first child is multiprocessing's resource tracker
    os.kill(youngest, signal.SIGKILL)
    wait_until(lambda: "worker_died" in two_workers.log and ready_workers(two_workers) == 3)
    assert httpx.post(f"{two_workers.url}/v2/rerank", json=REQUEST, timeout=30).status_code == 200


def test_workers_end_when_the_parent_is_killed(two_workers):
    two_workers.process.kill()
    two_workers.process.wait(120)
    wait_until(lambda: is_refused(two_workers))


def test_ctrl_c_drains_workers(two_workers):
    """A terminal sends the signal to the whole process group: a worker could get it from the terminal and its parent."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(httpx.post, f"{two_workers.url}/v2/rerank", json=long_request(60, 40), timeout=60)
        wait_until(lambda: is_computing(two_workers))
        os.killpg(two_workers.process.pid, signal.SIGINT)
        assert future.result().status_code == 200
        assert two_workers.process.wait(120) == 0


def test_replacement_that_cannot_start_is_tried_again(two_workers):
    """A file limit that is too low for a new process is a cause that can end."""
    parent = two_workers.process.pid
    limit = resource.prlimit(parent, resource.RLIMIT_NOFILE)
    resource.prlimit(parent, resource.RLIMIT_NOFILE, (8, limit[1]))
    os.kill(max(child_processes(two_workers)), signal.SIGKILL)
    wait_until(lambda: "worker_not_started" in two_workers.log)
    resource.prlimit(parent, resource.RLIMIT_NOFILE, limit)
    wait_until(lambda: ready_workers(two_workers) == 3)
    two_workers.process.send_signal(signal.SIGTERM)
    assert two_workers.process.wait(120) == 0


def test_replacement_that_fails_does_not_end_the_server(tmp_path):
    podium.EmbeddedIndex.create(tmp_path / "index").add(["a red fruit"])
    with Process("--workers", "2", "--index", str(tmp_path / "index"), start_new_session=True) as server:
        wait_until(lambda: ready_workers(server) == 2)
        (tmp_path / "index").rename(tmp_path / "moved")
        os.kill(max(child_processes(server)), signal.SIGKILL)
        wait_until(lambda: server.log.count("worker_died") >= 2)  # also the first replacement
        (tmp_path / "moved").rename(tmp_path / "index")
        wait_until(lambda: ready_workers(server) == 3)
        assert server.client.get("/ready").status_code == 200
