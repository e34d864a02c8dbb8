/// An environment variable that some part of this product reads. The reference page lists them, and a test finds those that are
/// read and not listed here.
package struct EnvironmentVariable: Sendable {
    package var name: String
    /// Who reads it.
    package var readers: String
    package var text: String
    package var isSecret = false

    package init(_ name: String, _ readers: String, secret isSecret: Bool = false, _ text: String) {
        self.name = name
        self.readers = readers
        self.isSecret = isSecret
        self.text = text
    }

    /// Besides those that settings name, and those that a configuration file expands.
    package static let all: [EnvironmentVariable] = [
        EnvironmentVariable(
            "III_URL", "workers", "WebSocket address of the engine. Default `ws://127.0.0.1:49134`; set by the core for its children."),
        EnvironmentVariable("III_WORKER_NAME", "workers", "Name the worker connects under. Default: host name and process id."),
        EnvironmentVariable(
            "DEPLOYMENT_ENVIRONMENT", "`iii-observability`", "`deployment.environment` of what `engine::log::*` writes."),
        EnvironmentVariable("III_ENTRY_NAME", "core workers", "Entry the process serves; set by the core."),
        EnvironmentVariable("III_ISOLATION", "workers", "Text that listings of workers show."),
        EnvironmentVariable(
            "III_LOG_LEVEL", "built-ins, core workers",
            "Filter of the log, like `level` of `iii-observability`, from which the core sets it for its children."),
        EnvironmentVariable("III_LOG_STREAM", "built-ins", "Set by the core: log lines carry the priority that its multiplexer reads."),
        EnvironmentVariable("III_BUILTIN_ROLE", "built-ins", "Set by the core: what an executable with several roles is to be."),
        EnvironmentVariable("III_BUILTIN_TOKEN", "core workers", secret: true, "Secret of one start of a built-in; set by the core."),
        EnvironmentVariable(
            "III_BUILTIN_TOKEN_FILE", "`iii-core`, core workers",
            "File with the secret that built-ins with units of their own share with the core."),
        EnvironmentVariable("III_LIFELINE_FD", "core workers", "Set by the core: a pipe whose end says that the core is gone."),
        EnvironmentVariable("LISTEN_FDS", "`iii-core`, built-ins", "Inherited sockets, by the protocol of systemd."),
        EnvironmentVariable("LISTEN_FDNAMES", "`iii-core`, built-ins", "Their names."),
        EnvironmentVariable("LISTEN_PID", "`iii-core`, built-ins", "The process they are for."),
        EnvironmentVariable("NOTIFY_SOCKET", "`iii-core`", "Where readiness and state are told to systemd."),
        EnvironmentVariable("WATCHDOG_USEC", "`iii-core`", "Interval of systemd's watchdog."),
        EnvironmentVariable("WATCHDOG_PID", "`iii-core`", "The process the watchdog is for."),
        EnvironmentVariable(
            "JOURNAL_STREAM", "`iii-core`, built-ins", "Standard output is the journal: log lines carry priorities, no colours."),
        EnvironmentVariable("NO_COLOR", "`iii-core`", "Set to anything: no colours on a terminal."),
        EnvironmentVariable("PATH", "`iii-core`", "Where programs of `exec` without a slash are looked up."),
        EnvironmentVariable("XDG_RUNTIME_DIR", "`iii-core`", "Where the control socket is kept; else `/tmp`."),
        EnvironmentVariable(
            "http_proxy", "`iii-http` (outbound)", "Proxy for remote functions; only with `security.block_private_ips: false`."),
        EnvironmentVariable("https_proxy", "`iii-http` (outbound)", "As `http_proxy`; also as `HTTPS_PROXY`."),
        EnvironmentVariable("HTTPS_PROXY", "`iii-http` (outbound)", "See `https_proxy`."),
        EnvironmentVariable("all_proxy", "`iii-http` (outbound)", "As `http_proxy`; also as `ALL_PROXY`."),
        EnvironmentVariable("ALL_PROXY", "`iii-http` (outbound)", "See `all_proxy`."),
        EnvironmentVariable("no_proxy", "`iii-http` (outbound)", "Hosts that no proxy is used for."),
    ]
}
