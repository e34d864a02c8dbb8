import CCurl
import Dispatch
import NIOConcurrencyHelpers

/// The one thread on which libcurl runs: all exchanges share its multi handle, its connections are kept for later ones.
///
/// Work is handed over through a mailbox and answered on this thread, so neither a slow remote nor the signing of a large body
/// ever holds up the link to the engine. How many exchanges run at once is bounded by whoever submits them. Connections kept
/// idle: at most as many as may run.
package final class TransferThread: @unchecked Sendable {
    private struct Mailbox {
        var submitted: [(make: @Sendable () -> TransferRequest, finish: @Sendable (TransferOutcome) -> Void)] = []
        var isStopping = false
    }

    private let mailbox = NIOLockedValueBox(Mailbox())
    private let multi: UnsafeMutableRawPointer
    private let certificateFile: String?
    private let usesProxies: Bool
    // Touched on the thread only.
    private var running: [UnsafeMutableRawPointer: Transfer] = [:]
    private var idleHandles: [UnsafeMutableRawPointer] = []
    private static let maximumIdleHandles = 64

    /// libcurl asks to be set up once per process, before anything else uses it.
    private static let isInitialized: Bool = curl_global_init(Int(CURL_GLOBAL_DEFAULT)) == CURLE_OK

    /// - Parameters:
    ///   - certificateFile: PEM file of authorities to trust in place of the system's.
    ///   - usesProxies: whether `http_proxy`, `https_proxy` and `no_proxy` of the environment are honoured.
    package init(maximumConnections: Int, certificateFile: String?, usesProxies: Bool) {
        guard Self.isInitialized, let multi = curl_multi_init() else { fatalError("libcurl cannot be set up") }
        self.multi = multi
        self.certificateFile = certificateFile
        self.usesProxies = usesProxies
        _ = iii_curl_multi_set_long(multi, CURLMOPT_MAXCONNECTS, maximumConnections)
        let thread = { @Sendable [self] in run() }
        DispatchQueue(label: "transfers").async(execute: thread)
    }

    /// Starts an exchange. `make` builds the request, and `finish` gets what came of it, both on the thread. Any thread may call.
    package func submit(make: @escaping @Sendable () -> TransferRequest, finish: @escaping @Sendable (TransferOutcome) -> Void) {
        // Under the lock, because `stop` lets the thread free what is woken.
        mailbox.withLockedValue { box in
            guard !box.isStopping else { return }
            box.submitted.append((make, finish))
            curl_multi_wakeup(multi)
        }
    }

    /// Ends the thread, and with it every exchange, without an answer. What is submitted after this is not answered either.
    package func stop() {
        mailbox.withLockedValue { box in
            box.isStopping = true
            curl_multi_wakeup(multi)
        }
    }

    // MARK: Thread

    private func run() {
        while true {
            let (work, isStopping) = mailbox.withLockedValue { box in
                let work = box.submitted
                box.submitted = []
                return (work, box.isStopping)
            }
            guard !isStopping else { return tearDown() }
            for item in work { start(item.make(), item.finish) }
            var count: Int32 = 0
            curl_multi_perform(multi, &count)
            finishTransfers()
            // Wakes for sockets, for libcurl's own timers, and for the mailbox.
            curl_multi_poll(multi, nil, 0, 60_000, nil)
        }
    }

    private func start(_ request: TransferRequest, _ finish: @escaping (TransferOutcome) -> Void) {
        guard request.timeoutMilliseconds > 0 else {
            return finish(.failed(TransferFailure(.request, "the request timed out before it was sent")))
        }
        guard let handle = idleHandles.popLast() ?? curl_easy_init() else {
            return finish(.failed(TransferFailure(.request, "libcurl has no handle left")))
        }
        let transfer = Transfer(handle, request, finish: finish)
        transfer.configure(certificateFile: certificateFile, usesProxies: usesProxies)
        running[handle] = transfer
        guard curl_multi_add_handle(multi, handle) == CURLM_OK else {
            running[handle] = nil
            curl_easy_cleanup(handle)
            return finish(.failed(TransferFailure(.request, "libcurl does not take the request")))
        }
    }

    private func finishTransfers() {
        var left: Int32 = 0
        while let message = curl_multi_info_read(multi, &left) {
            guard message.pointee.msg == CURLMSG_DONE, let handle = message.pointee.easy_handle, let transfer = running[handle] else {
                continue
            }
            let outcome = transfer.outcome(message.pointee.data.result)
            remove(handle)
            transfer.finish(outcome)
        }
    }

    private func remove(_ handle: UnsafeMutableRawPointer) {
        curl_multi_remove_handle(multi, handle)
        running[handle] = nil
        if idleHandles.count < Self.maximumIdleHandles {
            // Lets go of the pointers into the finished transfer.
            curl_easy_reset(handle)
            idleHandles.append(handle)
        } else {
            curl_easy_cleanup(handle)
        }
    }

    private func tearDown() {
        for handle in Array(running.keys) { remove(handle) }
        for handle in idleHandles { curl_easy_cleanup(handle) }
        curl_multi_cleanup(multi)
    }
}
