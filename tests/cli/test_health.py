"""podium health: the exit code for a server that answers, fails, hangs, or does not run."""

from __future__ import annotations

import socket
import threading

import pytest

from commands import run_in_process, run_in_subprocess
from loopback import Answer, Loopback
from serving import ServerThread, rerankers


def answering(**answer):
    return Loopback(lambda request: Answer(**answer))


def test_running_server_is_healthy_and_ready():
    with ServerThread(rerankers=rerankers()) as server:
        assert run_in_subprocess("health", server.url) == (0, "", "")
        assert run_in_process("health", f"{server.url}/", "--ready") == (0, "", "")


def test_draining_server_is_healthy_but_not_ready():
    with ServerThread(rerankers=rerankers()) as server:
        server.state.admission.is_draining = True
        assert run_in_process("health", server.url)[0] == 0
        assert run_in_process("health", server.url, "--ready") == (
            1, "", "podium: the server answered with status 503; look at its log\n",
        )  # fmt: skip


def test_path_of_the_url_is_kept():
    with answering() as server:
        assert run_in_process("health", f"{server.url}/podium/")[0] == 0
        assert [request.path for request in server.requests] == ["/podium/health"]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        pytest.param({"status": 500}, "the server answered with status 500; look at its log", id="error"),
        pytest.param({"status": 302}, "the server answered with status 302; look at its log", id="redirect"),
        pytest.param({"drop": True}, "the server could not be reached (RemoteDisconnected)", id="closed connection"),
        pytest.param(
            {"seconds": 30}, "did not answer within 0.3 seconds; look at its log, or allow more with --timeout", id="hangs"
        ),
        pytest.param({"drip_headers": 0.05}, "did not answer within 0.3 seconds", id="head byte by byte"),
    ],
)
def test_server_that_fails_is_not_healthy(answer, message):
    with answering(**answer) as server:
        code, out, err = run_in_process("health", server.url, "--timeout", 0.3)
    assert (code, out) == (1, "")
    assert message in err


def test_silent_server_is_not_healthy():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        code, _, err = run_in_process("health", f"http://127.0.0.1:{listener.getsockname()[1]}", "--timeout", 0.3)
    assert code == 1
    assert "did not answer within 0.3 seconds" in err


def test_reply_that_is_not_http_is_not_healthy():
    def answer():
        connection, _ = listener.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(b"+OK\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer)
        thread.start()
        code, _, err = run_in_process("health", f"http://127.0.0.1:{listener.getsockname()[1]}")
        thread.join()
    assert code == 1
    assert "could not be reached (BadStatusLine)" in err


def test_server_that_does_not_run_is_not_healthy():
    code, _, err = run_in_process("health", "http://127.0.0.1:9")
    assert code == 1
    assert "could not be reached (ConnectionRefusedError); check that it runs" in err


@pytest.mark.parametrize("seconds", ["0", "inf", "nan", "1e10"])
def test_timeout_is_a_number_of_seconds(seconds):
    code, _, err = run_in_process("health", "--timeout", seconds)
    assert code == 2
    assert "--timeout" in err


@pytest.mark.parametrize(
    "url",
    [
        *("127.0.0.1:8080", "ftp://a", "http://", "http://a:b", "http://a?b", "http://ä", "http://[a", "http://a b"),
        *("http://..", "http://a..b", f"http://{'a' * 70}"),
    ],
)
def test_url_that_is_not_valid_is_refused(url):
    code, _, err = run_in_process("health", url)
    assert code == 2
    assert "http://host:port" in err
