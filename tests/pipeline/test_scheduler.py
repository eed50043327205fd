"""What is at an address that is no scheduler's is said in one sentence."""

import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import dask
import pytest
from distributed import Scheduler, SpecCluster, Worker
from distributed.security import Security

from pipeline.errors import PipelineError
from pipeline.scheduler import find_scheduler, parse_address

SOON = 0.5  # seconds


@contextmanager
def listener(answer: bytes | None) -> Iterator[int]:
    """Takes connections and sends some bytes, or nothing; the port."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def serve() -> None:
            held = []
            while server.fileno() != -1:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                held.append(connection)
                if answer is not None:
                    connection.sendall(answer)

        Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


class QuietPages(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def web_server() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), QuietPages) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@contextmanager
def closed_port() -> Iterator[int]:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    yield port


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("localhost", "does not name a port"),
        ("tcp://10.0.0.7", "does not name a port"),
        ("http://127.0.0.1:8787", "web page, such as Dask's dashboard"),
        ("https://hub.example/user/me/proxy/8787/status", "web page, such as Dask's dashboard"),
        ("ssh://host:22", "no way to reach a scheduler by 'ssh'"),
        ("inproc://10.0.0.7/1/1", "no way to reach a scheduler by 'inproc'"),
        ("tcp://:8786", "is not an address"),
        ("tcp://host:99999", "is not an address"),
        ("tcp://host:0", "does not name a port"),
        ("tcp://host:port", "is not an address"),
        ("tcp://::1:8786", "is not an address"),
        ("tcp://host:8786/status", "is not an address"),
        ("ho st:8786", "is not an address"),
        ("me@host:8786", "is not an address"),
        ("", "--scheduler '' is not an address"),
    ],
)
def test_what_cannot_be_an_address(address: str, words: str) -> None:
    with pytest.raises(PipelineError, match=r"^--scheduler .*tcp://HOST:8786") as refused:
        find_scheduler(address, SOON)
    assert words in str(refused.value)


def test_a_scheduler_file_is_no_address(tmp_path: Path) -> None:
    file = tmp_path / "scheduler.json"
    file.write_text('{"address": "tcp://127.0.0.1:8786"}')
    with pytest.raises(PipelineError, match="is a file: pass the address that stands in it"):
        find_scheduler(str(file), SOON)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("tcp://10.0.0.7:8786", "10.0.0.7", 8786),
        (" login-1:8786\n", "login-1", 8786),
        ("tls://[::1]:1", "::1", 1),
    ],
)
def test_addresses(text: str, host: str, port: int) -> None:
    address = parse_address(text)
    assert (address.host, address.port) == (host, port)


@pytest.mark.parametrize(
    ("there", "words"),
    [
        (closed_port, "nothing listens there: start a scheduler with `dask scheduler`"),
        (web_server, "a web server answers there, such as Dask's dashboard, and no scheduler"),
        (lambda: listener(None), "takes connections there but does not answer as a scheduler does"),
        (lambda: listener(b"SSH-2.0-OpenSSH_9.2\r\n"), "some other program answers there (b'SSH-2.0-')"),
        (lambda: listener(b"\0" * 4096), "some other program answers there"),
    ],
    ids=["nothing", "web", "silent", "ssh", "zeros"],
)
@pytest.mark.parametrize("scheme", ["", "tcp://", "ws://"])
def test_something_else_is_there(there: Callable[[], AbstractContextManager[int]], words: str, scheme: str) -> None:
    with there() as port, pytest.raises(PipelineError) as refused:
        find_scheduler(f"{scheme}127.0.0.1:{port}", SOON)
    assert words in str(refused.value)


def test_a_name_that_nobody_has() -> None:
    with pytest.raises(PipelineError, match=r"there is no machine of the name 'nobody\.invalid'"):
        find_scheduler("tcp://nobody.invalid:8786", SOON)


@contextmanager
def cluster_of(security: Security | None = None) -> Iterator[SpecCluster]:
    """A scheduler and a worker in this process, which listen to the loopback."""
    shared = {"host": "127.0.0.1", "dashboard": False, "security": security}
    scheduler = {"cls": Scheduler, "options": {"port": 0, **shared}}
    worker = {"cls": Worker, "options": {"nthreads": 1, **shared}}
    with SpecCluster({0: worker}, scheduler, security=security) as cluster:
        yield cluster


def test_a_scheduler_tells_its_versions() -> None:
    with cluster_of() as cluster:
        found = find_scheduler(cluster.scheduler_address, 5)
        assert set(found) >= {"python", "dask", "distributed"}
        with pytest.raises(PipelineError, match="address of a Dask Worker, not of the scheduler"):
            find_scheduler(cluster.workers[0].address, 5)


# A key and its certificate, made for these tests and good for nothing else.
KEY = """-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIBMa3Yyzg4XkSSvxRa4kaY8gE047vfENWZAFqSWL+r5KoAoGCCqGSM49AwEHoUQDQgAERbNRZK7S3GXGPWWKhGdT+Has
vMtf0NDn8hJbISGwlFJS7gsg6C8J8fnurbQk+czGUP/ndC0onf6bUK56ZdI5Fw==
-----END EC PRIVATE KEY-----
"""
CERTIFICATE = """-----BEGIN CERTIFICATE-----
MIIBOjCB4aADAgECAgEBMAoGCCqGSM49BAMCMAwxCjAIBgNVBAMMAXgwIBcNMjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBa
MAwxCjAIBgNVBAMMAXgwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAARFs1FkrtLcZcY9ZYqEZ1P4dqy8y1/Q0OfyElshIbCUUlLu
CyDoLwnx+e6ttCT5zMZQ/+d0LSid/ptQrnpl0jkXozIwMDAPBgNVHRMBAf8EBTADAQH/MB0GA1UdDgQWBBRKQszdU3Xs0ekpQldI
ZuCjkmA2DjAKBggqhkjOPQQDAgNIADBFAiBZs3Q0EkZnwvMhHWZWjK6kql5BnN0xMNQX3sjgBT9rcQIhAKj1CyldVvmFhTdIDM3P
YNYVL//xuGrjOlafFzWzZ33y
-----END CERTIFICATE-----
"""
ANOTHER = """-----BEGIN CERTIFICATE-----
MIIBOjCB4aADAgECAgECMAoGCCqGSM49BAMCMAwxCjAIBgNVBAMMAW8wIBcNMjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBa
MAwxCjAIBgNVBAMMAW8wWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQ3gkvp5vNNHXf/358T0tCDznmHhQ5h6j+jca0xFF3JE6gD
ASS+4eNE/HWI3m+9XgKnMYilm6927TVDLznaNzf9ozIwMDAPBgNVHRMBAf8EBTADAQH/MB0GA1UdDgQWBBRM1yOOSXQYzA3Faf4l
iR79OnBfNTAKBggqhkjOPQQDAgNIADBFAiEAzvZ8w0Oytj9oiOB5mH5vUVuE1jRsJOrU4dAiP7jCtqsCIBZFc0MXlY5KJi3w/+dj
I6uy0215piuwijJOwCSih9hU
-----END CERTIFICATE-----
"""


def test_tls(tmp_path: Path) -> None:
    mine = tmp_path / "tls.pem"
    mine.write_text(KEY + CERTIFICATE)
    roles = {f"tls_{role}_cert": str(mine) for role in ("scheduler", "worker", "client")}
    security = Security(tls_ca_file=str(mine), require_encryption=True, **roles)
    tls = {"distributed.comm.tls.ca-file": str(mine), "distributed.comm.tls.client.cert": str(mine)}
    with cluster_of(security=security) as cluster:
        address = cluster.scheduler_address
        assert address.startswith("tls://")
        with pytest.raises(PipelineError, match=r"speaks TLS: if it is a scheduler, use tls://127"):
            find_scheduler(address.replace("tls", "tcp"), SOON)
        with pytest.raises(PipelineError, match="wants certificates: name them in Dask's configuration"):
            find_scheduler(address, SOON)
        with dask.config.set(tls):
            assert "dask" in find_scheduler(address, 5)
        (tmp_path / "another.pem").write_text(ANOTHER)
        unknown = {**tls, "distributed.comm.tls.ca-file": str(tmp_path / "another.pem")}
        with dask.config.set(unknown), pytest.raises(PipelineError, match="no encrypted connection comes about"):
            find_scheduler(address, SOON)
    with cluster_of() as cluster, dask.config.set(tls), pytest.raises(PipelineError, match="there speaks no TLS"):
        find_scheduler(cluster.scheduler_address.replace("tcp", "tls"), SOON)
