"""Finds the Dask scheduler at an address, or says in one sentence what is there instead."""

import asyncio
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipeline.errors import PipelineError

EXAMPLE = "an address looks like tcp://HOST:8786, as `dask scheduler` prints it"
LISTENING = 2.0  # seconds that whatever is at an address has to say something
LARGEST_GREETING = 2**20  # bytes; Dask's is some hundred
ENCRYPTED = ("tls", "wss")


@dataclass(frozen=True)
class Address:
    """Where a scheduler listens."""

    scheme: str
    host: str
    port: int

    @property
    def encrypted(self) -> bool:
        """Whether certificates are needed."""
        return self.scheme in ENCRYPTED


def parse_address(text: str) -> Address:
    """Take an address apart. Raises PipelineError if nothing can be there."""
    from distributed.comm.registry import get_backend

    scheme, _, place = text.strip().rpartition("://")
    wrong = f"--scheduler {text or repr(text)}"
    if Path(text).is_file():
        raise PipelineError(f"{wrong} is a file: pass the address that stands in it; {EXAMPLE}")
    if scheme in ("http", "https"):
        raise PipelineError(
            f"{wrong} is the address of a web page, such as Dask's dashboard, not of a scheduler: {EXAMPLE}"
        )
    try:
        if scheme == "inproc":
            raise ValueError
        get_backend(scheme or "tcp")
    except (ValueError, ImportError):
        raise PipelineError(f"{wrong}: there is no way to reach a scheduler by '{scheme}': {EXAMPLE}") from None
    try:
        parts = urlsplit(f"//{place}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise PipelineError(f"{wrong} is not an address ({error}): {EXAMPLE}") from None
    if not host or parts.netloc != place or any(map(str.isspace, place)) or "@" in place:
        raise PipelineError(f"{wrong} is not an address: {EXAMPLE}")
    if not port:
        raise PipelineError(f"{wrong} does not name a port: {EXAMPLE}")
    return Address(scheme or "tcp", host, port)


def find_scheduler(text: str, limit: float) -> dict[str, Any]:
    """Make sure that a Dask scheduler answers, and return the versions of its packages.

    Args:
        limit: seconds that it has for that.

    Raises:
        PipelineError: what is at the address instead.
    """
    address = parse_address(text)
    try:
        identity, versions = asyncio.run(asyncio.wait_for(ask(text.strip(), limit), limit + min(limit, LISTENING)))
    except Exception as error:  # whatever Dask makes of what other programs send
        if isinstance(error, TypeError) and address.encrypted:
            raise PipelineError(
                f"--scheduler {text} wants certificates: name them in Dask's configuration "
                f"(distributed.comm.tls.ca-file, .client.cert and .client.key), or start the scheduler without"
            ) from error
        found = what_is_at(address, error, min(limit, LISTENING))
        raise PipelineError(f"--scheduler {text}: {found}") from error
    kind = identity.get("type")
    if kind != "Scheduler":
        raise PipelineError(f"--scheduler {text} is the address of a Dask {kind}, not of the scheduler: {EXAMPLE}")
    return dict(versions["packages"])


async def ask(address: str, limit: float) -> tuple[dict[str, Any], dict[str, Any]]:
    """Ask a Dask process what it is, and for its versions."""
    from distributed.core import rpc
    from distributed.security import Security

    arguments = Security().get_connection_args("client")
    async with rpc(address, timeout=limit, connection_args=arguments) as process:
        return await process.identity(), await process.versions()


def what_is_at(address: Address, error: BaseException, limit: float) -> str:
    """What is found where no scheduler answered, and what to do about it.

    Args:
        error: how the attempt to speak with it ended.
        limit: seconds that it has to say something.
    """
    start = "start a scheduler with `dask scheduler`, and workers with `dask worker ADDRESS --nthreads 1`"
    try:
        greeting = greeting_at(address, limit)
    except socket.gaierror:
        return f"there is no machine of the name '{address.host}': {EXAMPLE}"
    except ConnectionRefusedError:
        return f"nothing listens there: {start}"
    except OSError as unreachable:
        return f"it cannot be reached ({unreachable}): check the address, and that no firewall is between"
    if greeting.startswith(b"HTTP/"):
        return f"a web server answers there, such as Dask's dashboard, and no scheduler: {EXAMPLE}"
    if 0 < int.from_bytes(greeting[:8], "little") < LARGEST_GREETING:
        if address.encrypted:
            return f"the scheduler there speaks no TLS: use tcp://{address.host}:{address.port}"
        return f"the scheduler there does not answer as it should ({error}): start it anew"
    if greeting:
        return f"some other program answers there ({greeting!r}), and no scheduler: {EXAMPLE}"
    if speaks_tls(address, limit):
        if address.encrypted:
            return f"no encrypted connection comes about ({error}): check the certificates in Dask's configuration"
        return f"what is there speaks TLS: if it is a scheduler, use tls://{address.host}:{address.port}"
    return f"something takes connections there but does not answer as a scheduler does: {start}"


def greeting_at(address: Address, limit: float) -> bytes:
    """The first bytes that come from an address; where none come by themselves, those of a web server's answer.

    Raises:
        OSError: nothing takes connections there.
    """
    with socket.create_connection((address.host, address.port), timeout=limit) as connection:
        try:
            greeting = connection.recv(8)  # of Dask: how long its greeting is
        except OSError:
            greeting = b""
        if greeting:
            return greeting
        try:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return connection.recv(8)
        except OSError:
            return b""


def speaks_tls(address: Address, limit: float) -> bool:
    """Whether an encrypted connection can be begun."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((address.host, address.port), timeout=limit) as connection,
            context.wrap_socket(connection),
        ):
            return True
    except OSError:
        return False
