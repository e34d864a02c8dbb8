import NIOCore

/// The first words with a server: who we are, which database, what kind of server, the scripts. A value without I/O.
struct RedisGreeting {
    enum Step: Equatable {
        case more
        case done(RedisServerFacts)
        /// Try again later; `isLasting`: nothing but a change on the server or of the URL helps.
        case failed(RedisError, isLasting: Bool)
    }

    private enum Question {
        case authenticate
        case name
        case select
        case info
        case script
    }

    private let settings: RedisSettings
    private let scripts: [RedisScript]
    private var questions: [Question] = []
    private var next = 0
    private var facts = RedisServerFacts()

    init(_ settings: RedisSettings, scripts: [RedisScript]) {
        self.settings = settings
        self.scripts = scripts
    }

    /// What is to be sent.
    mutating func begin() -> ByteBuffer {
        var arguments = RedisArguments(ByteBuffer())
        if let password = settings.url.password {
            questions.append(.authenticate)
            arguments.head(settings.url.user == nil ? 2 : 3)
            arguments.add("AUTH")
            if let user = settings.url.user { arguments.add(user) }
            arguments.add(password)
        }
        questions.append(.name)
        arguments.head(3)
        arguments.add("CLIENT")
        arguments.add("SETNAME")
        arguments.add(settings.clientName)
        if settings.url.database != 0 {
            questions.append(.select)
            arguments.head(2)
            arguments.add("SELECT")
            arguments.add(settings.url.database)
        }
        questions.append(.info)
        arguments.head(1)
        arguments.add("INFO")
        for script in scripts {
            questions.append(.script)
            arguments.head(3)
            arguments.add("SCRIPT")
            arguments.add("LOAD")
            arguments.add(script.source)
        }
        return arguments.buffer
    }

    mutating func received(_ value: RedisValue) -> Step {
        guard next < questions.count else { return .failed(RedisError(.failed, "Redis says more than it was asked"), isLasting: false) }
        let question = questions[next]
        next += 1
        if case .error(let text) = value, let failure = failure(question, text) { return failure }
        if question == .info, let text = value.text {
            facts = RedisServerFacts(info: text)
            if facts.isCluster { return .failed(RedisServerFacts.clusterError, isLasting: true) }
            if facts.isLoading { return .failed(RedisError(.rejected, "Redis is loading its data"), isLasting: false) }
            if settings.requiresPrimary, facts.role == "slave" {
                return .failed(RedisError(.rejected, "the server is a replica and takes no writes"), isLasting: false)
            }
        }
        return next == questions.count ? .done(facts) : .more
    }

    /// nil: the question was not that important.
    private func failure(_ question: Question, _ text: String) -> Step? {
        let word = text.prefix { $0 != " " }
        if word == "LOADING" || word == "MASTERDOWN" || word == "BUSY" {
            return .failed(RedisError(.rejected, "Redis: \(text)"), isLasting: false)
        }
        switch question {
        case .authenticate:
            return .failed(RedisError(.unauthorized, "Redis refuses user or password: \(text)"), isLasting: false)
        case .select: return .failed(RedisError(.invalid, "Redis refuses database \(settings.url.database): \(text)"), isLasting: false)
        case .name, .info:
            return word == "NOAUTH"
                ? .failed(RedisError(.unauthorized, "Redis asks for a password; put it into the URL"), isLasting: false) : nil
        case .script:
            return .failed(RedisError(.failed, "Redis refuses a script: \(text)"), isLasting: false)
        }
    }
}
