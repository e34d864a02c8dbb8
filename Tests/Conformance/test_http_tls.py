"""TLS on the gateway's listener, between real processes, with Python's and OpenSSL's clients."""

import contextlib
import http.client
import os
import shutil
import signal
import socket
import ssl
import threading

import pytest
import yaml

from certificates import Authority, connect, kept, openssl, read_to_end, serial_of
from processes import entries_of, prepared, reloads, run_core, running, save
from test_http import App
from test_http_configuration import is_established
from wire import fleet, wait_for

HELLO = ["hello"]
HELLO_BYTES = b'["hello"]'


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def core(authority):
    """An RSA certificate, so that suites without ECDHE would be possible if they were allowed."""
    certificate, key = authority.issue("rsa", key="rsa")
    with fleet(http={"tls": {"cert_file": str(certificate), "key_file": str(key)}, "header_timeout_ms": 3000}) as it:
        app = App(it.port)
        app.route("/hello", lambda d: {"body": HELLO})
        wait_for(lambda: status(it.http_port, authority.trust(), "/hello") == 200, "the route")
        yield it
        app.wire.close()


def status(port: int, context: ssl.SSLContext, path: str = "/none") -> int:
    """The status of a GET on a fresh connection; 0 when there is none."""
    connection = kept(port, context)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def s_client(core, *args, text: str = "") -> str:
    done = openssl("s_client", "-connect", f"127.0.0.1:{core.http_port}", *args, cwd=core.directory, input=text)
    return done.stdout + done.stderr


# Versions, suites, protocols.


@pytest.mark.parametrize("version, name", [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")])
def test_tls_12_and_13_are_spoken(core, version, name):
    assert f"New, {name}, Cipher is" in s_client(core, version)


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
def test_older_versions_are_refused(core, version):
    assert "Cipher is (NONE)" in s_client(core, version, "-cipher", "ALL:@SECLEVEL=0")


@pytest.mark.parametrize("suites", ["kRSA", "DHE", "ECDHE+AES+SHA1", "ECDHE+AES+SHA256:!AESGCM", "AES128-GCM-SHA256", "PSK", "aNULL", "CAMELLIA", "ARIA", "AESCCM"])
def test_weak_suites_are_refused(core, suites):
    """No forward secrecy, or no AEAD. RC4 and 3DES are in no OpenSSL of today: our list cannot name them either."""
    answer = s_client(core, "-tls1_2", "-cipher", f"{suites}:@SECLEVEL=0")
    assert "Cipher is (NONE)" in answer or "no cipher match" in answer, answer


@pytest.mark.parametrize("suite", ["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-CHACHA20-POLY1305"])
def test_good_suites_are_accepted(core, suite):
    assert f"Cipher is {suite}" in s_client(core, "-tls1_2", "-cipher", suite)


def test_protocols(core, authority):
    context = authority.trust()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with connect(core.http_port, context) as connection:
        assert connection.selected_alpn_protocol() == "http/1.1"
    context = authority.trust()
    context.set_alpn_protocols(["h2"])
    with pytest.raises(ssl.SSLError, match="(?i)no.application.protocol"):
        connect(core.http_port, context)


def test_renegotiation_is_refused_and_sessions_resume(core, authority):
    answer = s_client(core, "-tls1_2", text="R\n")
    assert "no renegotiation" in answer.lower(), answer
    context = authority.trust()
    with connect(core.http_port, context) as first:
        first.sendall(b"GET /hello HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert b"200 OK" in read_to_end(first)
        session = first.session
    with connect(core.http_port, context, session=session) as second:
        assert second.session_reused and serial_of(second)


def test_min_version_13(authority, tmp_path):
    certificate, key = authority.issue("strict")
    with running(tmp_path, http={"tls": {"cert_file": str(certificate), "key_file": str(key), "min_version": "1.3"}}) as core:
        assert "Cipher is (NONE)" in s_client(core, "-tls1_2")
        assert "New, TLSv1.3" in s_client(core, "-tls1_3")


# Beginnings and ends.


def test_keep_alive_and_clean_end(core, authority):
    connection = kept(core.http_port, authority.trust())
    for _ in range(3):
        connection.request("GET", "/hello")
        answer = connection.getresponse()
        assert answer.status == 200 and answer.read() == HELLO_BYTES
    connection.close()
    # Its end is a clean one: without close_notify this client would fail.
    with connect(core.http_port, authority.trust()) as raw:
        raw.sendall(b"GET /hello HTTP/1.0\r\nhost: x\r\n\r\n")
        assert read_to_end(raw).endswith(HELLO_BYTES)


def test_plain_http_on_the_tls_port(core):
    connection = http.client.HTTPConnection("127.0.0.1", core.http_port, timeout=10)
    connection.request("POST", "/hello", body=b"x" * 100_000)
    answer = connection.getresponse()
    assert answer.status == 400 and answer.read() == b"this port speaks TLS"
    connection.close()


def test_garbage_ends_its_own_connection(core, authority):
    for data in (b"\x00" * 100, b"\x16\x03\x01" + os.urandom(500), b"\x80\x2e\x01\x00\x02", os.urandom(5000), b"\x16\x03\x01\xff\xff" + b"\x00" * 70_000):
        with socket.create_connection(("127.0.0.1", core.http_port), timeout=10) as client, contextlib.suppress(ConnectionError):
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            read_to_end(client)
    assert status(core.http_port, authority.trust(), "/hello") == 200


def test_slow_handshakes_are_bounded(core, authority):
    """header_timeout_ms: neither silence nor a hello byte by byte holds a connection for longer."""
    silent = [socket.create_connection(("127.0.0.1", core.http_port), timeout=20) for _ in range(50)]
    slow = [socket.create_connection(("127.0.0.1", core.http_port), timeout=20) for _ in range(50)]
    for client in slow:
        client.sendall(b"\x16\x03\x01\x02\x00\x01")
    assert status(core.http_port, authority.trust(), "/hello") == 200, "others are served"
    for client in silent + slow:
        assert client.recv(1) == b"", "the server closes"
        client.close()


def test_a_server_full_of_handshakes_recovers(authority, tmp_path):
    certificate, key = authority.issue("full")
    http = {"tls": {"cert_file": str(certificate), "key_file": str(key)}, "max_connections": 4, "header_timeout_ms": 1500}
    with running(tmp_path, http=http) as core:
        clients = [socket.create_connection(("127.0.0.1", core.http_port), timeout=20) for _ in range(20)]
        for client in clients:
            assert client.recv(1) == b""
            client.close()
        assert wait_for(lambda: status(core.http_port, authority.trust()) == 404, "it serves")


def test_limits_of_connections_hold(authority, tmp_path):
    """Requests per connection, a body that stops, a reader that stops, and one connection too many."""
    certificate, key = authority.issue("limits")
    http = {"tls": {"cert_file": str(certificate), "key_file": str(key)}, "max_requests_per_connection": 2, "body_timeout_ms": 200, "write_stall_timeout_ms": 300, "max_connections": 3}
    with running(tmp_path, http=http) as core:
        app = App(core.port)
        app.route("/up", lambda d: {"body": d["body"]}, method="POST")
        app.route("/big", lambda d: {"body": "x" * 8_000_000})
        context = authority.trust()
        wait_for(lambda: status(core.http_port, context, "/big") == 200, "the routes")
        with contextlib.closing(kept(core.http_port, context)) as connection:
            for last in (None, "close"):
                connection.request("POST", "/up", body=b"1", headers={"content-type": "application/json"})
                answer = connection.getresponse()
                assert answer.read() == b"1" and answer.headers["connection"] == last
        with connect(core.http_port, context) as connection:
            connection.sendall(b"POST /up HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 5\r\n\r\n[1")
            assert read_to_end(connection).startswith(b"HTTP/1.1 408")
        with connect(core.http_port, context) as connection:
            connection.sendall(b"GET /big HTTP/1.0\r\nhost: x\r\n\r\n")
            assert len(read_to_end(connection)) > 8_000_000, "the end of a large response is a clean one"
        with connect(core.http_port, context) as connection:
            connection.sendall(b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n")
            wait_for(lambda: not is_established(core.http_port, connection), "the gateway drops a client that reads nothing")
            with pytest.raises((ssl.SSLError, ConnectionError)):
                read_to_end(connection)
        with contextlib.ExitStack() as stack:

            def held():
                connection = stack.enter_context(connect(core.http_port, context))
                connection.sendall(b"GET /none HTTP/1.1\r\nhost: x\r\n\r\n")
                return connection.recv(1000).startswith(b"HTTP/1.1 404")

            for _ in range(3):
                wait_for(held, "a place among the connections")
            assert b"503" in read_to_end(stack.enter_context(connect(core.http_port, context)))
        app.wire.close()


# Client certificates.


def test_mutual_tls(authority, tmp_path_factory, tmp_path):
    certificate, key = authority.issue("mutual")
    others = Authority(tmp_path_factory.mktemp("others"), "others")
    clients = Authority(tmp_path_factory.mktemp("clients"), "clients")
    tls = {"cert_file": str(certificate), "key_file": str(key), "client_ca_file": str(clients.file)}
    good, foreign, server = clients.issue("good", usage="clientAuth"), others.issue("foreign", usage="clientAuth"), clients.issue("wrong", usage="serverAuth")
    expired = clients.issue("expired", usage="clientAuth", expired=True)
    with running(tmp_path, http={"tls": tls}) as core:
        assert status(core.http_port, authority.trust(good)) == 404
        for bad in (None, foreign, server, expired):
            with pytest.raises((ssl.SSLError, ConnectionError)), connect(core.http_port, authority.trust(bad)) as connection:
                # In TLS 1.3 the client learns of the refusal with its first read.
                connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
                assert not connection.recv(100), "nothing may be answered"
                raise ConnectionError
        context = authority.trust(good)
        with connect(core.http_port, context) as first:
            first.sendall(b"GET / HTTP/1.0\r\n\r\n")
            read_to_end(first)
            session = first.session
        with connect(core.http_port, context, session=session) as second:
            assert second.session_reused


# Files.


def refused(tmp_path, tls: dict, message: str):
    """Starts a fleet whose gateway must end with 78 and say why."""
    with prepared(tmp_path, http={"tls": tls}) as core:
        core.spawn()
        wait_for(lambda: message in core.output(), f"{message} for {tls}")
        wait_for(lambda: core.rows()["iii-http"]["last_exit"] == "exit 78", "it is not restarted")


def test_wrong_files_are_named_with_their_cure(authority, tmp_path):
    certificate, key = authority.issue("a")
    _, other = authority.issue("b")
    locked, loop = authority.directory / "locked.key", authority.directory / "loop.key"
    loop.symlink_to(loop)
    openssl("pkcs8", "-topk8", "-in", key, "-out", locked, "-passout", "pass:opensesame", cwd=authority.directory)
    cases = [
        ({"cert_file": "/nowhere/cert.pem", "key_file": str(key)}, "tls.cert_file: '/nowhere/cert.pem' cannot be read: No such file or directory"),
        ({"cert_file": str(certificate), "key_file": str(loop)}, f"tls.key_file: '{loop}' cannot be read: Too many levels of symbolic links"),
        ({"cert_file": "cert.pem", "key_file": str(key)}, "relative paths are taken from the working directory"),
        ({"cert_file": str(certificate), "key_file": str(other)}, "does not belong to the first certificate"),
        ({"cert_file": str(key), "key_file": str(key)}, "is not a usable certificate in PEM form"),
        ({"cert_file": str(certificate), "key_file": str(certificate)}, "is not a private key in PEM form"),
        ({"cert_file": str(certificate), "key_file": str(locked)}, "is encrypted; name the environment variable with its password"),
        ({"cert_file": str(certificate), "key_file": str(locked), "key_password_env": "TLS_WORD"}, "the environment variable TLS_WORD is not set"),
        ({"cert_file": str(certificate), "key_file": str(key), "client_ca_file": str(key)}, "tls.client_ca_file"),
    ]  # fmt: skip
    for number, (tls, message) in enumerate(cases):
        directory = tmp_path / str(number)
        directory.mkdir()
        refused(directory, tls, message)


def test_an_encrypted_key_and_relative_paths(authority, tmp_path):
    certificate, key = authority.issue("relative")
    shutil.copy(certificate, tmp_path / "cert.pem")
    openssl("pkcs8", "-topk8", "-in", key, "-out", tmp_path / "locked.key", "-passout", "pass:opensesame", cwd=tmp_path)
    tls = {"cert_file": "cert.pem", "key_file": "locked.key", "key_password_env": "TLS_WORD"}
    with running(tmp_path, http={"tls": tls}, env={"TLS_WORD": "opensesame"}) as core:
        assert status(core.http_port, authority.trust()) == 404
        assert "opensesame" not in core.output()


def test_an_expired_certificate_is_served_with_a_warning(authority, tmp_path):
    certificate, key = authority.issue("expired", expired=True)
    with running(tmp_path, http={"tls": {"cert_file": str(certificate), "key_file": str(key)}}) as core:
        assert "the certificate has expired" in core.output()
        with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
            connect(core.http_port, authority.trust())


@pytest.mark.parametrize(
    "tls, message",
    [
        ({"cert_file": "a"}, "key_file"), ({"cert_file": 1, "key_file": "b"}, "cert_file"), ({"cert_file": "a", "key_file": "b", "min_version": "1.1"}, "min_version"),
        ({"cert_file": "a", "key_file": "b", "min_versoin": "1.2"}, "min_version"), ("on", "tls"),
    ],
)  # fmt: skip
def test_config_check_names_what_is_wrong(tmp_path, tls, message):
    done = check(tmp_path, {"tls": tls})
    assert done.returncode == 1 and message in done.stdout + done.stderr


@pytest.mark.parametrize("version", ["1.2", "1.3", 1.2, 1.3])
def test_config_check_knows_tls(tmp_path, version):
    tls = {"cert_file": "a", "key_file": "b", "min_version": version, "client_ca_file": "c", "key_password_env": "SOME_WORD"}
    for name in "abc":
        (tmp_path / name).touch()
    done = check(tmp_path, {"tls": tls})
    assert done.returncode == 0 and "SOME_WORD" in done.stdout, done.stdout + done.stderr


def check(tmp_path, http):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"workers": [{"name": "iii-http", "config": http}]}))
    return run_core("config", "check", "-c", "config.yaml", cwd=tmp_path)


def test_the_exposure_warning_knows_tls(authority, tmp_path):
    certificate, key = authority.issue("exposed")
    tls = {"cert_file": str(certificate), "key_file": str(key)}
    bare = check(tmp_path, {"host": "0.0.0.0"})
    assert "without authentication or TLS" in bare.stdout + bare.stderr
    secured = check(tmp_path, {"host": "0.0.0.0", "tls": tls})
    assert "without authentication:" in secured.stdout + secured.stderr
    mutual = check(tmp_path, {"host": "0.0.0.0", "tls": {**tls, "client_ca_file": str(certificate)}})
    assert "without authentication" not in mutual.stdout + mutual.stderr


# Changes while it runs.


@contextlib.contextmanager
def renewable(authority, tmp_path, name, **http):
    """A fleet with files of its own: `renew(certificate, key)` puts others in their place."""
    places = tmp_path / "cert.pem", tmp_path / "key.pem"

    def renew(certificate, key):
        for source, place in zip((certificate, key), places):
            shutil.copy(source, f"{place}.new")
            os.replace(f"{place}.new", place)

    renew(*authority.issue(name))
    with running(tmp_path, http={"tls": {"cert_file": "cert.pem", "key_file": "key.pem"}, **http}) as core:
        yield core, renew


def current_serial(core, authority) -> str:
    with connect(core.http_port, authority.trust()) as connection:
        return serial_of(connection)


def test_a_renewed_certificate_is_taken_over_without_a_restart(authority, tmp_path):
    with renewable(authority, tmp_path, "one") as (core, renew):
        old = current_serial(core, authority)
        pid = core.pid_of("iii-http")
        connection = kept(core.http_port, authority.trust())
        connection.request("GET", "/before")
        answer = connection.getresponse()
        assert answer.status == 404 and answer.read() == b""
        renew(*authority.issue("two"))
        wait_for(lambda: current_serial(core, authority) != old, "new connections see the new certificate")
        connection.request("GET", "/after")
        assert connection.getresponse().status == 404 and serial_of(connection.sock) == old, "the old connection lives on"
        connection.close()
        assert core.pid_of("iii-http") == pid


def test_unusable_new_files_change_nothing(authority, tmp_path):
    with renewable(authority, tmp_path, "three") as (core, renew):
        old = current_serial(core, authority)
        (tmp_path / "cert.pem").write_text("not a certificate")
        wait_for(lambda: "the changed TLS files cannot be used; the old certificate stays in force" in core.output(), "the error is logged")
        assert "is not a usable certificate in PEM form" in core.output()
        assert current_serial(core, authority) == old
        renew(authority.issue("four")[0], authority.issue("five")[1])
        wait_for(lambda: "does not belong to the first certificate" in core.output(), "the error is logged")
        assert current_serial(core, authority) == old
        renew(*authority.issue("six"))
        wait_for(lambda: current_serial(core, authority) != old, "good files are taken")


def test_tls_comes_and_goes_with_the_configuration(authority, tmp_path):
    certificate, key = authority.issue("seven")
    with running(tmp_path, http={}) as core:
        pid = core.pid_of("iii-http")
        plain = http.client.HTTPConnection("127.0.0.1", core.http_port, timeout=15)
        plain.request("GET", "/")
        answer = plain.getresponse()
        assert answer.status == 404 and answer.read() == b""
        entries = entries_of(core)
        gateway = next(e for e in entries if e["name"] == "iii-http")["config"]
        gateway["tls"] = {"cert_file": str(certificate), "key_file": str(key)}
        save(core, entries)
        wait_for(lambda: status(core.http_port, authority.trust()) == 404, "new connections are encrypted")
        plain.request("GET", "/")
        assert plain.getresponse().status == 404, "the plain connection lives on"
        # Files that cannot be used: the configuration in force stays.
        before = reloads(core)
        gateway["tls"]["key_file"] = str(authority.issue("eight")[1])
        save(core, entries)
        wait_for(lambda: reloads(core) > before, "the reload has ended")
        wait_for(lambda: "does not belong to the first certificate" in core.output(), "the reason is logged")
        assert status(core.http_port, authority.trust()) == 404
        del gateway["tls"]
        save(core, entries)

        def is_plain():
            with contextlib.suppress(OSError, http.client.HTTPException):
                connection = http.client.HTTPConnection("127.0.0.1", core.http_port, timeout=5)
                connection.request("GET", "/")
                return connection.getresponse().status == 404

        wait_for(is_plain, "new connections are plain again")
        assert core.pid_of("iii-http") == pid


# Processes.


def test_a_killed_gateway_serves_again_and_old_tickets_do_no_harm(authority, tmp_path):
    with renewable(authority, tmp_path, "nine") as (core, _):
        context = authority.trust()
        with connect(core.http_port, context) as first:
            first.sendall(b"GET / HTTP/1.0\r\n\r\n")
            read_to_end(first)
            session = first.session
        os.kill(core.pid_of("iii-http"), signal.SIGKILL)
        # The socket is the core's: nobody is refused, and who waits in its backlog is served.
        assert wait_for(lambda: status(core.http_port, context) == 404, "it serves again")
        with connect(core.http_port, context, session=session) as second:
            second.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert b"404" in read_to_end(second) and not second.session_reused


def test_a_drain_finishes_what_runs_and_ends_cleanly(authority, tmp_path):
    certificate, key = authority.issue("ten")
    with running(tmp_path, http={"tls": {"cert_file": str(certificate), "key_file": str(key)}}) as core:
        app = App(core.port)
        begun, go = threading.Event(), threading.Event()

        def slow(data):
            begun.set()
            go.wait(20)
            return {"body": {"done": True}}

        app.route("/slow", slow)
        app.route("/ready", lambda d: {"body": 1})
        context = authority.trust()
        wait_for(lambda: status(core.http_port, context, "/ready") == 200, "the routes")
        with connect(core.http_port, context) as idle, connect(core.http_port, context) as busy:
            busy.sendall(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n")
            assert begun.wait(15)
            core.process.send_signal(signal.SIGTERM)
            assert read_to_end(idle) == b"", "the idle connection ends cleanly"
            go.set()
            answer = read_to_end(busy)
            assert answer.startswith(b"HTTP/1.1 200 OK") and b"done" in answer and b"connection: close" in answer.lower()
        assert core.process.wait(30) == 0


def test_many_connections_at_once(core, authority):
    context = authority.trust()
    statuses = []

    def work():
        connection = kept(core.http_port, context, timeout=60)
        for _ in range(5):
            connection.request("GET", "/hello")
            answer = connection.getresponse()
            answer.read()
            statuses.append(answer.status)
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 300
