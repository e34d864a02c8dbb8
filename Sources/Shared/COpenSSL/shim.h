#pragma once
#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <string.h>

// Macros and callbacks of libssl as functions that Swift can see.

// RFC 7301: picks http/1.1; a client that offers only other protocols gets the alert no_application_protocol.
static inline int iii_tls_select_http11(
    SSL *connection, const unsigned char **chosen, unsigned char *length, const unsigned char *offered, unsigned int count, void *unused)
{
    static const char protocol[] = "http/1.1";
    (void)connection;
    (void)unused;
    for (unsigned int at = 0; at < count && at + 1 + offered[at] <= count; at += 1 + offered[at]) {
        if (offered[at] == sizeof protocol - 1 && memcmp(offered + at + 1, protocol, sizeof protocol - 1) == 0) {
            *chosen = offered + at + 1;
            *length = offered[at];
            return SSL_TLSEXT_ERR_OK;
        }
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

// What decrypting a private key needs: `was_asked` tells an encrypted key from a plain one. `text` may be NULL.
struct iii_key_password {
    const char *text;
    int was_asked;
};

// In place of OpenSSL's own, which would ask at the terminal.
static inline int iii_key_password_asked(char *target, int size, int is_writing, void *user)
{
    struct iii_key_password *password = user;
    (void)is_writing;
    if (!password) return -1;
    password->was_asked = 1;
    size_t length = password->text ? strlen(password->text) : 0;
    if (length == 0 || length > (size_t)size) return -1;
    memcpy(target, password->text, length);
    return (int)length;
}

// A server's context: TLS 1.2 (ECDHE with AEAD only) and 1.3, no renegotiation, no compression, tickets but no session table.
// NULL when libssl refuses any of it; the error queue says why.
static inline SSL_CTX *iii_tls_server_context(int minimum_version)
{
    static const unsigned char session_context[] = "iii";
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (!context) return NULL;
    SSL_CTX_set_security_level(context, 2);
    SSL_CTX_set_options(
        context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    // Idle connections hold no record buffers.
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_default_passwd_cb(context, iii_key_password_asked);
    SSL_CTX_set_alpn_select_cb(context, iii_tls_select_http11, NULL);
    if (SSL_CTX_set_min_proto_version(context, minimum_version) == 1 && SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) == 1
        && SSL_CTX_set_cipher_list(context, "ECDHE+AESGCM:ECDHE+CHACHA20") == 1
        && SSL_CTX_set1_groups_list(context, "X25519:P-256:P-384") == 1
        && SSL_CTX_set_session_id_context(context, session_context, sizeof session_context - 1) == 1)
        return context;
    SSL_CTX_free(context);
    return NULL;
}

// A client's context: TLS 1.2 and 1.3, the server's certificate verified. `authorities`: PEM file, NULL = the system's.
// NULL when libssl refuses any of it; the error queue says why.
static inline SSL_CTX *iii_tls_client_context(const char *authorities)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (!context) return NULL;
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    if (SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1
        && (authorities ? SSL_CTX_load_verify_file(context, authorities) : SSL_CTX_set_default_verify_paths(context)) == 1)
        return context;
    SSL_CTX_free(context);
    return NULL;
}

// The certificate must be for `host`, a name or an address; a name is also sent (SNI).
static inline int iii_tls_expect_host(SSL *connection, const char *host)
{
    X509_VERIFY_PARAM *rules = SSL_get0_param(connection);
    X509_VERIFY_PARAM_set_hostflags(rules, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (X509_VERIFY_PARAM_set1_ip_asc(rules, host) == 1) return 1;
    ERR_clear_error();
    return SSL_set1_host(connection, host);
}

static inline int iii_tls_name_host(SSL *connection, const char *host) { return (int)SSL_set_tlsext_host_name(connection, host); }

// Every client must show a certificate that one of `authorities` has signed. Takes `authorities` over.
static inline void iii_tls_require_client_certificate(SSL_CTX *context, STACK_OF(X509_NAME) *authorities)
{
    SSL_CTX_set_client_CA_list(context, authorities);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
}

static inline EVP_PKEY *iii_read_private_key(BIO *source, struct iii_key_password *password)
{
    return PEM_read_bio_PrivateKey(source, NULL, iii_key_password_asked, password);
}

// The custom BIO's "nothing there yet", said as macros in OpenSSL.
static inline void iii_bio_set_retry_read(BIO *bio) { BIO_set_flags(bio, BIO_FLAGS_READ | BIO_FLAGS_SHOULD_RETRY); }
static inline void iii_bio_clear_retry(BIO *bio) { BIO_clear_flags(bio, BIO_FLAGS_RWS | BIO_FLAGS_SHOULD_RETRY); }
