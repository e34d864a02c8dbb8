import CCurl
import Glibc

/// Everything libcurl needs for one exchange.
package struct TransferRequest: Sendable {
    package var url: HTTPURL
    package var method: String
    package var headers: [(name: String, value: String)]
    package var body: [UInt8]
    /// The checked addresses of the host, if it is a name that was resolved; the connection goes to one of them.
    package var pinned: [IPAddress] = []
    /// Whether a connection to a private address is refused at the very last moment, too.
    package var blocksPrivateAddresses: Bool
    /// What is left of the call's time, in milliseconds.
    package var timeoutMilliseconds: Int
    package var maximumResponseBytes: Int

    package init(
        url: HTTPURL, method: String, headers: [(name: String, value: String)], body: [UInt8], pinned: [IPAddress] = [],
        blocksPrivateAddresses: Bool, timeoutMilliseconds: Int, maximumResponseBytes: Int
    ) {
        self.url = url
        self.method = method
        self.headers = headers
        self.body = body
        self.pinned = pinned
        self.blocksPrivateAddresses = blocksPrivateAddresses
        self.timeoutMilliseconds = timeoutMilliseconds
        self.maximumResponseBytes = maximumResponseBytes
    }
}

/// One exchange on the transfer thread: the easy handle's settings and what has come in so far. Confined to that thread.
final class Transfer {
    let handle: UnsafeMutableRawPointer
    let finish: (TransferOutcome) -> Void
    private let request: TransferRequest
    private var headerList: UnsafeMutablePointer<curl_slist>?
    private var resolveList: UnsafeMutablePointer<curl_slist>?
    private let body: UnsafeMutableRawBufferPointer
    private let errorText = UnsafeMutablePointer<CChar>.allocate(capacity: Int(CURL_ERROR_SIZE))

    private var received: [UInt8] = []
    private var reason = ""
    private var retryAfter: String?
    private var headBytes = 0
    private var isHeadComplete = false
    /// Why we ended the exchange ourselves.
    private var ownFailure: TransferFailure?

    /// Status line and headers together, informational responses included.
    private static let maximumHeadBytes = 256 << 10

    init(_ handle: UnsafeMutableRawPointer, _ request: TransferRequest, finish: @escaping (TransferOutcome) -> Void) {
        self.handle = handle
        self.request = request
        self.finish = finish
        body = UnsafeMutableRawBufferPointer.allocate(byteCount: max(request.body.count, 1), alignment: 1)
        body.copyBytes(from: request.body)
        errorText.pointee = 0
    }

    deinit {
        curl_slist_free_all(headerList)
        curl_slist_free_all(resolveList)
        body.deallocate()
        errorText.deallocate()
    }

    /// `certificateFile`: authorities in place of the system's. `usesProxies`: whether the environment's proxies are honoured.
    func configure(certificateFile: String?, usesProxies: Bool) {
        curl_easy_reset(handle)
        let context = Unmanaged.passUnretained(self).toOpaque()
        _ = iii_curl_set_pointer(handle, CURLOPT_PRIVATE, context)
        _ = iii_curl_set_long(handle, CURLOPT_NOSIGNAL, 1)
        _ = iii_curl_set_pointer(handle, CURLOPT_ERRORBUFFER, errorText)
        // Where to: exactly the text that was checked.
        _ = iii_curl_set_text(handle, CURLOPT_URL, request.url.description)
        _ = iii_curl_set_long(handle, CURLOPT_PATH_AS_IS, 1)
        _ = iii_curl_set_text(handle, CURLOPT_PROTOCOLS_STR, "http,https")
        _ = iii_curl_set_long(handle, CURLOPT_FOLLOWLOCATION, 0)
        if !usesProxies { _ = iii_curl_set_text(handle, CURLOPT_PROXY, "") }
        pinAddresses()
        _ = iii_curl_set_open_socket_callback(handle) { context, _, address in
            Transfer.from(context).openSocket(address)
        }
        _ = iii_curl_set_pointer(handle, CURLOPT_OPENSOCKETDATA, context)
        // TLS is verified by libcurl's own default; said again so that nobody has to know.
        _ = iii_curl_set_long(handle, CURLOPT_SSL_VERIFYPEER, 1)
        _ = iii_curl_set_long(handle, CURLOPT_SSL_VERIFYHOST, 2)
        if let certificateFile { _ = iii_curl_set_text(handle, CURLOPT_CAINFO, certificateFile) }
        // HTTP/2 has no reason phrase, and one connection per exchange keeps failures apart.
        _ = iii_curl_set_long(handle, CURLOPT_HTTP_VERSION, Int(CURL_HTTP_VERSION_1_1))
        _ = iii_curl_set_text(handle, CURLOPT_CUSTOMREQUEST, request.method)
        _ = iii_curl_set_pointer(handle, CURLOPT_POSTFIELDS, body.baseAddress)
        _ = iii_curl_set_size(handle, CURLOPT_POSTFIELDSIZE_LARGE, curl_off_t(request.body.count))
        setHeaders()
        _ = iii_curl_set_long(handle, CURLOPT_TIMEOUT_MS, request.timeoutMilliseconds)
        _ = iii_curl_set_data_callback(handle, CURLOPT_HEADERFUNCTION) { data, size, count, context in
            Transfer.from(context).receivedHeader(UnsafeRawBufferPointer(start: data, count: size * count))
        }
        _ = iii_curl_set_pointer(handle, CURLOPT_HEADERDATA, context)
        _ = iii_curl_set_data_callback(handle, CURLOPT_WRITEFUNCTION) { data, size, count, context in
            Transfer.from(context).receivedBody(UnsafeRawBufferPointer(start: data, count: size * count))
        }
        _ = iii_curl_set_pointer(handle, CURLOPT_WRITEDATA, context)
    }

    private static func from(_ context: UnsafeMutableRawPointer?) -> Transfer {
        guard let context else { fatalError("libcurl called back without its context") }
        return Unmanaged<Transfer>.fromOpaque(context).takeUnretainedValue()
    }

    private func setHeaders() {
        var lines = request.headers.map { $0.value.isEmpty ? "\($0.name);" : "\($0.name): \($0.value)" }
        // No pause for `100 Continue`: not every server knows it.
        lines.append("Expect:")
        for line in lines { headerList = curl_slist_append(headerList, line) }
        _ = iii_curl_set_list(handle, CURLOPT_HTTPHEADER, headerList)
    }

    /// libcurl asks no resolver for this host: the answer that was checked is the one that is used (DNS rebinding).
    private func pinAddresses() {
        guard !request.pinned.isEmpty else { return }
        let addresses = request.pinned.map { $0.isIPv6 ? "[\($0)]" : "\($0)" }.joined(separator: ",")
        resolveList = curl_slist_append(nil, "+\(request.url.host):\(request.url.port):\(addresses)")
        _ = iii_curl_set_list(handle, CURLOPT_RESOLVE, resolveList)
    }

    // MARK: Callbacks

    /// The last word on where a connection goes: whatever libcurl made of the URL, this is the address.
    private func openSocket(_ address: UnsafeMutablePointer<curl_sockaddr>) -> curl_socket_t {
        if request.blocksPrivateAddresses, IPAddress(iii_curl_address(address))?.isPrivate ?? true {
            ownFailure = TransferFailure(.address, "")
            return -1
        }
        return socket(address.pointee.family, address.pointee.socktype | Int32(SOCK_CLOEXEC.rawValue), address.pointee.protocol)
    }

    private func receivedHeader(_ line: UnsafeRawBufferPointer) -> Int {
        headBytes += line.count
        guard headBytes <= Self.maximumHeadBytes else {
            ownFailure = TransferFailure(.request, "the response's head exceeds \(Self.maximumHeadBytes) bytes")
            return 0
        }
        if line.starts(with: "HTTP/".utf8) {
            // Of several heads (100, 103, then the answer) the last one counts.
            isHeadComplete = false
            retryAfter = nil
            let text = String(decoding: line, as: UTF8.self).split(separator: " ", maxSplits: 2)
            reason = text.count > 2 ? String(text[2].filter { !$0.isNewline }.prefix(256)) : ""
        } else if line.count < 256, line.count > 12, line[11] == UInt8(ascii: ":"), Self.isRetryAfter(line) {
            let value = String(decoding: line[12...], as: UTF8.self)
            retryAfter = String(value.drop { $0 == " " || $0 == "\t" }.filter { !$0.isNewline })
        } else if line.count <= 2 {
            isHeadComplete = iii_curl_response_code(handle) >= 200
        }
        return line.count
    }

    private static func isRetryAfter(_ line: UnsafeRawBufferPointer) -> Bool {
        zip(line, "retry-after".utf8).allSatisfy { $0 | 0x20 == $1 || $0 == $1 }
    }

    private func receivedBody(_ bytes: UnsafeRawBufferPointer) -> Int {
        guard received.count + bytes.count <= request.maximumResponseBytes else {
            ownFailure = TransferFailure(
                .response, "the response's body exceeds \(request.maximumResponseBytes) bytes (max_response_bytes)")
            return 0
        }
        received.append(contentsOf: bytes)
        return bytes.count
    }

    // MARK: End

    func outcome(_ code: CURLcode) -> TransferOutcome {
        if let ownFailure { return .failed(ownFailure) }
        if code == CURLE_OK {
            // libcurl is content with a connection that ends within the head.
            guard isHeadComplete else { return .failed(TransferFailure(.request, "the connection ended within the response's head")) }
            return .response(status: iii_curl_response_code(handle), reason: reason, body: received, retryAfter: retryAfter)
        }
        let detail = errorText.pointee == 0 ? String(cString: curl_easy_strerror(code)) : String(cString: errorText)
        let stage: TransferFailure.Stage = isHeadComplete ? .response : .request
        switch code {
        case CURLE_OPERATION_TIMEDOUT: return .failed(TransferFailure(stage, "the request timed out: \(detail)"))
        case CURLE_COULDNT_CONNECT, CURLE_COULDNT_RESOLVE_HOST, CURLE_COULDNT_RESOLVE_PROXY, CURLE_SSL_CONNECT_ERROR,
            CURLE_PEER_FAILED_VERIFICATION:
            return .failed(TransferFailure(.request, "cannot connect: \(detail)"))
        default: return .failed(TransferFailure(stage, "the exchange failed: \(detail)"))
        }
    }
}
