#pragma once

// How the core reaches an engine whose library must not be a condition for the rest: a table of C functions
// that a shared library gives under one name.

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ARGUS_ENGINE_API_VERSION 2
#define ARGUS_ENGINE_API_SYMBOL "argus_engine_api"

typedef struct ArgusEngine ArgusEngine;

typedef struct {
    uint32_t version;

    // Load a network that the same engine has compiled and written to a file. `settings` are pairs of names
    // and values, `count` pairs. NULL when that fails, with the reason in `error`.
    // It may be called by several threads at once.
    ArgusEngine* (*open)(const char* file, const char* const* settings, size_t count, char* error,
                         size_t size);
    void (*close)(ArgusEngine* engine);

    // Of an input or output by its name: how many bytes it has; 0 when there is none of that name.
    size_t (*bytes)(ArgusEngine* engine, const char* name);

    // Memory for what one graph writes and others read, where the engine computes. NULL when that fails.
    void* (*allocate)(size_t bytes, char* error, size_t size);
    void (*release)(void* memory);

    // Have an input read from, or an output written to, memory of just so many bytes: the host's where
    // `on_host` is not 0, else `allocate`d. 0 when that failed.
    int (*bind)(ArgusEngine* engine, const char* name, void* memory, int on_host, char* error, size_t size);

    // Run the network once. 0 when that failed.
    int (*run)(ArgusEngine* engine, char* error, size_t size);
} ArgusEngineApi;

#ifdef __cplusplus
}
#endif
