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
from serving import REQUEST, ServerProcess, ServerThread, failed_start, rerankers, serve_command


def long_request(document_count, repeats):
    """Return a request that takes long to compute. Each document repeats a sentence."""
    text = "a red fruit at sea " * repeats
    return {"query": "red fruit", "documents": [f"{number} {text}" for number in range(document_count)]}


def is_computing(server):
    """Whether the server has exactly one request in progress."""
    return "podium_requests_in_progress 1.0" in server.client.get("/metrics").text


def test_server_answers_and_stops():
    with ServerProcess() as server:
        assert server.client.post("/v2/rerank", json=REQUEST).json()["results"][0]["index"] == 1
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(120) == 0
        wait_until(lambda: "stopped" in server.log)


def test_second_signal_stops_without_a_traceback():
    with ServerProcess() as server:
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "draining" in server.log)
        server.process.send_signal(signal.SIGTERM)  # it can arrive after the server has stopped
        assert server.process.wait(120) in (0, 1)
        wait_until(lambda: "stopped" in server.log)
    assert "Traceback" not in server.log


def test_sigterm_under_load_loses_no_request():
    """Every accepted request is answered. All others get a 503 or no connection, and none of them hangs."""
    body = long_request(20, repeats=20)

    def outcome(client):
        """Send one request. Return the status of its reply or, if there was no reply, the name of the error."""
        try:
            reply = client.post("/v2/rerank", json=body)
        except (httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError) as error:
            return type(error).__name__
        assert reply.status_code == 503 or len(reply.json()["results"]) == 20
        return reply.status_code

    def first_failure():
        """Send requests until one fails, and return the outcome of that request."""
        with httpx.Client(base_url=server.url, timeout=60, verify=False) as client:
            while (failure := outcome(client)) == 200:
                pass
            return failure

    with ServerProcess() as server, ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(first_failure) for _ in range(8)]
        wait_until(lambda: server.log.count("status=200") >= 8)
        server.process.send_signal(signal.SIGTERM)
        failures = {future.result() for future in futures}
        assert server.process.wait(120) == 0
        wait_until(lambda: "stopped" in server.log)
    accepted_count = int(re.findall(r"draining requests=(\d+)", server.log)[0])  # the requests in progress at the signal
    assert accepted_count > 0
    assert server.log.partition("draining")[2].count("status=200") == accepted_count
    assert failures <= {503, "ConnectError", "ReadError", "RemoteProtocolError"}
    assert 503 in failures


@pytest.mark.parametrize("workers", [1, 2])
def test_signal_before_the_start_is_not_lost(workers):
    """The script runs in another process, because the server ends its process some seconds later."""
    script = f"""
from podium.server.process import _Server
from podium.server.settings import Settings
server = _Server(Settings(workers={workers}))
server.handle_exit(15, None)
print(server.should_exit, server.exit_code)
"""
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "True 0\n"


def test_server_stops_while_a_model_is_loading():
    """While the server downloads a model, it answers requests with 503. SIGTERM ends it without waiting for the download."""
    with socket.create_server(("127.0.0.1", 0)) as silent_hub:
        variables = os.environ | {"HF_ENDPOINT": f"http://127.0.0.1:{silent_hub.getsockname()[1]}"}
        command = [sys.executable, "-m", "podium", "serve", "--port", "0", "--model", "org/model"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=variables) as process:
            url = re.search(r"url=(\S+)/ ", process.stderr.readline())[1]
            wait_until(lambda: httpx.get(f"{url}/health").status_code == 200)
            assert httpx.get(f"{url}/ready").json() == {"status": "loading"}
            for path, request in (("/v2/rerank", REQUEST), ("/search", {"query": "moon"})):
                reply = httpx.post(f"{url}{path}", json=request)
                assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
            process.send_signal(signal.SIGTERM)
            process.wait(120)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can make a pipe smaller")
def test_server_answers_and_stops_although_nobody_reads_its_log():
    import fcntl

    reader, writer = os.pipe()
    process = subprocess.Popen(serve_command("--port", "0"), stderr=writer, stdout=subprocess.DEVNULL)
    os.close(writer)
    log = b""
    while b"ready" not in log:
        log += os.read(reader, 4096)
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
    url = re.search(rb"http://[^/\s]+", log)[0].decode()
    with httpx.Client(base_url=url, timeout=60) as client:
        assert {client.get("/v1/models").status_code for _ in range(200)} == {200}
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    os.close(reader)


def test_request_that_exceeds_the_drain_timeout_is_503():
    with ServerProcess("--drain-timeout", "0.2") as server, ThreadPoolExecutor(1) as pool:
        future = pool.submit(httpx.post, f"{server.url}/v2/rerank", json=long_request(2000, repeats=60), timeout=60)
        wait_until(lambda: is_computing(server))
        server.process.send_signal(signal.SIGTERM)
        reply = future.result()
        assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
        assert "this server stopped before the request was done" in reply.json()["message"]
        server.process.wait(120)


def test_second_server_on_a_port_is_refused():
    with ServerThread(rerankers=rerankers()) as server:
        code, output = failed_start("--port", str(server.port))
        assert code == 2
        assert f"cannot listen on 127.0.0.1:{server.port} (Address already in use); choose another --port" in output
        assert server.client.get("/ready").status_code == 200


# Workers


@pytest.fixture
def server_with_workers():
    """A server with two workers, in its own process group."""
    with ServerProcess("--workers", "2", start_new_session=True) as server:
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


def test_workers_share_a_port_and_metrics(server_with_workers):
    for _ in range(20):
        assert httpx.post(f"{server_with_workers.url}/v2/rerank", json=REQUEST, timeout=30).status_code == 200
    metrics = server_with_workers.client.get("/metrics").text
    assert 'podium_requests_total{dialect="cohere",model="podium-mini",status="200"} 20.0' in metrics
    server_with_workers.process.send_signal(signal.SIGTERM)
    assert server_with_workers.process.wait(120) == 0


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")
def test_closed_terminal_stops_the_workers_and_leaves_no_files(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with ServerProcess("--workers", "2", start_new_session=True) as server:
        assert list(tmp_path.iterdir())
        server.process.send_signal(signal.SIGHUP)
        assert server.process.wait(120) == 0
    assert list(tmp_path.iterdir()) == []


def test_killed_worker_is_replaced(server_with_workers):
    worker = max(child_processes(server_with_workers))  # the lowest process id is that of multiprocessing's resource tracker
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: "worker_died" in server_with_workers.log and ready_workers(server_with_workers) == 3)
    assert httpx.post(f"{server_with_workers.url}/v2/rerank", json=REQUEST, timeout=30).status_code == 200


def test_workers_end_when_the_parent_is_killed(server_with_workers):
    server_with_workers.process.kill()
    server_with_workers.process.wait(120)
    wait_until(lambda: is_refused(server_with_workers))


def test_ctrl_c_drains_workers(server_with_workers):
    """A terminal sends SIGINT to the process group, so a worker could get it from the terminal and from its parent."""
    with ThreadPoolExecutor(1) as pool:
        body = long_request(60, repeats=40)
        future = pool.submit(httpx.post, f"{server_with_workers.url}/v2/rerank", json=body, timeout=60)
        wait_until(lambda: is_computing(server_with_workers))
        os.killpg(server_with_workers.process.pid, signal.SIGINT)
        assert future.result().status_code == 200
        assert server_with_workers.process.wait(120) == 0


def test_replacement_that_cannot_start_is_tried_again(server_with_workers):
    """The limit of open files is too low for a new process, until it is raised again."""
    parent = server_with_workers.process.pid
    limit = resource.prlimit(parent, resource.RLIMIT_NOFILE)
    resource.prlimit(parent, resource.RLIMIT_NOFILE, (8, limit[1]))
    os.kill(max(child_processes(server_with_workers)), signal.SIGKILL)
    wait_until(lambda: "worker_not_started" in server_with_workers.log)
    resource.prlimit(parent, resource.RLIMIT_NOFILE, limit)
    wait_until(lambda: ready_workers(server_with_workers) == 3)
    server_with_workers.process.send_signal(signal.SIGTERM)
    assert server_with_workers.process.wait(120) == 0


def test_replacement_that_fails_does_not_end_the_server(tmp_path):
    podium.EmbeddedIndex.create(tmp_path / "index").add(["a red fruit"])
    with ServerProcess("--workers", "2", "--index", str(tmp_path / "index"), start_new_session=True) as server:
        wait_until(lambda: ready_workers(server) == 2)
        (tmp_path / "index").rename(tmp_path / "moved")
        os.kill(max(child_processes(server)), signal.SIGKILL)
        wait_until(lambda: server.log.count("worker_died") >= 2)  # the killed worker, and its first replacement
        (tmp_path / "moved").rename(tmp_path / "index")
        wait_until(lambda: ready_workers(server) == 3)
        assert server.client.get("/ready").status_code == 200


def test_workers_that_cannot_start_are_an_error():
    """The first workers start, and the limit of open files is too low for the others."""
    code, output = failed_start("--port", "0", "--workers", "20", open_files=16)
    assert code == 1
    assert re.search(r"podium: cannot start worker \d+ of 20 \(Too many open files\); allow more processes", output)
    assert "Traceback" not in output
