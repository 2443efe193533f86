#pragma once

#include <cstddef>
#include <cstdio>
#include <exception>

namespace argus {

/// What a function of the table of an engine does with its work: 1, or 0 and the reason in `error` when the
/// work throws.
template <typename Function>
int attempt(char* error, std::size_t size, Function work) {
    try {
        work();
        return 1;
    } catch (const std::exception& problem) {
        std::snprintf(error, size, "%s", problem.what());
        return 0;
    }
}

}  // namespace argus
