#pragma once
#include <curl/curl.h>

// libcurl sets options through variadic functions, which Swift cannot call: one typed form for each kind of value.

typedef size_t (*iii_curl_data_callback)(char *_Nonnull data, size_t size, size_t count, void *_Nullable context);
typedef curl_socket_t (*iii_curl_open_socket_callback)(
    void *_Nullable context, curlsocktype purpose, struct curl_sockaddr *_Nonnull address);

static inline CURLcode iii_curl_set_long(CURL *_Nonnull handle, CURLoption option, long value) {
    return curl_easy_setopt(handle, option, value);
}

static inline CURLcode iii_curl_set_size(CURL *_Nonnull handle, CURLoption option, curl_off_t value) {
    return curl_easy_setopt(handle, option, value);
}

static inline CURLcode iii_curl_set_text(CURL *_Nonnull handle, CURLoption option, const char *_Nullable value) {
    return curl_easy_setopt(handle, option, value);
}

static inline CURLcode iii_curl_set_pointer(CURL *_Nonnull handle, CURLoption option, void *_Nullable value) {
    return curl_easy_setopt(handle, option, value);
}

static inline CURLcode iii_curl_set_list(CURL *_Nonnull handle, CURLoption option, struct curl_slist *_Nullable value) {
    return curl_easy_setopt(handle, option, value);
}

static inline CURLcode iii_curl_set_data_callback(CURL *_Nonnull handle, CURLoption option, iii_curl_data_callback _Nonnull value) {
    return curl_easy_setopt(handle, option, value);
}

static inline CURLcode iii_curl_set_open_socket_callback(CURL *_Nonnull handle, iii_curl_open_socket_callback _Nonnull value) {
    return curl_easy_setopt(handle, CURLOPT_OPENSOCKETFUNCTION, value);
}

static inline CURLMcode iii_curl_multi_set_long(CURLM *_Nonnull multi, CURLMoption option, long value) {
    return curl_multi_setopt(multi, option, value);
}

static inline long iii_curl_response_code(CURL *_Nonnull handle) {
    long code = 0;
    curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &code);
    return code;
}

static inline void *_Nullable iii_curl_context(CURL *_Nonnull handle) {
    char *context = 0;
    curl_easy_getinfo(handle, CURLINFO_PRIVATE, &context);
    return context;
}

/* The address a socket is about to be opened for; a flexible tail that Swift does not see. */
static inline const struct sockaddr *_Nonnull iii_curl_address(const struct curl_sockaddr *_Nonnull address) {
    return &address->addr;
}
