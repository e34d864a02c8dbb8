import IIIProtocol
import IIISettings
import Testing

@Suite struct SecretMaskTests {
    @Test(arguments: [
        "password", "DB_PASSWORD", "PASSPHRASE", "MYSQL_PWD", "AUTH", "BASIC_AUTH", "COOKIE", "session-cookie", "api_key", "apiKey",
        "STRIPE_KEY",
        "clientSecret", "ACCESS_TOKEN", "Authorization", "x-api-key", "AWS_SECRET_ACCESS_KEY", "credentials", "private_key",
    ]) func namesThatTell(name: String) { #expect(SecretMask.isSecret(key: name)) }

    @Test(arguments: [
        "author", "auth_function_id", "key_password_env", "partition_key", "routing_key", "TOKEN_FILE", "max_tokens", "passenger",
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
    ]) func textsAreMaskedInPlaces(text: String, masked: String) { #expect(SecretMask.maskedText(text) == masked) }

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
