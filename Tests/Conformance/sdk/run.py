"""Starts a fleet and runs an SDK's own tests against it; fails if anything fails that is not expected to."""

import os
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from wire import fleet, free_port  # noqa: E402

suite, expectations = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
entries = [line.split("#")[0].split() for line in expectations.read_text().splitlines() if line.strip() and not line.startswith("#")]
options = []
for (item,) in entries:
    options += ["--deselect", f"tests/{item}"] if "::" in item else ["--ignore", f"tests/{item}"]
    print(f"expected to fail, see docs/compatibility.md: {item}")
# With --engine-facing: the files that talk to an engine, whatever they call the variable that says where it is.
speaks = ("III_URL", "iii_client", "ENGINE_WS_URL")
facing = sorted(str(path.relative_to(suite)) for path in (suite / "tests").glob("test_*.py") if any(word in path.read_text() for word in speaks))
files = facing if "--engine-facing" in sys.argv else ["tests"]
# As the suites' own fixture has it: their remote endpoints are servers on this host.
remote = {"name": "iii-http-functions", "config": {"security": {"url_allowlist": ["localhost", "127.0.0.1"], "block_private_ips": False, "require_https": False}}}
# As the suites' own configuration has them.
standard = {"type": "standard", "concurrency": 5, "max_retries": 3}
queues = {name: standard for name in ["default", "test-orders", "test-multi", "test-chain", "test-chain-entry"]}
queues["payment"] = {"type": "fifo", "message_group_field": "transaction_id", "concurrency": 2, "max_retries": 5}
queue = {"name": "iii-queue", "config": {"queue_configs": queues}}
stream = {"name": "iii-stream", "config": {"port": free_port()}}
ruled_port = free_port()
rules = {
    "auth_function_id": "test::rbac-worker::auth",
    "expose_functions": ['match("test::ew::public::*")', 'match("engine::functions::list")', {"metadata": {"ew_public": True}}],
    "on_function_registration_function_id": "test::rbac-worker::on-function-reg",
    "on_trigger_registration_function_id": "test::rbac-worker::on-trigger-reg",
    "on_trigger_type_registration_function_id": "test::rbac-worker::on-trigger-type-reg",
}
ruled = {"name": "iii-worker-manager", "config": {"port": ruled_port, "middleware_function_id": "test::rbac-worker::middleware", "rbac": rules}}
with fleet(http={}, workers=[ruled, remote, queue, {"name": "iii-pubsub"}, {"name": "iii-state"}, stream, {"name": "iii-observability"}]) as it:
    # The suites read these; their own coverage options are switched off.
    environment = {**os.environ, "III_URL": it.url, "III_HTTP_URL": it.http_url, "III_RBAC_WORKER_URL": f"ws://127.0.0.1:{ruled_port}"}
    command = [sys.executable, "-m", "pytest", "-q", "--no-cov", "-p", "no:cacheprovider", "--timeout", "90", "-W", "ignore"]
    sys.exit(subprocess.run([*command, *files, *options], cwd=suite, env=environment).returncode)
