"""podium serve as a process: how it starts, what it refuses to start with, what signals and kills do to it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from environment import ROOT
from loopback import Loopback, cohere, wait_until
from podium.server import process as process_module
from podium.server.endpoints import pages
from podium.server.http import bodies
from podium.server.http.keys import Keys, add_key
from podium.server.http.protocol import MAX_CONNECTIONS, Protocol
from podium.server.settings import Settings
from podium.server.threads import THREADS
from serving import Process, refused

ASKED = {"query": "red fruit", "documents": ["the sea", "a red fruit"]}


def test_it_starts_and_answers_its_first_request_soon_and_stops_when_told():
    with Process() as server:
        assert server.client.post("/v2/rerank", json=ASKED).json()["results"][0]["index"] == 1
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
        refused = httpx.post(f"{url}/v2/rerank", json=ASKED)
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
        code, says = refused("--port", str(server.port))
        assert code == 2
        assert f"cannot listen on 127.0.0.1:{server.port} (Address already in use); choose another --port" in says
        assert server.client.get("/ready").status_code == 200


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--host", "0.0.0.0"], "0.0.0.0 can be reached from other machines: give --api-keys-file"),
        (["--host", "::"], ":: can be reached from other machines"),
        (["--host", "203.0.113.7", "--insecure"], "cannot listen on 203.0.113.7:8080"),
        (["--api-keys-file", "no-such-file"], "the keys in no-such-file cannot be read (FileNotFoundError)"),
        (["--model", "a=podium-mini", "--model", "a=podium-mini"], "a name must be there, and once"),
        (["--model", "=x"], "a name must be there, and once"),
        (["--cors-origin", "example.com"], "--cors-origin example.com is no origin; write https://host"),
        (["--config", "no-such-file"], "no-such-file cannot be read"),
        (["--model", "no-such-model"], "there is no model 'no-such-model'"),
        (["--model", "cohre:rerank-v3.5"], "did you mean cohere:rerank-v3.5?"),
        (["--max-body", "1000", "--max-memory", "2999"], "--max-body 1000 needs at least --max-memory 3000"),
        (["--port", "70000"], "70000 is not in the range"),
        (["--timeout", "0"], "0.0 is not in the range"),
    ],
)
def test_what_cannot_be_served_is_said_at_once(options, says):
    code, said = refused(*options)
    assert code == 2
    assert says in " ".join(said.split())
    assert "Traceback" not in said
    assert "listening" not in said


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--model", "cohere:rerank-v3.5"], "COHERE_API_KEY"),
        (["--index", "no-such-folder"], "there is no no-such-folder"),
    ],
)
def test_what_cannot_be_loaded_ends_the_server(options, says):
    for workers in ("1", "2"):
        code, said = refused("--port", "0", "--workers", workers, *options)
        assert code == 1
        assert says in said


def test_a_file_says_what_options_can(tmp_path):
    with Loopback(cohere) as provider:
        file = tmp_path / "serve.toml"
        file.write_text(
            f"""
            max-documents = 2
            log_format = "json"
            model = ["mini=podium-mini"]
            [models.best]
            load = "cohere:rerank-v3.5"
            base_url = "{provider.url}"
            [models.short]
            load = "podium-mini"
            max_length = 16
            """
        )
        os.environ["COHERE_API_KEY"] = "k"
        try:
            with Process("--config", str(file)) as server:
                assert [each["id"] for each in server.client.get("/v1/models").json()["data"]] == ["best", "short", "mini"]
                assert server.client.post("/v2/rerank", json=ASKED | {"documents": ["a"] * 3}).status_code == 400
                reply = server.client.post("/v2/rerank", json=ASKED | {"model": "best"})
                assert reply.json()["results"][0]["index"] == 1
                lines = [json.loads(line) for line in server.log.splitlines()]
            with Process("--config", str(file), "--model", "podium-mini") as server:  # the command line goes before the file
                assert [each["id"] for each in server.client.get("/v1/models").json()["data"]] == ["podium-mini"]
        finally:
            del os.environ["COHERE_API_KEY"]
    assert [line["event"] for line in lines[:2]] == ["listening", "ready"]
    assert provider.requests[-1].json["model"] == "rerank-v3.5"


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ("colour = 1", "says colour, which is no option; there are"),
        ("prot = 1", "says prot, which is no option; did you mean port?"),
        ("[models]\nbest = 1", "models must be tables"),
        ("[models.best]\nload = 'podium-mini'\napi_key = 'k'", "[models.best] says api_key; it can say"),
        ("port = ", "is no TOML"),
        ("api-keys-file = 5", "the keys in 5 cannot be read"),
        ("workers = 1.5", "'1.5' is not a valid integer"),
        ("workers = true", "'True' is not a valid integer"),
        ("timeout = nan", "must be numbers of seconds"),
        ("max-body = 1979-05-27", "max-body must be a string or a number"),
        ("[timeout]", "timeout must be a string or a number"),
        ("model = 'podium-mini'", "allowed-host, cors-origin, model are lists of strings"),
        ('host = "a\\u0000b"', "host must be a string or a number"),
        ('[models."a\\nb"]', "cannot be a model's name"),
        ("port = 'x'", "'x' is not a valid integer"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused(tmp_path, said, says):
    (tmp_path / "serve.toml").write_text(said)
    code, words = refused("--config", str(tmp_path / "serve.toml"))
    assert code == 2
    assert says in " ".join(words.split())


def test_an_index_is_searched_by_the_fields_that_are_named(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"title": "sourdough", "content": "bread"}\n{"title": "sea", "content": "water"}\n')
    with Process("--index", str(tmp_path / "a.jsonl"), "--text", "title,content") as server:
        said = server.client.post("/search", json={"query": "sourdough"}).json()
        assert [each["content"] for each in said["documents"]] == ["bread"]
        assert said["fields"] == ["title", "content"]


def test_a_key_needs_a_folder_that_is_there(tmp_path):
    command = [sys.executable, "-m", "podium", "key", "team", "--file", str(tmp_path / "none" / "keys.txt")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "keys.txt cannot be written: No such file or directory; name a file in a folder that is there" in done.stderr


def test_keys_are_made_by_a_command(tmp_path):
    made = subprocess.run(
        [sys.executable, "-m", "podium", "key", "team", "--file", "keys.txt"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    key = made.stdout.strip()
    assert Keys(tmp_path / "keys.txt").check(f"Bearer {key}") == "team"
    with Process("--api-keys-file", "keys.txt", "--host", "0.0.0.0", cwd=tmp_path) as server:
        url = f"http://127.0.0.1:{server.port}/v2/rerank"
        assert httpx.post(url, json=ASKED).status_code == 401
        assert httpx.post(url, json=ASKED, headers={"authorization": f"Bearer {key}"}).status_code == 200
        wait_until(lambda: "key=team" in server.log)


# Several processes


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
            assert httpx.post(f"{server.url}/v2/rerank", json=ASKED, timeout=30).status_code == 200
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
        assert httpx.post(f"{server.url}/v2/rerank", json=ASKED, timeout=30).status_code == 200


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


# Clients that misbehave


def test_the_documented_limits_are_the_real_ones():
    table = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    settings = Settings()
    for documented in (
        f"`--max-requests`, {settings.max_requests} |",
        f"blocks | {THREADS} |",
        f"`--max-memory`, {settings.max_memory:,} bytes",
        f"`--timeout`, {settings.timeout:g} s",
        f"`--max-body`, {settings.max_body:,} bytes, {bodies.MAX_VALUES:,} values, within {settings.read_timeout:g} s",
        f"`--max-documents`, {settings.max_documents:,}; `--max-characters`, {settings.max_characters:,} |",
        f"to `/search` | {pages.MAX_QUERY_CHARACTERS:,} |",
        f"{Protocol.head_bytes // 1024} KiB, within {Protocol.head_seconds:g} s of connecting",
        f"after its reply | {Protocol.rest_seconds:g} s |",
        f"reading a reply | {Protocol.reply_seconds:g} s from",
        f"between two requests | {process_module.KEEP_ALIVE} s |",
        f"requests that wait | {Protocol.max_pipelined} |",
        f"of a process | {MAX_CONNECTIONS:,}, fewer",
        f"and {bodies.BYTES_PER_VALUE} bytes per value",
    ):
        assert documented in table


def test_a_reply_is_not_held_back():
    """A head and a body are two writes; without this the second waits for the first to be acknowledged."""
    with process_module._listening(Settings(port=0)) as listening:
        assert listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        with socket.create_connection(listening.getsockname()), listening.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


POST = b"POST /rank HTTP/1.1\r\nHost: a\r\n"


def is_closed(connection: socket.socket) -> bool:
    """Read until the server closes the connection; pytest's own limit ends a wait that never does."""
    try:
        while connection.recv(65_536):
            pass
    except ConnectionError:
        pass
    return True


def send_until_closed(connection: socket.socket, block: bytes, *, at_most: int) -> int:
    """Send a block again and again until the server hangs up. Return how many bytes it let through."""
    sent = 0
    try:
        while sent < at_most:
            sent += connection.send(block)
    except ConnectionError:
        pass
    return sent


def test_heads_that_are_too_large_are_hung_up_on():
    with Process() as server, socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nA: ")
        assert send_until_closed(connection, b"a" * 10_000, at_most=50_000_000) < 50_000_000


@pytest.mark.parametrize(
    "unfinished",
    [
        b"POST /rank HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
        b"GET /health HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
        b"POST /rank HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0;",
    ],
    ids=["trailers", "trailers of a reply that is out", "chunk extension"],
)
def test_what_follows_a_chunked_body_is_bounded_in_memory(unfinished, tmp_path):
    """Before any key is checked: the server asks for one and is not given it."""
    add_key(tmp_path / "keys.txt", "team")
    with Process("--api-keys-file", str(tmp_path / "keys.txt")) as server:
        before = server.resident_bytes()
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(unfinished)
            trailers = b"".join(b"a%d: %b\r\n" % (number, b"x" * 1000) for number in range(100))
            assert send_until_closed(connection, trailers, at_most=200_000_000) < 200_000_000
        assert server.resident_bytes() - before < 20_000_000


def test_all_requests_and_replies_together_are_bounded_in_memory():
    """Bodies, what is decoded of them, and replies that nobody reads: unbounded, these took more than 1.4 GB."""
    document = {"text": "a", "padding": "b" * 500_000}
    large = json.dumps({"query": "a", "documents": [document] * 20, "return_documents": True}).encode()
    many = b'{"query":"a","documents":[' + b"{}," * 300_000 + b"{}]}"
    limit = 100_000_000
    with Process("--max-memory", str(limit)) as server:
        for body in (many, large):  # loads and reserves what any such request needs
            server.client.post("/v2/rerank", content=body, headers={"Content-Type": "application/json"})
        before, most, connections = server.resident_bytes(), 0, []
        for body in [many] * 25 + [large] * 25:
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", server.port))
            connection.sendall(POST + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
            connections.append(connection)
            most = max(most, server.resident_bytes())
        answered = [connection.recv(12) for connection in connections]
        most = max(most, server.resident_bytes())
        for connection in connections:
            connection.close()
        accepted_and_refused = {b"HTTP/1.1 200", b"HTTP/1.1 429"}  # 400: too many documents, but they were decoded
        assert accepted_and_refused <= set(answered) <= accepted_and_refused | {b"HTTP/1.1 400"}
        assert most - before < 2 * limit  # what Python's own allocator keeps comes on top
        assert server.client.post("/v2/rerank", json=ASKED).status_code == 200


def test_idle_connections_do_not_use_up_the_open_files():
    """Three hundred silent connections against 128 open files: the oldest are closed, others are answered."""
    with Process(open_files=128) as server:
        silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(300)]
        assert httpx.get(f"{server.url}/health", timeout=60).status_code == 200
        wait_until(lambda: "connections_full connections=64" in server.log)
        assert server.log.count("\n") < 20
        assert is_closed(silent[0])
        for connection in silent:
            connection.close()
        assert server.client.post("/v2/rerank", json=ASKED).status_code == 200


def test_a_half_closed_socket_counts_as_gone_and_leaves_nothing():
    with Process() as server:
        body = json.dumps(ASKED).encode()
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", server.port)) as connection:
                connection.sendall(b"POST /v2/rerank HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
                connection.shutdown(socket.SHUT_WR)
                connection.settimeout(10)
                while connection.recv(10_000):
                    pass
        wait_until(lambda: "podium_requests_in_progress 0.0" in server.client.get("/metrics").text)
        assert server.client.post("/v2/rerank", json=ASKED).status_code == 200


def test_a_thousand_clients_that_are_killed_leave_nothing():
    """The system resets a killed client's connections, which is what a socket that does not linger does; some are killed."""
    asked = {"query": "sea", "documents": [f"{at} " + "a red fruit at sea " * 40 for at in range(100)]}
    script = "import httpx, json, sys; httpx.post(sys.argv[1], timeout=60, content=sys.stdin.read())"
    body = json.dumps(asked).encode()
    request = b"POST /v2/rerank HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    with Process() as server:
        for at in range(1000):
            with socket.create_connection(("127.0.0.1", server.port)) as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.sendall(request if at % 2 else request[: -at - 1])
                time.sleep(0.002 if at % 10 else 0.02)  # a few are under way by then
        clients = [
            subprocess.Popen([sys.executable, "-c", script, f"{server.url}/v2/rerank"], stdin=subprocess.PIPE) for _ in range(3)
        ]
        for client in clients:
            client.stdin.write(body)
            client.stdin.close()
        wait_until(lambda: "podium_requests_in_progress 0.0" not in server.client.get("/metrics").text)
        for client in clients:
            client.kill()
            client.wait()
        wait_until(lambda: "podium_requests_in_progress 0.0" in server.client.get("/metrics").text)
        assert server.client.post("/v2/rerank", json=ASKED).status_code == 200
        assert server.log.count("status=499") > 100
        assert "failure" not in server.log
