#pragma once

// The compiler writes the loops once per instruction set, and the loader picks one. Not under a sanitizer,
// whose runtime is not there yet when the loader asks which.
#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
#define ARGUS_VECTOR_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define ARGUS_VECTOR_CLONES
#endif
