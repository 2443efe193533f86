#pragma once

// The part of CUDA's runtime API that the engine uses, over memory of the host: a "device" that knows what it
// has given out, refuses copies between other places, and records work into graphs.

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <vector>

enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorMemoryAllocation = 2 };
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2 };
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal = 1 };
constexpr unsigned cudaStreamNonBlocking = 1;

using FakeWork = std::vector<std::function<void()>>;
struct FakeGraph {
    FakeWork work;
};
struct FakeStream {
    bool capturing = false;
    FakeWork captured;
};
using cudaStream_t = FakeStream*;
using cudaGraph_t = FakeGraph*;
using cudaGraphExec_t = FakeGraph*;

/// What the device holds, and what tests look at and ask for.
struct FakeDevice {
    std::map<char*, std::size_t> memory;
    int streams = 0;
    int graphs = 0;
    int launches = 0;
    bool captures = true;        // else capturing fails
    std::size_t room = 1 << 20;  // [bytes]

    bool holds(const void* begin, std::size_t bytes) const {
        const char* const place = static_cast<const char*>(begin);
        for (const auto& [start, size] : memory) {
            if (place >= start && place + bytes <= start + size) {
                return true;
            }
        }
        return false;
    }
};

inline FakeDevice fake_device;

inline const char* cudaGetErrorString(cudaError_t error) {
    return error == cudaErrorMemoryAllocation ? "out of memory" : "invalid argument";
}

inline cudaError_t cudaGetLastError() { return cudaSuccess; }

inline cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
    if (bytes > fake_device.room) {
        return cudaErrorMemoryAllocation;
    }
    char* const begin = static_cast<char*>(std::malloc(bytes));
    fake_device.memory[begin] = bytes;
    *memory = begin;
    return cudaSuccess;
}

inline cudaError_t cudaFree(void* memory) {
    if (memory == nullptr) {
        return cudaSuccess;
    }
    if (fake_device.memory.erase(static_cast<char*>(memory)) == 0) {
        return cudaErrorInvalidValue;
    }
    std::free(memory);
    return cudaSuccess;
}

inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
    *stream = new FakeStream();
    ++fake_device.streams;
    return cudaSuccess;
}

inline cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    delete stream;
    --fake_device.streams;
    return cudaSuccess;
}

inline cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    return stream->capturing ? cudaErrorInvalidValue : cudaSuccess;
}

inline cudaError_t cudaMemcpyAsync(void* target, const void* source, std::size_t bytes, cudaMemcpyKind kind,
                                   cudaStream_t) {
    const bool up = kind == cudaMemcpyHostToDevice;
    if (fake_device.holds(target, bytes) != up || fake_device.holds(source, bytes) == up) {
        return cudaErrorInvalidValue;
    }
    std::memcpy(target, source, bytes);
    return cudaSuccess;
}

inline cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
    stream->capturing = fake_device.captures;
    return fake_device.captures ? cudaSuccess : cudaErrorInvalidValue;
}

inline cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
    stream->capturing = false;
    *graph = new FakeGraph{std::move(stream->captured)};
    stream->captured.clear();
    return cudaSuccess;
}

inline cudaError_t cudaGraphInstantiate(cudaGraphExec_t* launchable, cudaGraph_t graph, unsigned long long) {
    *launchable = new FakeGraph(*graph);
    ++fake_device.graphs;
    return cudaSuccess;
}

inline cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    delete graph;
    return cudaSuccess;
}

inline cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph) {
    delete graph;
    --fake_device.graphs;
    return cudaSuccess;
}

inline cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t) {
    for (const auto& work : graph->work) {
        work();
    }
    ++fake_device.launches;
    return cudaSuccess;
}
