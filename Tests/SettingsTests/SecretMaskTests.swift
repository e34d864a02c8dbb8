import IIIProtocol
import IIISettings
import Testing

@Suite struct SecretMaskTests {
    @Test(arguments: [
        "password", "DB_PASSWORD", "PASSPHRASE", "MYSQL_PWD", "AUTH", "BASIC_AUTH", "COOKIE", "session-cookie", "api_key", "apiKey",
        "STRIPE_KEY",
        "PGPASSWORD", "authtoken", "X-Amz-Signature", "sig", "AccountKey", "webhook_key", "-token", "--db-password", "clientSecret",
        "ACCESS_TOKEN", "Authorization", "x-api-key", "AWS_SECRET_ACCESS_KEY", "credentials", "private_key",
    ]) func namesThatTell(name: String) { #expect(SecretMask.isSecret(key: name)) }

    @Test(arguments: [
        "token_url", "cookie_name", "auth_header", "sort_key", "key", "secret_name", "author", "auth_function_id", "key_password_env",
        "partition_key", "routing_key", "TOKEN_FILE", "max_tokens", "passenger",
        "compass",
        "monkey", "PUBLIC_KEY", "message_group_field", "key_file", "host", "bypass_limit",
    ]) func namesThatDoNot(name: String) { #expect(!SecretMask.isSecret(key: name)) }

    @Test(arguments: [
        ("node app.js --token=hunter2 --port 1", "node app.js --token=******** --port 1"),
        ("run --password hunter2 x", "run --password ******** x"), ("API_TOKEN=hunter2 node app.js", "API_TOKEN=******** node app.js"),
        ("curl -H 'Authorization: Bearer hunter2' http://h", "curl -H 'Authorization: Bearer ********' http://h"),
        ("psql postgres://u:hunter2@h/db", "psql postgres://********@h/db"),
        ("--url=redis://:hunter2@h:1/0", "--url=redis://********@h:1/0"),
        ("https://h/p?token=hunter2&x=1", "https://h/p?token=********&x=1"), ("sk_live_0123456789abcdef", "********"),
        ("run --verbose --author me", "run --verbose --author me"), ("a  b\tc", "a  b\tc"), ("echo sk_live", "echo sk_live"),
        ("PASSWORD=\"hunter2\" run", "PASSWORD=\"********\" run"),
        ("redis://a:hunter2@h,redis://b:hunter2@i", "redis://********@h,redis://********@i"),
        ("redis://a:hunt/er2@h:1/0", "redis://********@h:1/0"), ("https://h/p?mail=a@b", "https://h/p?mail=a@b"),
        ("u:hunter2@h:5432", "u:********@h:5432"), ("git@github.com:o/r", "git@github.com:o/r"),
        ("curl -u me:hunter2 http://h", "curl -u me:******** http://h"), ("docker run -p 80:80 -u 0", "docker run -p 80:80 -u 0"),
        ("curl -H 'Cookie: a=hunter2; b=hunter2' http://h", "curl -H 'Cookie: ********' http://h"),
        ("Authorization: Basic aHVudGVyMg== x", "Authorization: Basic ********"), ("X-Auth:hunter2", "X-Auth:********"),
        (#"curl -d '{"token": "hun'ter2", "a": 1}'"#, #"curl -d '{"token": "********", "a": 1}'"#),
        (#"{"pin_token":123,"a":1}"#, #"{"pin_token":********,"a":1}"#),
        (
            "Endpoint=sb://h/;SharedAccessKeyName=x;SharedAccessKey=hunter2=",
            "Endpoint=sb://h/;SharedAccessKeyName=x;SharedAccessKey=********"
        ),
        ("Server=h;User Id=u;Password=hun;ter,2;Pooling=true", "Server=h;User Id=u;Password=********;Pooling=true"),
        ("host=h password='hun ter2' dbname=d", "host=h password='********' dbname=d"),
        ("PGPASSWORD=hunter2 psql", "PGPASSWORD=******** psql"), ("--password", "--password"),
        ("--password --verbose", "--password --verbose"),
        ("--token-file /run/t --port 1", "--token-file /run/t --port 1"), ("npm run token", "npm run token"),
        ("https://hooks.slack.com/services/T0/B0/hunter2", "https://hooks.slack.com/services/********"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.hunter2hunter2", "********"),
        ("-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----", "********-----END PRIVATE KEY-----"),
        ("-----BEGIN CERTIFICATE-----\nabc", "-----BEGIN CERTIFICATE-----\nabc"), ("пароль token=ключ x", "пароль token=******** x"),
        ("", ""),
        ("auth::check", "auth::check"), ("tokens::issue::now", "tokens::issue::now"), ("match(\"auth::*\")", "match(\"auth::*\")"),
        ("token=", "token="), ("://", "://"), ("@", "@"), ("a://@", "a://@"),
    ]) func textsAreMaskedInPlaces(text: String, masked: String) { #expect(SecretMask.maskedText(text) == masked) }

    @Test func sentencesKeepTheNamesOfKeys() {
        let config: JSONValue = ["api_key": "hunter2", "nested": ["tokens": ["abcd", 4711]], "port": 4711]
        #expect(
            SecretMask.maskedSentence("config.api_key: hunter2 is not at redis://u:p@h, nor abcd, 4711 or ab", about: config)
                == "config.api_key: ******** is not at redis://********@h, nor ********, ******** or ab")
    }

    /// Whatever bytes come, and in linear time.
    @Test func longAndStrangeTextsAreMasked() {
        for piece in ["token=", "\"", "://", "@:", "-u ", "eyJ.", "-----BEGIN", "a;b=", "token: "] {
            _ = SecretMask.maskedText(String(repeating: piece, count: 5_000))
        }
    }

    @Test func whatIsShownOfATextIsOneShortLineWithoutSecrets() {
        #expect(VisibleText.shown("a\nb") == "a\\nb" && VisibleText.shown("\u{1B}[2J\u{200B}") == "\\u001b[2J\\u200b")
        #expect(VisibleText.shown(String(repeating: "x", count: 100)).count == 61)
        #expect(VisibleText.shown("redis://u:hunter2@h") == "redis://********@h")
        #expect(VisibleText.escaped("é — 日本 👩‍👧\nx").hasPrefix("é — 日本 "))
    }

    @Test func secretsInsideNamedMapsAreMasked() {
        let group = SettingGroup {
            Setting<[String: SettingValues]>(
                "queues", .map(of: .object(SettingGroup { Setting("inner", .text, secret: true, "A secret.") })), default: [:], "By name.")
        }
        #expect(group.masked(["queues": ["tokens": ["inner": "y"]]]) == ["queues": ["tokens": ["inner": "********"]]])
        #expect(group.secretPaths(in: ["queues": ["tokens": ["inner": "y"]]]) == ["queues.tokens.inner"])
    }

    @Test func argumentsAreMaskedInPairs() {
        #expect(SecretMask.masked(["./x", "--token", "hunter2", "--port", "1"]) == ["./x", "--token", "********", "--port", "1"])
    }

    @Test func declaredSecretsAreMaskedWhateverTheyAreCalled() {
        let group = SettingGroup {
            Setting("plain", .text, secret: true, "A secret.")
            Setting("auth", .text, "Called like a secret, declared as none.")
            Setting<[SettingValues]>(
                "list", .list(.object(SettingGroup { Setting("inner", .text, secret: true, "A secret.") })), default: [], "List.")
            Setting<[String: String]>("env", .environment, default: [:], "Free keys.")
        }
        let masked = group.masked(["plain": "x", "auth": "f::g", "list": [["inner": "y"]], "env": ["DB_PASSWORD": "z", "A": "b"]])
        #expect(
            masked == [
                "plain": "********", "auth": "f::g", "list": [["inner": "********"]], "env": ["DB_PASSWORD": "********", "A": "b"],
            ])
    }
}
