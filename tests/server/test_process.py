"""podium serve as a process: how it starts, what signals and kills do to it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import httpx

from loopback import wait_until
from serving import REQUEST, Process, failed_start


def test_it_starts_and_answers_its_first_request_soon_and_stops_when_told():
    with Process() as server:
        assert server.client.post("/v2/rerank", json=REQUEST).json()["results"][0]["index"] == 1
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(120) == 0
        wait_until(lambda: "stopped" in server.log)


def test_sigterm_under_load_loses_nothing():
    """Every request that was accepted is answered; every other gets a 503 or no connection, and none hangs."""
    body = {"query": "red fruit", "documents": [f"{at} " + "a red fruit at sea " * 20 for at in range(20)]}

    def ask(client: httpx.Client) -> object:
        try:
            reply = client.post("/v2/rerank", json=body)
        except (httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError) as error:
            return type(error).__name__
        assert reply.status_code == 503 or len(reply.json()["results"]) == 20
        return reply.status_code

    def ask_on_and_on(_: int) -> list[object]:
        said: list[object] = []
        with httpx.Client(base_url=server.url, timeout=60) as client:
            while not said or said[-1] == 200:
                said.append(ask(client))
        return said

    with Process() as server, ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(ask_on_and_on, at) for at in range(8)]
        wait_until(lambda: server.log.count("status=200") >= 8)
        server.process.send_signal(signal.SIGTERM)
        ends = [answer.result()[-1] for answer in answers]
        assert server.process.wait(120) == 0
        wait_until(lambda: "stopped" in server.log)
    accepted = int(re.findall(r"draining requests=(\d+)", server.log)[0])
    after = server.log.partition("draining")[2]
    assert accepted > 0
    assert after.count("status=200") == accepted
    assert set(ends) <= {503, "ConnectError", "ReadError", "RemoteProtocolError"}
    assert 503 in ends


def test_it_stops_while_a_model_is_loading():
    """A download that nothing can interrupt is no reason to stay; and who asks meanwhile is told to come again."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hub = {"HF_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        command = [sys.executable, "-m", "podium", "serve", "--port", "0", "--model", "org/model"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | hub)
        url = re.search(r"url=(\S+)/ ", process.stderr.readline())[1]
        wait_until(lambda: httpx.get(f"{url}/health").status_code == 200)
        assert httpx.get(f"{url}/ready").json() == {"status": "loading"}
        refused = httpx.post(f"{url}/v2/rerank", json=REQUEST)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        process.send_signal(signal.SIGTERM)
        process.wait(120)
        process.stderr.close()


def test_what_is_not_done_when_the_time_to_drain_is_over_is_told():
    body = {"query": "red fruit", "documents": [f"{at} " + "a red fruit at sea " * 60 for at in range(2000)]}
    with Process("--drain-timeout", "0.2") as server, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(httpx.post, f"{server.url}/v2/rerank", json=body, timeout=60)
        wait_until(lambda: "podium_requests_in_progress 1.0" in server.client.get("/metrics").text)
        server.process.send_signal(signal.SIGTERM)
        said = answer.result()
        assert (said.status_code, said.headers["retry-after"]) == (503, "1")
        assert "had to end" in said.json()["message"]
        server.process.wait(120)


def test_two_servers_do_not_share_a_port():
    with Process() as server:
        code, says = failed_start("--port", str(server.port))
        assert code == 2
        assert f"cannot listen on 127.0.0.1:{server.port} (Address already in use); choose another --port" in says
        assert server.client.get("/ready").status_code == 200


def children(server):
    out = subprocess.run(["ps", "-o", "pid=", "--ppid", str(server.process.pid)], capture_output=True, text=True).stdout
    return [int(pid) for pid in out.split()]


def serving_workers(server):
    """Return the processes that have said they are ready, by the metrics' own files: one label per process."""
    return server.log.count("ready models=")


def test_workers_share_a_port_and_are_counted_together():
    with Process("--workers", "2") as server:
        wait_until(lambda: serving_workers(server) == 2)
        for _ in range(20):
            assert httpx.post(f"{server.url}/v2/rerank", json=REQUEST, timeout=30).status_code == 200
        written = server.client.get("/metrics").text
        assert 'podium_requests_total{dialect="cohere",model="podium-mini",status="200"} 20.0' in written
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(120) == 0


def test_a_worker_that_is_killed_is_replaced():
    with Process("--workers", "2") as server:
        wait_until(lambda: serving_workers(server) == 2)
        killed = max(children(server))  # the youngest: the tracker of shared resources came first
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: "worker_died" in server.log and serving_workers(server) == 3)
        assert httpx.post(f"{server.url}/v2/rerank", json=REQUEST, timeout=30).status_code == 200


def test_workers_do_not_outlive_a_parent_that_is_killed():
    with Process("--workers", "2") as server:
        wait_until(lambda: serving_workers(server) == 2)
        server.process.kill()
        server.process.wait(120)

        def nobody() -> bool:
            try:
                socket.create_connection(("127.0.0.1", server.port), timeout=1).close()
            except ConnectionError:
                return True
            return False

        wait_until(nobody)


def test_ctrl_c_drains_workers_too():
    """A terminal's interrupt goes to the whole group of processes; the workers are told once, and by their parent."""
    body = {"query": "red fruit", "documents": [f"{at} " + "a red fruit at sea " * 40 for at in range(60)]}
    with Process("--workers", "2", start_new_session=True) as server, ThreadPoolExecutor(1) as pool:
        wait_until(lambda: serving_workers(server) == 2)
        answer = pool.submit(httpx.post, f"{server.url}/v2/rerank", json=body, timeout=60)
        wait_until(lambda: "podium_requests_in_progress 1.0" in server.client.get("/metrics").text)
        os.killpg(server.process.pid, signal.SIGINT)
        assert answer.result().status_code == 200
        assert server.process.wait(120) == 0
