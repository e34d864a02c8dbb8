// librabbitmq, and what of it Swift cannot call: variadic functions, and unions.
#pragma once

#include <amqp.h>
#include <amqp_framing.h>
#include <amqp_ssl_socket.h>
#include <amqp_tcp_socket.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>

static inline amqp_rpc_reply_t iii_amqp_login_plain(
    amqp_connection_state_t state, const char *vhost, int frame_max, int heartbeat, const amqp_table_t *properties, const char *user,
    const char *password) {
    return amqp_login_with_properties(
        state, vhost, 0, frame_max, heartbeat, properties, AMQP_SASL_METHOD_PLAIN, user, password);
}

// The broker takes the user from the client's certificate.
static inline amqp_rpc_reply_t iii_amqp_login_external(
    amqp_connection_state_t state, const char *vhost, int frame_max, int heartbeat, const amqp_table_t *properties) {
    return amqp_login_with_properties(
        state, vhost, 0, frame_max, heartbeat, properties, AMQP_SASL_METHOD_EXTERNAL, "");
}

static inline amqp_table_entry_t iii_amqp_text(amqp_bytes_t key, amqp_bytes_t text) {
    amqp_table_entry_t entry;
    memset(&entry, 0, sizeof entry);
    entry.key = key;
    entry.value.kind = AMQP_FIELD_KIND_UTF8;
    entry.value.value.bytes = text;
    return entry;
}

// Written as 32 bits where they suffice, as clients do that share queues with us.
static inline amqp_table_entry_t iii_amqp_integer(amqp_bytes_t key, int64_t number) {
    amqp_table_entry_t entry;
    memset(&entry, 0, sizeof entry);
    entry.key = key;
    if (number >= -2147483648LL && number <= 2147483647LL) {
        entry.value.kind = AMQP_FIELD_KIND_I32;
        entry.value.value.i32 = (int32_t)number;
    } else {
        entry.value.kind = AMQP_FIELD_KIND_I64;
        entry.value.value.i64 = number;
    }
    return entry;
}

static inline amqp_table_entry_t iii_amqp_boolean(amqp_bytes_t key, int value) {
    amqp_table_entry_t entry;
    memset(&entry, 0, sizeof entry);
    entry.key = key;
    entry.value.kind = AMQP_FIELD_KIND_BOOLEAN;
    entry.value.value.boolean = value;
    return entry;
}

static inline amqp_table_entry_t iii_amqp_table(amqp_bytes_t key, amqp_table_t table) {
    amqp_table_entry_t entry;
    memset(&entry, 0, sizeof entry);
    entry.key = key;
    entry.value.kind = AMQP_FIELD_KIND_TABLE;
    entry.value.value.table = table;
    return entry;
}

// 1 for a text, 2 for a number, 3 for a boolean, 0 for anything else.
static inline int iii_amqp_read(const amqp_table_entry_t *entry, amqp_bytes_t *text, int64_t *number) {
    switch (entry->value.kind) {
    case AMQP_FIELD_KIND_UTF8:
    case AMQP_FIELD_KIND_BYTES: *text = entry->value.value.bytes; return 1;
    case AMQP_FIELD_KIND_I8: *number = entry->value.value.i8; return 2;
    case AMQP_FIELD_KIND_U8: *number = entry->value.value.u8; return 2;
    case AMQP_FIELD_KIND_I16: *number = entry->value.value.i16; return 2;
    case AMQP_FIELD_KIND_U16: *number = entry->value.value.u16; return 2;
    case AMQP_FIELD_KIND_I32: *number = entry->value.value.i32; return 2;
    case AMQP_FIELD_KIND_U32: *number = entry->value.value.u32; return 2;
    case AMQP_FIELD_KIND_I64:
    case AMQP_FIELD_KIND_TIMESTAMP: *number = entry->value.value.i64; return 2;
    case AMQP_FIELD_KIND_U64: *number = (int64_t)entry->value.value.u64; return 2;
    case AMQP_FIELD_KIND_BOOLEAN: *number = entry->value.value.boolean; return 3;
    default: return 0;
    }
}

// The kernel ends a connection whose other side acknowledges nothing for so long, also while a write waits.
static inline void iii_amqp_set_user_timeout(int descriptor, unsigned milliseconds) {
    setsockopt(descriptor, IPPROTO_TCP, TCP_USER_TIMEOUT, &milliseconds, sizeof milliseconds);
}

#define III_AMQP_FLAG(name, value) static const amqp_flags_t name = value
III_AMQP_FLAG(iii_amqp_has_content_type, AMQP_BASIC_CONTENT_TYPE_FLAG);
III_AMQP_FLAG(iii_amqp_has_headers, AMQP_BASIC_HEADERS_FLAG);
III_AMQP_FLAG(iii_amqp_has_delivery_mode, AMQP_BASIC_DELIVERY_MODE_FLAG);
III_AMQP_FLAG(iii_amqp_has_priority, AMQP_BASIC_PRIORITY_FLAG);
III_AMQP_FLAG(iii_amqp_has_message_id, AMQP_BASIC_MESSAGE_ID_FLAG);

static const amqp_method_number_t iii_amqp_basic_ack = AMQP_BASIC_ACK_METHOD;
static const amqp_method_number_t iii_amqp_basic_nack = AMQP_BASIC_NACK_METHOD;
static const amqp_method_number_t iii_amqp_basic_return = AMQP_BASIC_RETURN_METHOD;
static const amqp_method_number_t iii_amqp_basic_deliver = AMQP_BASIC_DELIVER_METHOD;
static const amqp_method_number_t iii_amqp_basic_cancel = AMQP_BASIC_CANCEL_METHOD;
static const amqp_method_number_t iii_amqp_basic_get_empty = AMQP_BASIC_GET_EMPTY_METHOD;
static const amqp_method_number_t iii_amqp_channel_close = AMQP_CHANNEL_CLOSE_METHOD;
static const amqp_method_number_t iii_amqp_channel_close_ok = AMQP_CHANNEL_CLOSE_OK_METHOD;
static const amqp_method_number_t iii_amqp_connection_close = AMQP_CONNECTION_CLOSE_METHOD;
static const amqp_method_number_t iii_amqp_connection_close_ok = AMQP_CONNECTION_CLOSE_OK_METHOD;
static const amqp_method_number_t iii_amqp_connection_blocked = AMQP_CONNECTION_BLOCKED_METHOD;
static const amqp_method_number_t iii_amqp_connection_unblocked = AMQP_CONNECTION_UNBLOCKED_METHOD;
