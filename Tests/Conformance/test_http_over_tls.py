"""Bodies, streams and limits behave over TLS as they do over plain HTTP: the same tests, another scheme."""

import http.client
import ssl

import pytest

from certificates import Authority, connect, read_to_end
from test_http import app, get, test_head_is_served_by_the_get_route, test_payload, test_response_mapping  # noqa: F401
from test_http_streaming import (  # noqa: F401
    TIMEOUT_MS,
    nothing_leaks,
    serve,
    test_a_client_that_leaves_ends_the_writer_and_nothing_leaks,
    test_a_deadline_releases_both_channels,
    test_a_handler_that_never_reads_leaves_the_connection_usable,
    test_a_killed_gateway_ends_its_channels_and_serves_again,
    test_a_large_download_to_a_slow_client_stalls_its_writer_in_flat_memory,
    test_a_large_upload_arrives_intact_in_small_messages_and_flat_memory,
    test_events_are_seen_one_by_one_and_outlive_the_timeout,
    test_status_and_headers_before_the_upload_is_read,
    test_the_request_body_arrives_byte_by_byte_and_ends,
    test_upload_and_download_at_the_same_time,
    torn_off,
)
from wire import BUILTIN_SECRET, fleet


@pytest.fixture(scope="module")
def core(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tls")
    authority = Authority(directory)
    certificate, key = authority.issue("server")
    secret = directory / "token"
    secret.write_text(BUILTIN_SECRET)
    tls = {"cert_file": str(certificate), "key_file": str(key)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REQUESTS_CA_BUNDLE", str(authority.file))
        with fleet(http={"default_timeout": TIMEOUT_MS, "tls": tls}, env={"III_BUILTIN_TOKEN_FILE": str(secret)}) as it:
            it.authority = authority
            yield it


def test_a_torn_response_is_no_clean_end(core, serve):
    """Without chunks only the missing close_notify tells the client that the body was cut."""
    path = serve(torn_off(core), "GET").split(str(core.http_port))[1]
    connection = connect(core.http_port, core.authority.trust())
    connection.sendall(f"GET {path} HTTP/1.0\r\nhost: x\r\n\r\n".encode())
    with pytest.raises((ssl.SSLEOFError, ConnectionResetError)):
        read_to_end(connection)
    nothing_leaks(core)


def test_continue_is_sent_over_tls(core, serve):
    def handler(data):
        return {"body": {"ok": True}}

    path = serve(handler).split(str(core.http_port))[1]
    connection = http.client.HTTPSConnection("127.0.0.1", core.http_port, context=core.authority.trust(), timeout=20)
    connection.connect()
    connection.sock.sendall(f"POST {path} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n".encode())
    assert connection.sock.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.sock.sendall(b"{}")
    assert connection.sock.recv(4000).startswith(b"HTTP/1.1 200 OK\r\n")
    connection.close()
