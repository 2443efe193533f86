// Runs CUDA kernels on the host, one block after another: what the sources in runtime/kernels use of CUDA
// C++. The threads of a block are threads of the host where they wait for one another, else they take turns.
#pragma once

#include <barrier>
#include <cmath>
#include <cstring>
#include <thread>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __shared__ static
#define __restrict__

struct Place {
    int x, y, z;
};
inline thread_local Place threadIdx;
inline thread_local Place blockIdx;
inline Place blockDim;
inline Place gridDim;
inline std::barrier<>* block_barrier = nullptr;

inline void __syncthreads() { block_barrier->arrive_and_wait(); }

#ifdef HALF
inline float widened(unsigned short bits) {
    _Float16 number;
    std::memcpy(&number, &bits, sizeof number);
    return static_cast<float>(number);
}

inline unsigned short narrowed(float number) {
    const _Float16 half = static_cast<_Float16>(number);
    unsigned short bits;
    std::memcpy(&bits, &half, sizeof bits);
    return bits;
}
#endif

template <class... A, std::size_t... I>
void call_with(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
    kernel(*static_cast<A*>(arguments[I])...);
}

template <class... A>
void run_grid(void (*kernel)(A...), Place grid, Place block, bool waits, void** arguments) {
    gridDim = grid;
    blockDim = block;
    const int count = block.x * block.y;
    std::barrier<> barrier(count);
    block_barrier = &barrier;
    const auto run = [&](int thread) {
        threadIdx = {thread % block.x, thread / block.x, 0};
        call_with(kernel, arguments, std::index_sequence_for<A...>{});
    };
    const auto run_blocks = [&](int first, int last) {
        for (int at = 0; at < grid.x * grid.y; ++at) {
            blockIdx = {at % grid.x, at / grid.x, 0};
            for (int thread = first; thread < last; ++thread) {
                run(thread);
            }
            if (waits) {
                barrier.arrive_and_wait();
            }
        }
    };
    if (!waits) {
        run_blocks(0, count);
        return;
    }
    std::vector<std::thread> threads;
    for (int thread = 0; thread < count; ++thread) {
        threads.emplace_back(run_blocks, thread, thread + 1);
    }
    for (auto& thread : threads) {
        thread.join();
    }
}
