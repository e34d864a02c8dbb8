"""The configuration file: what is accepted, what is refused and how, and what a change of it does to a running fleet."""

import contextlib
import glob
import os
import re
import signal
import socket

import pytest
import yaml
from processes import (
    build_of,
    can_connect,
    entries_of,
    http_status,
    ok,
    prepared,
    reloads,
    run_core,
    running,
    save,
    save_by_rename,
    serving,
    settle,
    status_of,
    wait_for_http,
)
from wire import BIN, free_port, wait_for

# The configuration is watched with a debounce of 500 ms; after this a reload would have happened.
DEBOUNCE = 1.2
SLEEPER = {"name": "iii-exec", "config": {"exec": ["exec sleep 1000"]}}


def check(directory, text: str, env=None, binary=None):
    (directory / "config.yaml").write_text(text)
    options = {"binary": binary} if binary else {}
    return run_core("config", "check", cwd=directory, env=env, **options)


def manager(port: int) -> str:
    return f"workers:\n  - name: iii-worker-manager\n    config: {{host: 127.0.0.1, port: {port}}}\n"


# Files that are refused


def test_missing_file_ends_with_1_and_a_hint(tmp_path):
    for arguments in ([], ["up"]):
        done = run_core(*arguments, cwd=tmp_path)
        assert done.returncode == 1
        assert "Config file not found: 'config.yaml'" in done.stderr
        assert "--use-default-config" in done.stderr


def test_config_and_use_default_config_exclude_each_other(tmp_path):
    assert run_core("--config", "x", "--use-default-config", cwd=tmp_path).returncode == 2
    assert run_core("up", "--config", "x", "--use-default-config", cwd=tmp_path).returncode == 2


def test_top_level_port_is_refused_by_name(tmp_path):
    done = check(tmp_path, "port: 49134\nworkers: []\n")
    assert done.returncode == 1
    assert re.search(r"config\.yaml:1: .*`port`", done.stderr)
    assert "iii-worker-manager" in done.stderr


def test_unknown_key_inside_an_entry_is_accepted(tmp_path):
    done = check(tmp_path, "workers:\n  - name: iii-http\n    worker_path: ./x\n    type: binary\n    version: 1\n")
    assert done.returncode == 0, done.stderr


def test_legacy_class_entry_is_refused_as_missing_name(tmp_path):
    done = check(tmp_path, "workers:\n  - class: modules::api::RestApiModule\n")
    assert done.returncode == 1
    assert "missing field `name`" in done.stderr


@pytest.mark.parametrize("text", ["", "workers:\n", "workers: null\n", "workers: ~\n", "workers: []\nmodules:\n"])
def test_empty_lists_mean_no_entries_and_mandatory_ones_are_added(tmp_path, text):
    done = check(tmp_path, text)
    assert done.returncode == 0, done.stderr
    names = [entry["name"] for entry in yaml.safe_load(done.stdout)["workers"]]
    assert {"iii-worker-manager", "iii-engine-functions", "iii-observability"} <= set(names)


@pytest.mark.parametrize(
    "worker, config, key, nearest",
    [
        ("iii-http", "prot: 1", "prot", "port"),
        ("iii-cron", "adaptor: {name: kv}", "adaptor", "adapter"),
        ("iii-bridge", "exposed: []", "exposed", "expose"),
        ("iii-worker-manager", "hosst: x", "hosst", "host"),
        ("iii-exec", "exec: [a]\n      wacth: [b]", "wacth", "watch"),
    ],
)
def test_unknown_key_is_named_with_file_line_and_nearest_key(tmp_path, worker, config, key, nearest):
    done = check(tmp_path, f"# first\nworkers:\n  - name: {worker}\n    config:\n      {config}\n")
    line = 6 if "\n" in config else 5
    assert done.returncode == 1
    assert re.search(rf"config\.yaml:{line}: {worker}\.config: unknown field `{key}`.*did you mean `{nearest}`", done.stderr), done.stderr


def test_unknown_worker_is_refused_with_a_suggestion(tmp_path):
    done = check(tmp_path, "workers:\n  - name: iii-htpt\n  - name: something-else\n")
    assert done.returncode == 1
    assert re.search(r"config\.yaml:2: unknown worker 'iii-htpt' \(did you mean 'iii-http'\?\)", done.stderr)
    assert re.search(r"config\.yaml:3: unknown worker 'something-else'.*exec:", done.stderr)


def test_image_on_a_built_in_gives_the_known_error(tmp_path):
    done = check(tmp_path, "workers:\n  - name: iii-http\n    image: ghcr.io/x/y:1\n")
    assert done.returncode == 1
    assert "Worker 'iii-http' is a built-in worker and cannot have an 'image' field. Remove 'image' or use a different name." in done.stderr


def test_everything_wrong_is_reported_at_once(tmp_path):
    text = "port: 1\nworkers:\n  - name: iii-htpt\n  - name: iii-http\n    config: {port: high, hots: x}\n  - config: {}\n  - name: iii-worker-manager\n    config: {port: 70000}\n"
    done = check(tmp_path, text)
    assert done.returncode == 1
    for line in (1, 3, 5, 6, 8):
        assert f"config.yaml:{line}: " in done.stderr, done.stderr
    assert "`hots`" in done.stderr and "`host`" in done.stderr
    assert "70000" not in done.stdout


def test_the_same_errors_stop_up(tmp_path):
    (tmp_path / "config.yaml").write_text("workers:\n  - name: iii-http\n    config: {prot: 1}\n  - name: iii-htpt\n")
    done = run_core("up", cwd=tmp_path)
    assert done.returncode == 1
    assert "config.yaml:3: " in done.stderr and "config.yaml:4: " in done.stderr


def test_broken_yaml_is_refused_with_its_line(tmp_path):
    done = check(tmp_path, "workers:\n  - name: iii-http\n   config: {\n")
    assert done.returncode == 1
    assert re.search(r"config\.yaml:[234]: Failed to parse config file 'config\.yaml': ", done.stderr), done.stderr


def test_old_and_new_name_of_one_worker_are_refused_together(tmp_path):
    done = check(tmp_path, "workers:\n  - name: iii-http\n  - name: http\n")
    assert done.returncode == 1
    assert "Duplicate worker configurations:" in done.stderr
    assert "- 'iii-http' is the deprecated name for 'http', but both are present. Remove 'iii-http' from your configuration." in done.stderr


def test_explicit_workers_without_executable_are_all_named_clearly(tmp_path):
    build = build_of(tmp_path / "bin", "iii-core")
    (tmp_path / "config.yaml").write_text("workers:\n  - name: iii-cron\n  - name: iii-queue\n  - name: iii-http\n")
    done = run_core("up", cwd=tmp_path, binary=build / "iii-core")
    assert done.returncode == 1
    for line, name in enumerate(["iii-cron", "iii-queue", "iii-http"], start=2):
        assert re.search(rf"config\.yaml:{line}: worker '{name}' needs the executable '.*/{name}'", done.stderr), done.stderr


def test_exec_that_does_not_exist_or_is_not_executable_is_refused(tmp_path):
    (tmp_path / "plain").write_text("x")
    text = "workers:\n  - name: mine\n    exec: ./nope\n  - name: iii-http\n    exec: [./plain, --flag]\n  - name: iii-worker-manager\n    exec: ./plain\n"
    done = check(tmp_path, text)
    assert done.returncode == 1
    assert "iii-worker-manager.exec: this worker has no executable" in done.stderr
    done = check(tmp_path, text.split("  - name: iii-worker")[0])
    assert done.returncode == 1
    assert "mine.exec: no executable './nope'" in done.stderr and "iii-http.exec: no executable './plain'" in done.stderr


# Core workers of third parties

CHECKER = """#!/usr/bin/env python3
import json, sys
assert sys.argv[-1] == "--check-configuration", sys.argv
config = json.load(sys.stdin)
if config["interval_ms"] > 0:
    print("pin")
    print("targets.1.code")
    sys.exit(0)
print("config.interval_ms: must be above 0")
print("config.targets[0].port: not with this pin")
print("the clock is wrong")
sys.exit(1)
"""


def program(directory, name: str, text: str):
    path = directory / name
    path.write_text(text)
    path.chmod(0o755)


def running_in(directory) -> list[str]:
    """Processes whose working directory it is."""
    found = []
    for link in glob.glob("/proc/[0-9]*/cwd"):
        with contextlib.suppress(OSError):
            if os.readlink(link) == str(directory):
                found.append(link)
    return found


def core_worker(config: str, extra="core_worker: true") -> str:
    return f"workers:\n  - name: ticker\n    exec: [./ticker, --flag]\n    {extra}\n    config:\n{config}"


def test_a_core_worker_checks_its_own_config(tmp_path):
    program(tmp_path, "ticker", CHECKER)
    targets = "      targets:\n        - port: 80\n        - {port: 81, code: 4712}\n"
    good = check(tmp_path, core_worker("      interval_ms: 5\n      pin: 4711\n" + targets))
    assert good.returncode == 0, good.stderr
    assert "4711" not in good.stdout and "4712" not in good.stdout and "81" in good.stdout
    bad = check(tmp_path, core_worker("      pin: 1\n      interval_ms: 0\n" + targets))
    assert bad.returncode == 1
    assert "config.yaml:7: ticker.config.interval_ms: must be above 0" in bad.stderr
    assert "config.yaml:9: ticker.config.targets[0].port: not with this pin" in bad.stderr
    assert "config.yaml:5: ticker.config: the clock is wrong" in bad.stderr
    assert "4712" not in bad.stdout, "which keys are secret the program has not said"


def test_programs_that_do_not_say_they_are_core_workers_are_not_run(tmp_path):
    program(tmp_path, "ticker", "#!/bin/sh\ntouch was-run\n")
    assert check(tmp_path, core_worker("      a: 1\n", extra="readiness: alive")).returncode == 0
    assert not (tmp_path / "was-run").exists()


def test_the_program_sees_the_environment_of_its_entry(tmp_path):
    program(tmp_path, "ticker", '#!/bin/sh\necho "config.a: $COLOUR"\nexit 1\n')
    done = check(tmp_path, core_worker("      a: 1\n", extra="core_worker: true\n    env: {COLOUR: green}"))
    assert "ticker.config.a: green" in done.stderr


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("#!/bin/sh\necho oops >&2\nexit 3\n", r"ticker\.config: refused by '\./ticker --check-configuration' without a reason \(exit code 3: oops\)"),
        ("#!/bin/sh\nkill -9 $$\n", r"ticker\.config: '\./ticker --check-configuration' was ended by signal 9.*remove `core_worker: true`"),
        ("#!/bin/sh\nsleep 1000\n", r"ticker\.config: '\./ticker --check-configuration' gave no answer within 10 s.*remove `core_worker: true`"),
        ("#!/bin/sh\nexec yes rubbish\n", r"ticker\.config: '\./ticker --check-configuration' gave no answer within 10 s.*remove `core_worker: true`"),
        ("#!/bin/sh\nprintf '\\033[2Jred\\007\\n'\nexit 1\n", r"ticker\.config: \\u001b\[2Jred\\u0007$"),
    ],
    ids=["fails", "dies", "hangs", "talks-for-ever", "writes-on-the-terminal"],
)
def test_a_program_that_is_no_core_worker_is_named(tmp_path, text, complaint):
    program(tmp_path, "ticker", text)
    done = check(tmp_path, core_worker("      a: 1\n"))
    assert done.returncode == 1
    assert re.search(r"config\.yaml:5: " + complaint, done.stderr, re.M), done.stderr
    assert not running_in(tmp_path), "the program was left behind"


def test_a_child_left_behind_with_its_output_open_is_not_waited_for(tmp_path):
    program(tmp_path, "ticker", "#!/bin/sh\nsleep 1000 &\nexit 0\n")
    assert check(tmp_path, core_worker("      a: 1\n")).returncode == 0
    assert not running_in(tmp_path)


def test_rubbish_of_a_program_that_accepts_harms_nothing(tmp_path):
    program(tmp_path, "ticker", "#!/bin/sh\nhead -c 300000 /dev/urandom\nexit 0\n")
    assert check(tmp_path, core_worker("      a: 1\n")).returncode == 0


# Files and secrets


def test_files_that_a_listener_needs_are_looked_at(tmp_path):
    text = "workers:\n  - name: iii-http\n    config:\n      tls:\n        cert_file: none.pem\n        key_file: junk.pem\n"
    (tmp_path / "junk.pem").write_text("junk")
    done = check(tmp_path, text)
    assert done.returncode == 1
    assert "config.yaml:5: iii-http.config.tls.cert_file: 'none.pem' cannot be read: No such file" in done.stderr
    (tmp_path / "none.pem").write_text("junk")
    done = check(tmp_path, text)
    assert done.returncode == 1
    assert re.search(r"config\.yaml:\d: iii-http\.config\.tls: .*none\.pem", done.stderr), done.stderr


def test_secrets_in_commands_and_under_telling_names_are_masked(tmp_path):
    text = (
        "workers:\n  - name: iii-exec\n    env: {PASSPHRASE: hunter2, MYSQL_PWD: hunter2, AUTH: hunter2, COOKIE: hunter2, SEEN: yes}\n"
        "    config: {exec: ['node x --token=hunter2 --password hunter2', {command: 'API_KEY=hunter2 run', env: {STRIPE_KEY: hunter2}}]}\n"
        "  - name: mine\n    exec: [/bin/true, --secret, hunter2]\n"
    )
    done = check(tmp_path, text)
    assert done.returncode == 0, done.stderr
    assert "hunter2" not in done.stdout + done.stderr and "SEEN" in done.stdout


def test_no_log_listing_or_refusal_of_a_running_fleet_shows_a_secret(tmp_path):
    entries = [
        {"name": "mine", "exec": ["/bin/sh", "-c", "exec sleep 1000", "--token", "hunter2"], "env": {"DB_PASSWORD": "hunter2"}, "config": {"api_key": "hunter2"}},
        {"name": "iii-exec", "config": {"exec": ["API_TOKEN=hunter2 exec sleep 1000"]}},
        {"name": "iii-exec", "config": {"exec": [{"command": "exit 3 # --password=hunter2", "env": {"COOKIE": "hunter2"}}, "true"]}},
    ]
    with prepared(tmp_path, workers=entries, http={}) as it:
        it.spawn()
        wait_for(lambda: "iii-core ready" in it.output() and "Pipeline step failed" in it.output(), "a fleet, and the failure in it")
        texts = []
        commands = [["ps"], ["ps", "-v"], ["ps", "--json"], ["status"], ["status", "mine"], ["status", "--json"], ["logs"], ["metrics"], ["config", "check"]]
        functions = ["engine::workers::list", "engine::functions::list", "engine::triggers::list", "core::fleet::list"]
        commands += [["trigger", name, "--port", str(it.port)] for name in functions]
        broken = entries_of(it)
        broken[1]["config"]["port"] = "redis://me:hunter2@h"
        broken[2]["restart"] = "sk_live_hunter2hunter2"
        for command in commands:
            done = it.cli(*command, check=False)
            assert done.stdout or done.stderr, command
            texts.append((command, done.stdout + done.stderr))
        it.process.send_signal(signal.SIGQUIT)
        save(it, broken)
        done = it.cli("reload", check=False)
        texts.append((["reload"], done.stdout + done.stderr))
        wait_for(lambda: "reload: refused" in it.output() and "state dropped_log_lines" in it.output(), "the refusal and the dump")
        texts.append((["up"], it.output()))
        for command, text in texts:
            assert "hunter2" not in text, command


@pytest.mark.parametrize("name", [None, "iii-http", "iii-worker-manager", "exec"], ids=["all", "iii-http", "iii-worker-manager", "alias"])
def test_the_example_passes_the_check(tmp_path, name):
    example = run_core("config", "example", *([name] if name else []), cwd=tmp_path)
    assert example.returncode == 0, example.stderr
    done = check(tmp_path, example.stdout)
    assert done.returncode == 0, done.stderr


def test_the_example_of_an_unknown_worker_names_the_nearest(tmp_path):
    done = run_core("config", "example", "iii-htpt", cwd=tmp_path)
    assert done.returncode != 0 and "did you mean 'iii-http'" in done.stderr


# Variables


@pytest.mark.parametrize(
    "written, expected",
    [
        ("${T_UNSET:b}", "b"),
        ("${T_EMPTY:b}", ""),
        ("${T_UNSET:}", ""),
        ("${T_UNSET:redis://h:1/0}", "redis://h:1/0"),
        ("${T_ONE}${T_TWO}", "12"),
        ("$T_ONE", "$T_ONE"),
        ("${T_UNSET:-x}", "-x"),
        ("${T_ONE:other}", "1"),
        ("${}", "${}"),
        ("$${T_ONE}", "${T_ONE}"),
        ("${T_NESTED}", "${T_ONE}"),
    ],
)
def test_variables_expand_as_documented(tmp_path, written, expected):
    env = {"T_EMPTY": "", "T_ONE": "1", "T_TWO": "2", "T_NESTED": "${T_ONE}"}
    done = check(tmp_path, f"workers:\n  - name: iii-exec\n    config:\n      exec: ['echo [{written}]']\n", env=env)
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout)["workers"][0]["config"]["exec"] == [f"echo [{expected}]"]


def test_missing_variables_are_all_reported_and_comments_do_not_count(tmp_path):
    text = "# ${NOT_ME}\nworkers:\n  - name: iii-http\n    config:\n      host: ${MISSING}\n      port: ${MISSING_TOO}\n"
    done = check(tmp_path, text)
    assert done.returncode == 1
    assert re.search(r"config\.yaml:5: Environment variable 'MISSING' not set and no default provided", done.stderr)
    assert re.search(r"config\.yaml:6: Environment variable 'MISSING_TOO' not set and no default provided", done.stderr)
    assert "NOT_ME" not in done.stderr
    assert run_core("up", cwd=tmp_path).returncode == 1


def test_engine_version_is_a_default(tmp_path):
    version = run_core("--version", cwd=tmp_path).stdout.strip()
    done = check(tmp_path, "workers:\n  - name: iii-exec\n    config: {exec: ['echo ${T_UNSET:__III_ENGINE_VERSION__}']}\n")
    assert yaml.safe_load(done.stdout)["workers"][0]["config"]["exec"] == [f"echo {version}"]


def test_port_from_a_variable_reaches_iii_http_as_an_integer(tmp_path):
    port = free_port()
    text = "workers:\n  - name: iii-worker-manager\n    config: {host: 127.0.0.1, port: @PORT@}\n  - name: iii-http\n    config:\n      port: ${T_HTTP:3111}\n"
    with running(tmp_path, text=text, env={"T_HTTP": str(port)}):
        wait_for_http(f"http://127.0.0.1:{port}/nothing", 404)


# Files that are accepted

EVERYTHING = """
registration_namespace_grace_ms: 4000
workers:
  - name: iii-worker-manager
    config:
      host: 127.0.0.1
      port: 49134
      middleware_function_id: a::b
      handshake_timeout_ms: 10000
      rbac:
        auth_function_id: auth::check
        expose_functions: ['match("api::*")', "match('x')", {metadata: {public: true, kind: 'match("a*")'}}]
        on_function_registration_function_id: a::f
        on_trigger_registration_function_id: a::t
        on_trigger_type_registration_function_id: a::tt
        anything: goes
  - name: iii-engine-functions
    config: {whatever: 1}
  - name: iii-telemetry
    config: {enabled: false, sdk_api_key: k, heartbeat_interval_secs: 60, posthog_api_key: p, posthog_host: h}
  - name: iii-observability
    config:
      enabled: true
      service_name: iii
      service_version: 1.0
      service_namespace: n
      exporter: memory
      endpoint: http://localhost:4317
      sampling_ratio: 1.0
      sampling: {default: 0.5, parent_based: true, rules: [{operation: x, service: y, rate: 0.1}], rate_limit: {max_traces_per_second: 5}}
      memory_max_spans: 10000
      metrics_enabled: true
      metrics_exporter: memory
      metrics_retention_seconds: 3600
      metrics_max_count: 10000
      logs_enabled: true
      logs_exporter: both
      logs_max_count: 1000
      logs_retention_seconds: 3600
      logs_batch_size: 100
      logs_flush_interval_ms: 5000
      logs_sampling_ratio: 1.0
      logs_console_output: true
      level: info
      format: json
      alerts:
        - {name: a, metric: m, threshold: 1.5, operator: '>=', window_seconds: 60, cooldown_seconds: 60, enabled: true, action: {type: log}}
        - {name: b, metric: m, threshold: 1, operator: greaterthan, action: {type: webhook, url: 'http://x'}}
        - {name: c, metric: m, threshold: 1, action: {type: function, path: 'f::g'}}
  - name: iii-http
    config:
      host: 127.0.0.1
      port: 3111
      default_timeout: 30000
      concurrency_request_limit: 1024
      cors: {allowed_origins: ['*'], allowed_methods: [GET]}
      middleware: [{function_id: m::f, phase: preHandler, priority: 0}]
  - name: iii-stream
    config: {host: 127.0.0.1, port: 3112, auth_function: a::b, adapter: {name: kv, config: {store_method: file_based, file_path: ./d, save_interval_ms: 5, channel_size: 9}}}
  - name: iii-state
    config: {adapter: {name: kv, config: {store_method: in_memory, durability: normal}}, triggers_enabled: true, max_value_bytes: 1, save_interval_ms: 2}
  - name: iii-queue
    config:
      queue_configs:
        default: {type: standard, max_retries: 3, concurrency: 10, backoff_ms: 1000, poll_interval_ms: 100, max_priority: 9, priority_field: p}
        ordered: {type: fifo, message_group_field: id}
      adapter: {name: builtin, config: {store_method: file_based, file_path: ./q, save_interval_ms: 5000, max_attempts: 3, backoff_ms: 1000, concurrency: 10, mode: fifo, poll_interval_ms: 100, channel_size: 9}}
  - name: iii-pubsub
    config: {adapter: {name: local}}
  - name: iii-cron
    config: {adapter: {name: kv}}
  - name: iii-http-functions
    config: {security: {url_allowlist: ['*'], block_private_ips: true, require_https: true}}
  - name: iii-bridge
    config:
      url: ws://other:49134
      service_id: s
      service_name: n
      expose: [{local_function: a, remote_function: b}, {local_function: c}]
      forward: [{local_function: a, remote_function: b, timeout_ms: 5}]
  - name: iii-exec
    config: {exec: ['true'], watch: ['src/**/*.ts']}
modules:
  - name: configuration
    config: {adapter: {name: fs}, ttl_seconds: 0}
  - name: iii-exec
    config: {exec: ['false'], watch: null}
"""


def without_access_rules(text: str) -> str:
    return re.sub(r"      (middleware_function_id: .*|rbac:\n(?:        .*\n)*)", "", text)


def test_every_documented_name_and_key_loads(tmp_path):
    build = build_of(tmp_path / "bin", "iii-core", stubs=["iii-http", "iii-stream", "iii-queue", "iii-cron", "iii-observability"])
    refused = check(tmp_path, EVERYTHING, binary=build / "iii-core")
    errors = refused.stderr[refused.stderr.index("Error:") :].splitlines()
    assert len(errors) == 1 and "unknown field `anything`" in errors[0], "a rule that nobody knows would open what it was to close"
    done = check(tmp_path, without_access_rules(EVERYTHING), binary=build / "iii-core")
    assert done.returncode == 0, done.stderr
    loaded = yaml.safe_load(done.stdout)
    names = [entry["name"] for entry in loaded["workers"]]
    assert names[-2:] == ["configuration", "iii-exec#1"], "modules come after workers"
    assert len(names) == 15
    assert loaded["registration_namespace_grace_ms"] == 4000


def test_aliases_of_newer_releases_are_accepted(tmp_path):
    build = build_of(tmp_path / "bin", "iii-core", stubs=["iii-http", "iii-stream", "iii-queue", "iii-cron", "iii-observability"])
    aliases = ["http", "queue", "cron", "state", "stream", "pubsub", "observability", "worker-manager", "exec"]
    lines = [f"  - name: {alias}\n" + ("    config: {exec: [x]}\n" if alias == "exec" else "") for alias in aliases]
    done = check(tmp_path, "workers:\n" + "".join(lines), binary=build / "iii-core")
    assert done.returncode == 0, done.stderr
    names = [entry["name"] for entry in yaml.safe_load(done.stdout)["workers"]]
    assert names[: len(aliases)] == [f"iii-{alias}" for alias in aliases]


def test_check_masks_secrets_and_fills_defaults(tmp_path):
    text = (
        "workers:\n  - name: mine\n    exec: /bin/true\n    env: {DB_PASSWORD: hunter2, PLAIN: seen}\n"
        "    config: {url: 'redis://user:hunter2@host:1/0', nested: {api_key: hunter2, list: [{access_token: hunter2}]}}\n"
        "  - name: iii-http\n"
    )
    done = check(tmp_path, text)
    assert done.returncode == 0, done.stderr
    assert "hunter2" not in done.stdout + done.stderr
    assert "********" in done.stdout and "seen" in done.stdout and "redis://********@host:1/0" in done.stdout
    http = next(e for e in yaml.safe_load(done.stdout)["workers"] if e["name"] == "iii-http")
    assert (http["config"]["port"], http["config"]["host"], http["config"]["default_timeout"]) == (3111, "127.0.0.1", 30000)


def test_check_of_a_secret_with_a_wrong_type_does_not_print_it(tmp_path):
    done = check(tmp_path, "workers:\n  - name: iii-telemetry\n    config: {sdk_api_key: [hunter2]}\n")
    assert done.returncode == 1
    assert "iii-telemetry.config.sdk_api_key" in done.stderr
    assert "hunter2" not in done.stdout + done.stderr


def test_check_reports_port_clashes(tmp_path):
    done = check(tmp_path, "workers:\n  - name: iii-worker-manager\n    config: {port: 4000}\n  - name: iii-http\n    config: {port: 4000}\n")
    assert done.returncode == 1
    assert "config.yaml:4: iii-http and iii-worker-manager both listen on port 4000" in done.stderr


def test_workers_of_both_lists_run_and_repeated_names_are_numbered(tmp_path):
    text = manager(free_port()) + "  - name: iii-exec\n    config: {exec: ['echo one; exec sleep 1000']}\nmodules:\n  - name: iii-exec\n    config: {exec: ['echo two; exec sleep 1000']}\n"
    with running(tmp_path, text=text) as fleet:
        wait_for(lambda: {r["state"] for r in fleet.rows().values()} == {"ready"}, "both run")
        assert list(fleet.rows()) == ["iii-exec", "iii-exec#1"]
        wait_for(lambda: re.search(r"iii-exec\s+\| one\n", fleet.output()) and re.search(r"iii-exec#1\s+\| two\n", fleet.output()), "output of both")


def test_two_worker_managers_both_accept_workers(tmp_path):
    second = free_port()
    other = {"name": "iii-worker-manager", "config": {"host": "127.0.0.1", "port": second}}
    with running(tmp_path, workers=[other]) as fleet, serving(second, {"far::away": lambda data: {"got": data["x"]}}):
        caller = fleet.connect()
        wait_for(lambda: any(f["function_id"] == "far::away" for f in caller.call("engine::functions::list", {})["functions"]), "registered")
        assert caller.call("far::away", {"x": 1}) == {"got": 1}
        caller.close()


def test_mandatory_functions_are_there_without_an_entry(tmp_path):
    with running(tmp_path, text=manager("@PORT@") + "# iii-observability runs without being named\n") as fleet:
        caller = fleet.connect()
        assert isinstance(caller.call("engine::workers::list", {})["workers"], list)
        caller.close()
        assert fleet.rows()["iii-observability"]["state"] == "ready"


def test_ignored_entries_are_accepted_and_said_to_be_with_their_keys(tmp_path):
    with running(tmp_path, workers=[{"name": "iii-telemetry", "config": {"enabled": True}}]) as fleet:
        lines = [line for line in fleet.output().splitlines() if "iii-telemetry" in line]
        assert len(lines) == 2 and "ignored" in lines[0], lines
        assert "iii-telemetry.config: `enabled` has no effect" in lines[1], lines
        assert "iii-telemetry" not in fleet.rows()


def test_alias_runs_under_the_name_of_this_engine(tmp_path):
    port = free_port()
    with running(tmp_path, workers=[{"name": "http", "config": {"host": "127.0.0.1", "port": port}}]) as fleet:
        wait_for_http(f"http://127.0.0.1:{port}/", 404)
        assert list(fleet.rows()) == ["iii-http"]
        assert fleet.cli("restart", "http").returncode == 0
        assert fleet.cli("status", "http").returncode == 0


def test_exec_replaces_the_executable_of_a_built_in(tmp_path):
    build = build_of(tmp_path / "mine", "iii-http")
    (build / "iii-http").rename(build / "my-http")
    port = free_port()
    entry = {"name": "iii-http", "exec": str(build / "my-http"), "config": {"port": port}}
    with running(tmp_path, workers=[entry]) as fleet:
        assert os.readlink(f"/proc/{fleet.pid_of('iii-http')}/exe") == str(build / "my-http")
        with serving(fleet.port, {"a::b": ok}, {"/x": "a::b"}):
            wait_for_http(f"http://127.0.0.1:{port}/x")


def test_exec_with_arguments_runs_without_a_shell_in_between(tmp_path):
    port = free_port()
    entry = {"name": "iii-http", "exec": f"{BIN / 'iii-http'} --name iii-http", "config": {"port": port}}
    with running(tmp_path, workers=[entry]) as fleet:
        assert os.readlink(f"/proc/{fleet.pid_of('iii-http')}/exe") == str((BIN / "iii-http").resolve())


def test_public_addresses_without_authentication_give_one_warning_each(tmp_path):
    with running(tmp_path, manager={"host": "0.0.0.0"}, http={"host": "0.0.0.0"}) as fleet:
        warnings = [line for line in fleet.output().splitlines() if "WARN" in line and "iii-core" in line.split("|")[0]]
        for name in ("iii-worker-manager", "iii-http"):
            assert sum(name in line and "0.0.0.0" in line for line in warnings) == 1, warnings


def test_local_addresses_give_no_warning(tmp_path):
    with running(tmp_path, http={}) as fleet:
        assert "WARN" not in fleet.output()


# Changes while the fleet runs


def test_reload_with_another_http_port_moves_http_and_leaves_the_rest(tmp_path):
    with running(tmp_path, http={}, workers=[SLEEPER]) as fleet, serving(fleet.port, {"a::b": ok}, {"/x": "a::b"}) as service:
        wait_for_http(f"{fleet.http_url}/x")
        before, moved = fleet.rows(), free_port()
        entries = entries_of(fleet)
        entries[1]["config"]["port"] = moved
        save(fleet, entries)
        wait_for_http(f"http://127.0.0.1:{moved}/x")
        wait_for(lambda: not can_connect(fleet.http_port), "the old port is closed")
        after = fleet.rows()
        assert after["iii-exec"]["pid"] == before["iii-exec"]["pid"]
        assert after["iii-http"]["pid"] != before["iii-http"]["pid"]
        assert after["iii-http"]["listen"] == f"127.0.0.1:{moved}"
        assert service.thread.is_alive(), "the worker's connection stayed open"
        assert "reload: diff +0 added, -0 removed, ~1 changed" in fleet.output()


def test_reload_of_comments_order_and_whitespace_changes_nothing(tmp_path):
    with running(tmp_path, http={"default_timeout": 5000}, workers=[SLEEPER]) as fleet:
        before = fleet.rows()
        entries = entries_of(fleet)
        text = "# a comment\n\n" + yaml.safe_dump({"workers": [dict(reversed(list(e.items()))) for e in reversed(entries)]}, indent=6, sort_keys=False)
        save(fleet, text)
        wait_for(lambda: reloads(fleet) == 1, "the file is read again")
        assert "~0 changed" in fleet.output()
        after = fleet.rows()
        assert {name: (row["pid"], row["restarts"]) for name, row in after.items()} == {name: (row["pid"], 0) for name, row in before.items()}


def test_reload_that_adds_iii_http_serves_parked_triggers_and_removing_it_parks_them(tmp_path):
    with running(tmp_path, workers=[SLEEPER]) as fleet, serving(fleet.port, {"a::b": ok}, {"/x": "a::b"}) as service:
        caller = fleet.connect()
        without = entries_of(fleet)
        sleeper = fleet.pid_of("iii-exec")
        for _ in range(2):
            save(fleet, without + [{"name": "iii-http", "config": {"host": "127.0.0.1", "port": fleet.http_port}}])
            wait_for_http(f"{fleet.http_url}/x")
            save(fleet, without)
            wait_for(lambda: not can_connect(fleet.http_port), "the address is free again")
            wait_for(lambda: "iii-http" not in fleet.rows(), "the row is gone")
            triggers = caller.call("engine::triggers::list", {})["triggers"]
            assert [t["function_id"] for t in triggers if t["trigger_type"] == "http"] == ["a::b"], "still registered"
        assert fleet.pid_of("iii-exec") == sleeper
        assert service.thread.is_alive()
        caller.close()


def test_reload_with_broken_yaml_keeps_everything_and_tells(tmp_path):
    with running(tmp_path, http={}, workers=[SLEEPER]) as fleet, serving(fleet.port, {"a::b": ok}, {"/x": "a::b"}):
        wait_for_http(f"{fleet.http_url}/x")
        good, before = fleet.config.read_text(), fleet.rows()
        save(fleet, "workers:\n  - name: [\n")
        wait_for(lambda: (status_of(fleet)["last_reload"] or {}).get("ok") is False, "the refusal is recorded")
        assert "Failed to parse config file" in status_of(fleet)["last_reload"]["error"]
        # The command must not need the file it asks about: the engine's port is given.
        text = run_core("status", "--port", fleet.port, cwd=fleet.directory).stdout
        assert "last reload" in text and "refused" in text
        assert http_status(f"{fleet.http_url}/x") == 200
        save(fleet, good)
        wait_for(lambda: status_of(fleet)["last_reload"]["ok"], "a good file clears the error")
        assert {n: r["pid"] for n, r in fleet.rows().items()} == {n: r["pid"] for n, r in before.items()}


@pytest.mark.parametrize(
    "break_it, complaint",
    [
        (lambda es: es + [{"name": "iii-htpt"}], "did you mean 'iii-http'"),
        (lambda es: [es[0], {**es[1], "config": {**es[1]["config"], "prot": 1}}], "`prot`"),
        (lambda es: es + [{"name": "mine", "exec": "/no/such/program"}], "/no/such/program"),
        (lambda es: [es[0], {**es[1], "config": {"host": "${NOT_THERE}"}}], "NOT_THERE"),
    ],
)
def test_reload_command_refuses_an_invalid_file_with_its_error(tmp_path, break_it, complaint):
    with running(tmp_path, http={}) as fleet:
        before = fleet.rows()
        save(fleet, break_it(entries_of(fleet)))
        done = run_core("reload", "--port", fleet.port, cwd=fleet.directory)
        assert done.returncode == 1
        assert complaint in done.stderr
        assert complaint in status_of(fleet)["last_reload"]["error"]
        assert fleet.rows()["iii-http"]["pid"] == before["iii-http"]["pid"]
        assert http_status(fleet.http_url) == 404


def test_reload_onto_an_address_in_use_is_refused_and_changes_nothing(tmp_path):
    with running(tmp_path, http={}, workers=[SLEEPER]) as fleet, socket.socket() as taken:
        port = free_port()
        taken.bind(("127.0.0.1", port))
        taken.listen()
        before, entries = fleet.rows(), entries_of(fleet)
        entries[1]["config"]["port"] = port
        entries[2]["config"]["exec"] = ["exec sleep 2000"]
        save(fleet, entries)
        done = fleet.cli("reload", check=False)
        assert done.returncode == 1
        assert f"127.0.0.1:{port} is already in use" in done.stderr
        assert {n: r["pid"] for n, r in fleet.rows().items()} == {n: r["pid"] for n, r in before.items()}
        assert http_status(fleet.http_url) == 404


def test_other_files_in_the_directory_trigger_no_reload(tmp_path):
    with running(tmp_path, http={}) as fleet:
        for index in range(5):
            (tmp_path / f"other{index}.db").write_text("x")
        (tmp_path / "config.yaml.bak").write_text("y")
        settle(DEBOUNCE)
        assert "reload:" not in fleet.output()


def test_save_by_rename_triggers_exactly_one_reload(tmp_path):
    with running(tmp_path, http={}) as fleet:
        entries = entries_of(fleet)
        for expected, limit in enumerate([4000, 5000], start=1):
            entries[1]["config"]["default_timeout"] = limit
            save_by_rename(fleet, entries)
            wait_for(lambda: reloads(fleet) == expected, "reloaded")
            settle(DEBOUNCE)
            assert reloads(fleet) == expected
        wait_for(lambda: fleet.output().count("iii-http: configuration applied without a restart") == 2, "applied each")
        assert fleet.rows()["iii-http"]["restarts"] == 0


def test_many_saves_in_a_row_are_one_reload(tmp_path):
    with running(tmp_path, http={}) as fleet:
        entries = entries_of(fleet)
        for limit in range(10):
            entries[1]["config"]["default_timeout"] = 4000 + limit
            save(fleet, entries)
        wait_for(lambda: reloads(fleet) >= 1, "reloaded")
        settle(DEBOUNCE)
        assert reloads(fleet) == 1


def test_swapped_symlink_target_is_a_change(tmp_path):
    with prepared(tmp_path, http={}) as fleet:
        entries = entries_of(fleet)
        for version in ("v1", "v2"):
            (tmp_path / version).mkdir()
            entries[1]["config"]["default_timeout"] = 4000 if version == "v1" else 5000
            (tmp_path / version / "config.yaml").write_text(yaml.safe_dump({"workers": entries}))
        # As Kubernetes mounts a ConfigMap.
        os.symlink("v1", tmp_path / "..data")
        fleet.config.unlink()
        os.symlink("..data/config.yaml", fleet.config)
        fleet.up()
        os.symlink("v2", tmp_path / "..data_tmp")
        os.replace(tmp_path / "..data_tmp", tmp_path / "..data")
        wait_for(lambda: "~1 changed" in fleet.output(), "the swap is noticed")
        fleet.stop()


def test_sighup_reloads(tmp_path):
    with running(tmp_path, http={}) as fleet:
        fleet.process.send_signal(signal.SIGHUP)
        wait_for(lambda: reloads(fleet) == 1, "reloaded")
        assert status_of(fleet)["last_reload"]["ok"] is True


def test_reload_command_applies_at_once(tmp_path):
    with running(tmp_path) as fleet:
        save(fleet, entries_of(fleet) + [SLEEPER])
        assert fleet.cli("reload").returncode == 0
        wait_for(lambda: fleet.rows().get("iii-exec", {}).get("state") == "ready", "the new entry runs")
        settle(DEBOUNCE)
        assert fleet.rows()["iii-exec"]["restarts"] == 0


def test_reload_while_a_child_stops_for_the_one_before_ends_in_the_last_state(tmp_path):
    stubborn = {"name": "iii-exec", "stop_timeout_ms": 500, "config": {"exec": ["trap '' TERM; while :; do sleep 0.1; done"]}}
    with running(tmp_path, workers=[stubborn]) as fleet:
        entries = entries_of(fleet)
        before = fleet.pid_of("iii-exec")
        save(fleet, entries[:1])
        assert fleet.cli("reload").returncode == 0
        save(fleet, entries)
        assert fleet.cli("reload").returncode == 0
        row = wait_for(lambda: (r := fleet.rows().get("iii-exec", {})).get("state") == "ready" and r["pid"] != before and r, "it runs again")
        assert row["pid"]


def test_reload_adds_and_removes_a_second_worker_listener(tmp_path):
    second = free_port()
    with running(tmp_path) as fleet, serving(fleet.port, {"a::b": lambda _: 1}) as service:
        entries = entries_of(fleet)
        save(fleet, entries + [{"name": "iii-worker-manager", "config": {"host": "127.0.0.1", "port": second}}])
        assert fleet.cli("reload").returncode == 0
        with serving(second, {"c::d": lambda _: 2}):
            caller = fleet.connect()
            wait_for(lambda: any(f["function_id"] == "c::d" for f in caller.call("engine::functions::list", {})["functions"]), "registered")
            assert caller.call("c::d") == 2
            save(fleet, entries)
            assert fleet.cli("reload").returncode == 0
            wait_for(lambda: not can_connect(second), "the second listener is closed")
            assert caller.call("a::b") == 1
            caller.close()
        assert service.thread.is_alive()


def test_vanished_file_is_no_change_but_an_error_when_asked_for(tmp_path):
    with running(tmp_path, http={}) as fleet:
        pid = fleet.pid_of("iii-http")
        text = fleet.config.read_text()
        fleet.config.unlink()
        settle(DEBOUNCE)
        assert reloads(fleet) == 0, "an editor may be saving"
        done = run_core("reload", "--port", fleet.port, cwd=fleet.directory)
        assert done.returncode == 1
        assert "Config file not found" in done.stderr
        save(fleet, text)
        wait_for(lambda: status_of(fleet)["last_reload"]["ok"], "its return is a reload")
        assert fleet.pid_of("iii-http") == pid


def test_reload_that_moves_the_engine_takes_built_ins_and_commands_along(tmp_path):
    with running(tmp_path, http={}, workers=[SLEEPER]) as fleet, serving(fleet.port, {"a::b": ok}, {"/x": "a::b"}) as service:
        wait_for_http(f"{fleet.http_url}/x")
        entries, before, old, new = entries_of(fleet), fleet.rows(), fleet.port, free_port()
        entries[0]["config"]["port"] = new
        save(fleet, entries)
        assert run_core("reload", "--port", old, cwd=tmp_path).returncode == 0
        wait_for(lambda: not can_connect(old), "the old address is closed")
        # With the file, which names the new port.
        assert fleet.cli("status", "--wait-ready", "--timeout", "15s").returncode == 0
        assert status_of(fleet)["port"] == new
        with serving(new, {"c::d": ok}, {"/y": "c::d"}):
            wait_for_http(f"{fleet.http_url}/y")
        assert service.thread.is_alive(), "connected workers stay connected"
        assert http_status(f"{fleet.http_url}/x") == 200
        fleet.cli("restart", "iii-http")
        wait_for_http(f"{fleet.http_url}/x")
        # It knows the address from its environment only.
        assert fleet.rows()["iii-exec"]["pid"] != before["iii-exec"]["pid"]
        assert run_core("ps", "--port", old, cwd=tmp_path).returncode == 4


def test_reload_that_changes_only_the_hosts_of_one_port_is_applied(tmp_path):
    with running(tmp_path, http={}) as fleet, serving(fleet.port, {"a::b": ok}, {"/x": "a::b"}) as service:
        wait_for_http(f"{fleet.http_url}/x")
        entries = entries_of(fleet)
        for host in ("0.0.0.0", "127.0.0.1"):
            for entry in entries[:2]:
                entry["config"]["host"] = host
            save(fleet, entries)
            assert fleet.cli("reload", check=False).returncode == 0, fleet.output()
            wait_for(lambda: fleet.rows()["iii-http"]["listen"] == f"{host}:{fleet.http_port}" and fleet.rows()["iii-http"]["ready"], "moved")
            wait_for_http(f"{fleet.http_url}/x")
            caller = fleet.connect()
            assert caller.call("a::b", {}) == ok()
            caller.close()
        assert service.thread.is_alive()
